"""Pairs that are kept out of training, and searched at the end beside the untouched encoder and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from nearfar.comparing.rows import read
from nearfar.data.split import apart_by_id
from nearfar.errors import ConfigError, DataError
from saying import Command

SETTINGS: dict[str, Any] = {"method": "pairs", "encoder": "ngrams-16", "steps": 4, "batch_size": 8, "threads": 1}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pairs of 30 anchors, each of which shares one word with both of its partners and with nothing else."""
    lines = [f"thing word{n},{other} word{n} again" for n in range(30) for other in ("one", "two")]
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    path.write_text("\n".join(["anchor,positive", *lines]))
    return path


def test_items_are_set_apart_whole():
    rng = np.random.default_rng(0)
    for fraction in (0.01, 0.2, 0.5, 0.99):
        ids = rng.integers(0, 40, 300)
        rest, apart = apart_by_id(ids, fraction, seed=3)
        assert np.array_equal(np.sort(np.concatenate([rest, apart])), np.arange(300)) and len(rest) and len(apart)
        assert not set(ids[rest]) & set(ids[apart])
        assert len(apart) >= min(fraction * 300, 300 - len(rest)) and abs(len(apart) - fraction * 300) < 20
        assert all(map(np.array_equal, apart_by_id(ids, fraction, 3), (rest, apart)))
    assert not np.array_equal(apart_by_id(ids, 0.5, 4)[1], apart_by_id(ids, 0.5, 3)[1])
    with pytest.raises(DataError, match="one item"):
        apart_by_id(np.zeros(5), 0.5, 0)


def test_pairs_kept_out_are_searched_beside_the_start_and_words(pairs: Path, tmp_path: Path, command: Command):
    out = tmp_path / "run"
    said = command(
        "fit", pairs, "--method", "pairs", "--encoder", "ngrams-16", "--steps", 4, "--batch-size", 8,
        "--set", "held_out=0.2", "--set", "checkpoint_every=2", "--set", "threads=1", "--out", out,
    )  # fmt: skip
    assert said.code == 0, said.err
    run = nf.Run.load(out)
    held = run.held_out()
    assert held is not None and 12 <= len(held) <= 14 and run.config["source"]["items"] == 60 - len(held)
    found = json.loads((out / "results.json").read_text())["evaluations"]
    assert list(found) == ["nearfar", "untrained encoder", "hashed words", "BM25"]
    words = {key: metric["value"] for key, metric in found["BM25"]["metrics"].items()}
    assert words["search_ndcg@10"] == words["search_hit@1"] == 1.0  # the one word tells all
    assert "BM25" in said.out and "BM25" in (out / "report.html").read_text()
    before = run.method.state_dict()["encoder.vectors.weight"].clone()
    for file in (out / "checkpoints").glob("step-00000004*"):
        file.unlink()
    again = nf.resume(out).method.state_dict()["encoder.vectors.weight"]
    assert before.equal(again)


def test_what_has_no_pairs_keeps_none_out(pairs: Path, small: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="held_out keeps pairs out of training, and these images are no pairs"):
        nf.fit(small, tmp_path / "run", steps=1, held_out=0.1)
    source = nf.modalities.find("text").read_pair(pairs, nf.modalities.find("text").Options(), None, None, False)[0]
    with pytest.raises(ConfigError, match="held_out is for data on disk"):
        nf.fit(source, tmp_path / "run", **SETTINGS, held_out=0.1)
    assert nf.fit(pairs, tmp_path / "all", **SETTINGS).held_out() is None


def test_methods_are_compared_by_the_search_of_pairs_that_none_of_them_saw(pairs: Path, tmp_path: Path):
    settings = {key: value for key, value in SETTINGS.items() if key != "method"}
    found = nf.compare(pairs, ["pairs"], tmp_path / "out", held_out=0.2, seed=5, progress=False, **settings)
    text = nf.modalities.find("text")
    source = text.read_pair(pairs, text.Options(), None, None, False)[0]
    apart = source.select(apart_by_id(source.ids, 0.2, 0)[1])
    run = nf.Run.load(tmp_path / "out" / "runs" / "pairs")
    assert run.config["source"]["items"] == 60 - len(apart) and found.rows["scored_on"] == len(apart)
    anchors, partners = (
        [row / np.linalg.norm(row) for row in run.embed(side).vectors.astype(float)] for side in apart.parts()
    )
    best = [int(np.argmax([float(a @ b) for b in partners])) for a in anchors]
    hits = [apart.ids[row] == apart.ids[place] for row, place in enumerate(best)]
    assert found.line("pairs").metric("search_hit@1").value == pytest.approx(np.mean(hits))
    assert found.line("hashed words").metric("search_ndcg@10").value == 1.0  # the one word tells all
    assert found.headline == "search_ndcg@10" and "20% of the pairs were held out before training" in str(found)
    assert "nDCG@10" in (tmp_path / "out" / "compare.html").read_text()


def test_compare_keeps_only_plain_pairs_out(pairs: Path, small: Path, tmp_path: Path):
    text, images = nf.modalities.find("text"), nf.modalities.find("images")
    graded = tmp_path / "graded.csv"
    graded.write_text("text_a,text_b,score\n" + "\n".join(f"a {n},b {n},{n % 2}" for n in range(8)))
    for path, kind, message in ((small, images, "images are no pairs"), (graded, text, "text have scores")):
        with pytest.raises(ConfigError, match=message):
            read(path, kind, kind.Options(), None, 0.2, False, held_out=0.2)
    (tmp_path / "both").mkdir()
    for part in ("train", "test"):
        (tmp_path / "both" / f"{part}.csv").write_text(pairs.read_text())
    with pytest.raises(ConfigError, match="these data have one; leave it out"):
        read(tmp_path / "both", text, text.Options(), None, 0.2, False, held_out=0.2)
