"""Late interaction, Gaussians and judges of pairs: trained, and used to put in order what a search has found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

import nearfar as nf
from nearfar.errors import ConfigError
from nearfar.evaluation import reordered_quality
from nearfar.evaluation.entries import Entries
from nearfar.methods.ranker import OwnList, Ranker, RankerOptions
from nearfar.modalities.text.source import TextSource
from nearfar.run import Run
from nearfar.scoring import judge_of, reranker, scorer_of
from nearfar.store import Hit

SETTINGS: dict[str, Any] = {"steps": 2, "batch_size": 8, "progress": False}
ASKED = ["what eats a cat", "where whales swim", "a dog"]
SOUGHT = ["cats eat mice", "whales swim in all oceans of the world", "dogs bark", "nothing", "a cat and a dog"]


@pytest.fixture(scope="module")
def triples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "triples.csv"
    things = ["cat", "dog", "horse", "mouse", "whale", "lizard", "sparrow", "beetle"]
    rows = [f"what does the {a} eat,food of the {a} is {b} leaf,food of {b}" for a in things for b in ("a", "no")]
    path.write_text("\n".join(["anchor,positive,negative", *rows]))
    return path


@pytest.fixture(scope="module")
def judge(triples: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "judge"
    return nf.fit(triples, out, method="ranker", encoder="transformer-64x1", **SETTINGS)


def sources() -> tuple[TextSource, TextSource]:
    return TextSource({"query": ASKED}), TextSource({"document": SOUGHT})


def states(run: Run, text: str) -> np.ndarray:
    """(L, D) unit vectors of the tokens of a text, by itself."""
    method: Any = run.method.eval()
    with torch.no_grad():
        seen = method.encoder.record(method.encoder.tokens([text]))
        tokens = method.head(seen.tokens)[0].double().numpy()
    return np.array([token / np.sqrt((token**2).sum()) for token in tokens])


def best(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([max(float(a @ b) for b in y) for a in x]))


@pytest.mark.parametrize("similarity", ["maxsim", "mutual"])
def test_scores_by_tokens_are_those_of_a_loop_over_tokens(triples: Path, tmp_path: Path, similarity: str):
    run = nf.fit(
        triples, tmp_path / "run", method="pairs", encoder="gru-8", similarity=similarity, projection=4, **SETTINGS
    )
    index = np.array([[4, 0, -1], [1, 2, 3]])
    found = scorer_of(run, *sources(), batch_size=2).score(np.array([2, 1]), index)
    for line, query in enumerate((2, 1)):
        for place, document in enumerate(index[line]):
            x, y = states(run, ASKED[query]), states(run, SOUGHT[document])
            want = best(x, y) if similarity == "maxsim" else (best(x, y) + best(y, x)) / 2
            assert found[line, place] == (pytest.approx(want, abs=1e-5) if document >= 0 else -np.inf)


def test_the_loss_of_late_interaction_is_that_of_a_loop(triples: Path, tmp_path: Path):
    run = nf.fit(triples, tmp_path / "run", method="pairs", encoder="gru-8", similarity="maxsim", **SETTINGS)
    method: Any = run.method.eval()
    texts = [["a cat", "the big dog", "one"], ["cats are here", "dogs", "two three four"]]
    views = [method.encoder.tokens(side) for side in texts]
    batch = nf.data.Batch(views, torch.arange(3))
    loss = method.contrast([method.project(view) for view in views], batch).loss.item()
    scores = np.array([[best(states(run, a), states(run, b)) for b in texts[1]] for a in texts[0]]) / 0.05
    assert loss == pytest.approx(np.mean(np.log(np.exp(scores).sum(1)) - scores.diagonal()), rel=1e-4)


def test_scores_of_gaussians_are_their_divergence(triples: Path, tmp_path: Path):
    settings = {**SETTINGS, "similarity": "gaussian", "projection": 5}
    run = nf.fit(triples, tmp_path / "run", method="pairs", encoder="ngrams-8", temperature=1.0, **settings)
    found = scorer_of(run, *sources()).score(np.arange(3), np.tile(np.arange(5), (3, 1)))
    method: Any = run.method.eval()
    with torch.no_grad():
        rows = [method.head(method.encoder(method.encoder.tokens(side))).double() for side in (ASKED, SOUGHT)]
    q, d = (Normal(r[:, :5], torch.nn.functional.softplus(r[:, 5:]).sqrt()) for r in rows)
    for query in range(3):
        for document in range(5):
            one, two = (Normal(n.loc[i], n.scale[i]) for n, i in ((q, query), (d, document)))
            assert found[query, document] == pytest.approx(-float(kl_divergence(one, two).sum()), abs=1e-4)


def test_a_list_is_the_cross_entropy_of_its_first_candidate_among_those_that_are_there():
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    there = torch.tensor([[True] * 4, [True, False, True, False], [True, False, False, False]])
    want = [
        np.log(sum(np.exp(float(s) / 2) for s, t in zip(row, here, strict=True) if t)) - float(row[0]) / 2
        for row, here in zip(scores[:2], there[:2], strict=True)
    ]
    assert float(OwnList(temperature=2.0)(scores, there)) == pytest.approx(np.mean(want), rel=1e-5)
    assert float(OwnList()(scores[2:], there[2:])) == 0


@pytest.mark.parametrize("length", [1.0, 40.0])
def test_how_long_the_vectors_of_an_encoder_are_does_not_bound_the_scores(length: float):
    class Fixed(torch.nn.Module):
        width = 16

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return length * torch.nn.functional.normalize(rows, dim=1)

    torch.manual_seed(0)
    rows, ranker = torch.randn(5, 16), Ranker(Fixed(), RankerOptions())
    weights = ranker.judge.weight[0].double().tolist()
    for row, score in zip(rows.double().tolist(), ranker.project(rows)["score"][:, 0].tolist(), strict=True):
        mean = sum(row) / 16
        spread = (sum((value - mean) ** 2 for value in row) / 16) ** 0.5
        want = sum(weight * (value - mean) / spread for weight, value in zip(weights, row, strict=True))
        assert score == pytest.approx(want, abs=2e-3)


def test_a_judge_reads_both_texts_in_order_whatever_stands_beside(judge: Run):
    scores = judge_of(judge, batch_size=2)
    pairs = [(asked, sought) for asked in ASKED for sought in SOUGHT]
    together = scores(pairs)
    np.testing.assert_allclose(together, [scores([pair])[0] for pair in pairs], atol=1e-5)
    assert abs(scores([("a cat", "no dog")]) - scores([("no dog", "a cat")])) > 1e-4
    found = scorer_of(judge, *sources()).score(np.array([1]), np.array([[3, -1]]))
    assert found[0, 1] == -np.inf and found[0, 0] == pytest.approx(together[5 + 3], abs=1e-5)


def test_a_judge_learns_what_no_sum_of_both_texts_tells(tmp_path: Path):
    rows = [f"{a} {b},{a} {b} yes,{b} {a} yes" for a in "abcdefgh" for b in "ijkl"]
    path = tmp_path / "order.csv"
    path.write_text("\n".join(["anchor,positive,negative", *rows]))
    settings = {**SETTINGS, "steps": 60, "batch_size": 32, "lr": 3e-3}
    run = nf.fit(path, tmp_path / "run", method="ranker", encoder="transformer-64x1", **settings)
    assert run.history[0]["loss"] == pytest.approx(np.log(2), abs=0.5) and run.history[-1]["loss"] < 0.1


def test_an_interrupted_judge_ends_with_the_same_bits(triples: Path, tmp_path: Path):
    settings = {**SETTINGS, "steps": 6, "checkpoint_every": 3, "dropout": 0.1, "micro_batch": 3, "projection": 4}
    run = nf.fit(triples, tmp_path / "run", method="ranker", encoder="gru-8", **settings)
    shutil.copytree(run.path, tmp_path / "again")
    for file in (tmp_path / "again" / "checkpoints").glob("step-00000006*"):
        file.unlink()
    again = nf.resume(tmp_path / "again", progress=False)
    want, got = run.method.state_dict(), again.method.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)
    assert not torch.equal(want["judge.weight"], run.fresh_method().state_dict()["judge.weight"])


def test_a_list_in_another_order_is_measured_in_that_order():
    queries, documents = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
    relevance = Entries([0, 0], [2, 3], [1, 1], (1, 4))
    other = np.array([[0.0, 3.0, 2.0]])
    found = reordered_quality(
        queries, documents, relevance, lambda rows, index: other, ["mrr@10", "recall@10"], depth=3
    )
    assert found.metrics["mrr@10"].value == 0.5  # 1, 2, 0; document 3 is not among the three that are found
    assert found.metrics["recall@10"].value == 0.5


def test_a_run_puts_the_lists_of_another_in_order(judge: Run, triples: Path, tmp_path: Path, command: Any):
    table = tmp_path / "pairs.csv"
    lines = triples.read_text().splitlines()
    table.write_text("\n".join(line.rpartition(",")[0] for line in lines))
    said = command("evaluate", "ngrams-16", table, "--no-baselines", "--rerank", judge.path, "--json", tmp_path / "f")
    assert said.code == 0, said.error
    assert "re-ranked by judge" in said.out
    figures = json.loads((tmp_path / "f").read_text())["evaluations"]
    assert list(figures) == ["nearfar", "re-ranked by judge"]
    report = nf.mine("ngrams-16", table, out=tmp_path / "mined.csv", guide=judge.path, negatives=1, progress=False)
    assert report.out.is_file() and "guide sha256" in report.out.with_suffix(".csv.json").read_text()


def test_hits_are_scored_by_what_they_say(judge: Run):
    hits = [Hit(str(place), 1.0 - place / 10, {"text": text}) for place, text in enumerate(SOUGHT)]
    assert reranker(judge)(ASKED[0], hits) == list(judge_of(judge)([(ASKED[0], text) for text in SOUGHT]))
    with pytest.raises(ConfigError, match="this store holds rows without text"):
        reranker(judge)("a", [Hit("1", 1.0, {})])


def test_what_cannot_be_judged_is_refused(triples: Path, small: Path, trained: Path, judge: Run, tmp_path: Path):
    settings = {**SETTINGS, "out": tmp_path / "run"}
    with pytest.raises(ConfigError, match="adds up what is in a text and cannot judge two together"):
        nf.fit(triples, method="ranker", encoder="ngrams-8", **settings)
    with pytest.raises(ConfigError, match="ranker judges pairs and finds none; mine for it"):
        nf.fit(triples, method="ranker", encoder="gru-8", refresh=2, **settings)
    with pytest.raises(ConfigError, match="these data say of classes, not of what is relevant"):
        nf.evaluate(trained, small, rerank=judge)
    with pytest.raises(ConfigError, match="widths compares by cosine; leave out similarity = 'maxsim'"):
        nf.fit(triples, method="pairs", encoder="gru-8", similarity="maxsim", widths=(4,), **settings)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("anchor,positive\n" + "\n".join(f"a {n},b {n}" for n in range(8)))
    with pytest.raises(ConfigError, match="ranker learns from given negatives, and these pairs have none"):
        nf.fit(pairs, method="ranker", encoder="gru-8", **settings)
