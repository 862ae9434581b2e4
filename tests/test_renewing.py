"""Negatives that are mined while a model learns, and batches of hard items, from the words of a setting to the bits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.errors import ConfigError, DataError
from nearfar.fitting import trainer_of
from nearfar.modalities.text.source import TextSource
from nearfar.training.team import Team

SETTINGS: dict[str, Any] = {
    **{"method": "pairs", "encoder": "ngrams-16", "steps": 12, "batch_size": 8, "log_every": 1, "progress": False},
    **{"refresh": 4, "negatives": 2, "percentage": 0, "depth": 10},
}
WORDS = ("red", "blue", "green", "round", "flat", "tall", "old", "new", "warm", "cold", "soft", "hard", "loud", "calm")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pairs; each anchor has two positives, and its words stand in many others."""
    rng, lines = np.random.default_rng(0), ["anchor,positive"]
    for number in range(24):
        one, two, three = rng.choice(WORDS, 3, replace=False)
        lines += [f"a {one} {two} thing {number},the {two} {one} {other} object {number}" for other in (three, "plain")]
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


def test_the_negatives_are_the_nearest_documents_that_are_no_positives(pairs: Path, tmp_path: Path):
    run = nf.fit(pairs, tmp_path / "run", **{**SETTINGS, "steps": 1})
    source = run.read(pairs)[0]
    trainer = trainer_of(run, source, Team(), False)
    renewal: Any = trainer.renewal
    renewal(0)

    encoder = run.fresh_method().encoder.eval()
    anchors, positives = (list(source.columns[name]) for name in ("anchor", "positive"))  # type: ignore[attr-defined]
    with torch.no_grad():
        unit = [torch.nn.functional.normalize(encoder(encoder.tokens(texts)), dim=1) for texts in (anchors, positives)]  # type: ignore
    scores = (unit[0] @ unit[1].T).numpy()
    queries = list(renewal.source.queries.columns["query"])
    for row, anchor in enumerate(anchors):
        own = {positive for one, positive in zip(anchors, positives, strict=True) if one == anchor}
        ranked = [positives[place] for place in np.argsort(-scores[row], kind="stable") if positives[place] not in own]
        documents = list(renewal.source.documents.columns["document"])
        mined = [documents[place] for place in renewal.source.table[queries.index(anchor)]]
        assert mined == ranked[:2]


def test_an_encoder_that_does_not_learn_keeps_its_negatives_and_one_that_does_changes_them(pairs: Path, tmp_path: Path):
    for rate, kept in ((1e-12, True), (0.1, False)):
        run = nf.fit(pairs, tmp_path / str(rate), **SETTINGS, lr=rate)
        found = {line["step"]: line["renewed"] for line in run.history if "renewed" in line}
        assert list(found) == [1, 5, 9] and all(line["queries"] == 24 for line in found.values())
        assert "overlap" not in found[1]
        assert all((found[step]["overlap"] == 1) == kept and 0 <= found[step]["overlap"] <= 1 for step in (5, 9))


@pytest.mark.parametrize("every", [5, 4], ids=["between two minings", "where it mines"])
def test_an_interrupted_run_goes_on_with_the_same_negatives(pairs: Path, tmp_path: Path, every: int):
    more = {"checkpoint_every": every, "refresh_parts": 2, "draw": "gumbel", "batches": "clusters", "clusters": 2}
    run = nf.fit(pairs, tmp_path / "run", **SETTINGS, **more)
    folder = tmp_path / "again"
    shutil.copytree(run.path, folder)
    for file in (folder / "checkpoints").glob("step-00000012*"):
        file.unlink()
    assert (folder / "checkpoints" / f"step-{12 // every * every - (12 % every == 0) * every:08d}.json").is_file()
    again = nf.resume(folder, progress=False)
    want, got = run.method.state_dict(), again.method.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)
    parts = [[(line["loss"], line.get("renewed")) for line in one.history] for one in (run, again)]
    assert parts[0] == parts[1]


def test_given_negatives_serve_until_the_first_mining_and_where_none_is_found():
    pairs = TextSource({"anchor": ["q1", "q2"], "positive": ["a1", "a2"], "negative_1": ["far", ""]})
    mined = pairs.mined(2, more=["other"])
    assert mined.rows(np.arange(2)).columns[2:] == (["far", ""], ["", ""])
    assert list(mined.documents.columns["document"]) == ["a1", "a2", "far", "other"]
    mined.table[:] = [[3, -1], [2, 3]]
    assert mined.rows(np.arange(2)).columns[2:] == (["other", "far"], ["", "other"])


def test_a_negative_whose_pair_is_in_the_batch_is_not_far_from_its_own_anchor():
    mined = TextSource({"anchor": ["q1", "q2", "q3"], "positive": ["a1", "a2", "a3"]}).mined(1)
    mined.table[:, 0] = [1, 2, 0]
    assert mined.rows(np.array([0, 2])).columns[2] == ["a2", ""]
    assert mined.rows(np.array([0, 1, 2])).columns[2] == ["", "", ""]


def test_all_documents_of_a_collection_can_be_negatives(tmp_path: Path):
    (tmp_path / "qrels").mkdir()
    texts = [f"document {word} number {place}" for place, word in enumerate(WORDS)]
    (tmp_path / "corpus.jsonl").write_text(
        "\n".join(f'{{"_id": "d{place}", "text": "{text}"}}' for place, text in enumerate(texts))
    )
    (tmp_path / "queries.jsonl").write_text(
        "\n".join(f'{{"_id": "q{place}", "text": "{word}"}}' for place, word in enumerate(WORDS[:4]))
    )
    (tmp_path / "qrels" / "train.tsv").write_text("".join(f"q{place}\td{place}\t1\n" for place in range(4)))
    run = nf.fit(tmp_path, tmp_path / "run", **{**SETTINGS, "steps": 2, "batch_size": 4})
    trainer = trainer_of(run, run.read(tmp_path)[0], Team(), False)
    assert len(trainer.renewal.source.documents) == len(WORDS)  # type: ignore[union-attr]


def test_batches_of_clusters_hold_what_the_encoder_finds_alike(tmp_path: Path):
    texts = [f"{topic} {topic} {topic} {number}" for number in range(16) for topic in ("apple", "steel")]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts))
    settings = {"method": "simcse", "encoder": "ngrams-32", "steps": 2, "batch_size": 8, "progress": False}
    run = nf.fit(path, tmp_path / "run", batches="clusters", clusters=2, **settings)
    trainer = trainer_of(run, run.read(path)[0], Team(), False)
    for step in range(4):
        assert len({texts[row].split()[0] for row in trainer.sampler.batch(step)}) == 1


def test_communities_are_of_pairs_that_rank_each_other_high(pairs: Path, tmp_path: Path):
    settings = {**SETTINGS, "steps": 2, "refresh": None, "batches": "communities", "clusters_per_batch": 2}
    for name in ("negatives", "percentage", "depth"):
        del settings[name]
    run = nf.fit(pairs, tmp_path / "run", **settings, rank_skip=2, rank_keep=10)
    sampler = trainer_of(run, run.read(pairs)[0], Team(), False).sampler
    assert sorted(np.concatenate([sampler.batch(step) for step in range(6)])) == list(range(48))
    with pytest.raises(DataError, match=r"ask for the 130 best ranks .* there are 48 items; lower them"):
        nf.fit(pairs, tmp_path / "other", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refresh": None}, "depth is of negatives that are mined anew; set refresh"),
        ({"method": "simclr"}, "refresh mines negatives, and simclr has no use for them; use the method pairs"),
        ({"draw_options": {"within": 3}}, "draw = 'top' has no option among within"),
        ({"negatives": 11}, "depth = 10 is less than negatives = 11; raise depth"),
        ({"rank_skip": 3}, "rank_skip is of batches of hard items; set batches to clusters or communities"),
        ({"batches": "clusters", "clusters_per_batch": 3}, "batch_size = 8 is no multiple of clusters_per_batch = 3"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    pairs: Path, tmp_path: Path, settings: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        nf.fit(pairs, tmp_path / "run", **{**SETTINGS, **settings})
    assert not (tmp_path / "run").exists()


def test_texts_alone_have_no_negatives_to_mine(tmp_path: Path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(WORDS))
    with pytest.raises(DataError, match="mined for pairs of anchor and positive without scores; these texts stand"):
        nf.fit(path, tmp_path / "run", **SETTINGS)
