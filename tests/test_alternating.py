"""A retriever and a judge of pairs in turns: the objective by its limits, whose turn it is, and the same bits again."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.errors import ConfigError
from nearfar.fitting import trainer_of
from nearfar.methods.ar2 import AR2, Adversary
from nearfar.modalities.text.source import TextSource
from nearfar.scoring import reranker, scorer_of
from nearfar.store import Hit
from nearfar.training.team import Team

SETTINGS: dict[str, Any] = {
    **{"method": "ar2", "encoder": "gru-8", "batch_size": 8, "log_every": 1, "progress": False},
    **{"steps": 9, "refresh": 4, "negatives": 2, "percentage": 0, "depth": 10, "judge_share": 0.5},
}
WORDS = ("red", "blue", "green", "round", "flat", "tall", "old", "new", "warm", "cold", "soft", "hard", "loud", "calm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of 24 documents, with 16 queries to learn from and 4 held out."""
    path, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (path / "qrels").mkdir()
    chosen = [rng.choice(WORDS, 3, replace=False).tolist() for _ in range(24)]
    for name, sides in (("corpus", (0, 1, 2)), ("queries", (2, 0))):
        lines = [
            json.dumps({"_id": str(n), "text": f"{n} " + " ".join(words[s] for s in sides)})
            for n, words in enumerate(chosen)
        ]
        (path / f"{name}.jsonl").write_text("\n".join(lines))
    for split, rows in (("train", range(16)), ("dev", range(16, 20)), ("test", range(20, 24))):
        (path / "qrels" / f"{split}.tsv").write_text("".join(f"{n}\t{n}\t1\n" for n in rows))
    return path


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> nf.Run:
    return nf.fit(folder, tmp_path_factory.mktemp("runs") / "run", **SETTINGS, checkpoint_every=1)


def scores(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    s, r = (torch.randn(3, 4, generator=drawn) for _ in range(2))
    return s, torch.tensor([[True] * 4, [True, False, True, True], [True, False, False, False]]), r


def test_the_objective_is_that_of_plain_loops():
    s, there, r = scores()
    want, hard = 0.0, 0.0
    for i in range(2):  # the third anchor has no other candidate
        some = [j for j in range(4) if there[i, j]]
        p, q = ({j: math.exp(float(v[i, j]) / t) for j in some} for v, t in ((s, 0.5), (r, 2.0)))
        for j in some:
            log = math.log(p[j] / sum(p.values()))
            want += 0.3 * -math.log(1 + math.exp(float(r[i, j] - r[i, 0]))) * log - 0.7 * q[j] / sum(q.values()) * log
        hard += sum(p[j] for j in some[1:] if r[i, j] > r[i, 0]) / sum(p[j] for j in some[1:])
    made = Adversary(temperature=0.5, teacher_temperature=2.0, adversary=0.3)
    assert float(made(s, there, r)) == pytest.approx(want / 2, rel=1e-5)
    assert float(made.terms(s, there, r)["hard_mass"]) == pytest.approx(hard / 2, rel=1e-5)


def test_distillation_alone_is_uniform_for_an_undecided_judge_and_a_list_for_a_sure_one():
    s, _, r = scores()
    every = torch.ones(3, 4, dtype=torch.bool)
    taught = Adversary(temperature=1.0, adversary=0.0)
    uniform = float(taught(s, every, torch.zeros(3, 4)))
    assert uniform == pytest.approx(float(-s.log_softmax(1).mean()), rel=1e-6)
    assert uniform >= math.log(4) == pytest.approx(float(taught(torch.zeros(3, 4), every, torch.zeros(3, 4))))
    r[:, 0] = r.max() + 1
    sure = Adversary(temperature=1.0, teacher_temperature=1e-3, adversary=0.0)
    assert float(sure(s, every, r)) == pytest.approx(float(-s.log_softmax(1)[:, 0].mean()), rel=1e-5)


def test_the_adversary_alone_moves_weight_to_what_the_judge_finds_hard_and_leaves_the_judge_alone():
    s = torch.zeros(1, 3, requires_grad=True)
    r = torch.tensor([[0.0, 4.0, -4.0]], requires_grad=True)
    Adversary(adversary=1.0)(s, torch.ones(1, 3, dtype=torch.bool), r).backward()
    assert r.grad is None and s.grad is not None
    assert s.grad[0, 1] < 0 < s.grad[0, 2]  # a step down raises the hard one
    value = Adversary(temperature=1.0, adversary=1.0)(torch.zeros(1, 2), torch.ones(1, 2).bool(), torch.zeros(1, 2))
    assert float(value) == pytest.approx(2 * math.log(0.5) ** 2, rel=1e-6)  # the partner's own reward is log 1/2


def test_in_each_turn_one_of_both_learns(run: nf.Run, folder: Path, tmp_path: Path):
    lines = run.history
    assert [("list" in line["terms"], "adversary" in line["terms"]) for line in lines] == [
        (step % 4 < 2, step % 4 >= 2) for step in range(9)
    ]
    before: dict[str, torch.Tensor] = {}
    for stop in (2, 4):  # after a turn of the judge, and one of the retriever
        short = nf.fit(folder, tmp_path / str(stop), **{**SETTINGS, "steps": stop, "schedule": "constant"})
        start, now = short.fresh_method().state_dict() | before, dict(short.method.state_dict())
        moved = {name.split(".")[0] for name, value in now.items() if not torch.equal(value, start[name])}
        assert moved - {"judging"} == ({"ranker"} if stop == 2 else {"encoder"})
        before = now
    assert run.embed(TextSource({"query": ["a"]})).vectors.shape == (1, 8)


def test_the_judge_scores_once_what_the_retriever_sees_and_is_right_when_the_partner_is_first(
    folder: Path, tmp_path: Path
):
    run = nf.fit(folder, tmp_path / "run", **{**SETTINGS, "steps": 3})
    trainer = trainer_of(run, run.read(folder)[0], Team(), False)
    turns: Any = trainer.renewal
    turns(0)
    found = turns(2)
    table, source = turns.source.targets, turns.source
    seen = np.isin(np.arange(16), np.concatenate([trainer.sampler.batch(2)]))  # the run ends with step 2
    assert np.isnan(table[~seen]).all() and not np.isnan(table[seen]).any()
    ranker, right = turns.ar2.ranker.eval(), []
    for row in np.flatnonzero(seen):
        anchor, *others = (column[0] for column in source.every(np.array([row])).columns)
        with torch.no_grad():
            want = [float(ranker.project(turns.turns.joint.pairs([anchor], [other]))["score"]) for other in others]
        np.testing.assert_allclose(table[row], want, atol=1e-5)
        right.append(want[0] > max(want[1:]))
    assert found == {"judged": 3 * seen.sum(), "judge_accuracy": pytest.approx(np.mean(right))}


def test_both_are_measured_on_held_out_queries_before_the_first_round_and_after_each(run: nf.Run, folder: Path):
    lines = run.history
    assert {"recall@5", "judge_accuracy", "hard_mass"} <= set(lines[0]["renewed"])
    assert [line["step"] for line in lines if "watched" in line] == [4, 8, 9]
    held, all_of = (nf.modalities.find("text").collection(folder, run.options, split) for split in ("dev", "train"))  # type: ignore[arg-type]
    queries, documents = (run.embed(one).vectors for one in (held.queries, all_of.documents))  # type: ignore[union-attr]
    cosines = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        documents / np.linalg.norm(documents, axis=1, keepdims=True)
    ).T
    ranks = [int((line > line[16 + place]).sum()) for place, line in enumerate(cosines)]
    assert lines[-1]["watched"]["recall@5"] == np.mean([rank < 5 for rank in ranks])
    score = scorer_of(run, held.queries, all_of.documents).score  # type: ignore[union-attr]
    right, mass = [], []
    for place, line in enumerate(cosines):
        others = [row for row in np.argsort(-line) if row != 16 + place][:2]
        judged = score(np.array([place]), np.array([[16 + place, *others]]))[0]
        weight, hard = np.exp(line[others] / 0.05), judged[1:] > judged[0]
        right.append(not (judged[1:] >= judged[0]).any())
        mass.append((weight * hard).sum() / weight.sum())
    assert lines[-1]["watched"]["judge_accuracy"] == np.mean(right)
    assert lines[-1]["watched"]["hard_mass"] == pytest.approx(np.mean(mass), abs=1e-4)


@pytest.mark.parametrize("at", [4, 5, 6, 7])
def test_a_run_goes_on_from_any_turn_with_the_same_bits(run: nf.Run, folder: Path, tmp_path: Path, at: int):
    stopped = nf.fit(folder, tmp_path / "run", **{**SETTINGS, "checkpoint_every": at})
    files = sorted((stopped.path / "checkpoints").glob("step-*.json"))
    for file in files:
        if int(file.stem.split("-")[1]) > at * (8 // at):
            for part in (stopped.path / "checkpoints").glob(f"{file.stem}*"):
                part.unlink()
    again = nf.resume(shutil.copytree(stopped.path, tmp_path / "again"), progress=False)
    want, got = run.method.state_dict(), again.method.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)
    parts = [[(one["loss"], one.get("renewed"), one.get("watched")) for one in made.history] for made in (run, again)]
    assert parts[0] == parts[1]


def test_the_judge_puts_found_texts_in_order(run: nf.Run):
    hits = [Hit(str(place), 1.0, {"text": text}) for place, text in enumerate(("red old", "blue", "new cold hard"))]
    found = reranker(run)("red old thing", hits)
    method: Any = run.method.eval()
    tokens = [method.encoder.joined(["red old thing"], [hit.columns["text"]]) for hit in hits]
    with torch.no_grad():
        want = [float(method.ranker.project(row)["score"]) for row in tokens]
    assert isinstance(method, AR2)
    np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refresh": None, "negatives": None, "percentage": None, "depth": None}, "set refresh=400, say"),
        ({"refresh": 1}, "both learn between two minings"),
        ({"refresh_from": 4}, "leave out refresh_from"),
        ({"encoder": "ngrams-8"}, "adds up what is in a text and cannot judge two together"),
        ({"masked": 0.1}, "ar2 learns nothing beside; leave out masked"),
    ],
)
def test_what_cannot_alternate_is_refused(folder: Path, tmp_path: Path, settings: dict[str, Any], message: str):
    given = {name: value for name, value in {**SETTINGS, **settings}.items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        nf.fit(folder, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
