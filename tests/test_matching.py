"""Pairs from raw texts to figures: graded, of 0 and 1, and without scores; from Python and by the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
import torch
from scipy import stats
from sklearn.metrics import average_precision_score

import nearfar as nf
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import pair_scores
from nearfar.opening import open_run

Command = Callable[..., Any]
WORDS = (
    "red",
    "green",
    "blue",
    "old",
    "new",
    "small",
    "large",
    "cat",
    "dog",
    "fox",
    "owl",
    "hen",
    "runs",
    "sleeps",
    "sings",
    "eats",
    "waits",
    "home",
    "away",
)


def table(path: Path, rows: int = 60, scores: str | None = "graded", seed: int = 0) -> Path:
    """Pairs of sentences that share more or fewer words; the more they share, the more alike."""
    rng = np.random.default_rng(seed)
    lines = ["anchor\tpositive" + ("" if scores is None else "\tscore")]
    for _ in range(rows):
        first = list(rng.choice(WORDS, 6, replace=False))
        same = int(rng.integers(0, 7)) if scores else 5
        second = first[:same] + list(rng.choice([word for word in WORDS if word not in first], 6 - same, replace=False))
        cells = [" ".join(first), " ".join(second)]
        score = same / 6 if scores == "graded" else int(same > 3)
        lines.append("\t".join(cells if scores is None else [*cells, str(score)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def vectors(run: nf.Run, found: Any) -> tuple[np.ndarray, np.ndarray]:
    return (
        run.vectors_of(run.method, found.matches.queries),
        run.vectors_of(run.method, found.matches.documents),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nf.Run:
    place = tmp_path_factory.mktemp("matching")
    data = table(place / "pairs.tsv", scores=None)
    return nf.fit(data, place / "run", method="pairs", encoder="ngrams-32", steps=3, batch_size=16, progress=False)


def test_graded_pairs_are_measured_by_correlation(run: nf.Run, tmp_path: Path) -> None:
    found = nf.evaluate(run, table(tmp_path / "graded.tsv"), resamples=50)
    a, b = vectors(run, found)
    expected = stats.spearmanr(pair_scores(a, b), found.matches.targets).statistic
    assert found.evaluations["nearfar"].metrics["similarity_spearman"].value == pytest.approx(expected)
    assert list(found.evaluations) == ["nearfar", "untrained encoder", "hashed words"]
    assert found.evaluations["hashed words"].metrics["similarity_spearman"].value > 0.8  # shared words are the grade
    assert "similarity_spearman" in found.gains["hashed words"]
    assert str(found).startswith("Scored on 60 graded pairs of graded.tsv.\n\nSimilarity\n")


def test_pairs_of_zero_and_one_are_told_apart_by_a_threshold(run: nf.Run, tmp_path: Path) -> None:
    train, test = (table(tmp_path / f"{part}.tsv", scores="binary", seed=seed) for seed, part in enumerate("ab"))
    found = nf.evaluate(run, train, test=test, resamples=50)
    a, b = vectors(run, found)
    metrics = found.evaluations["nearfar"].metrics
    expected = average_precision_score(found.matches.targets, pair_scores(a, b))
    assert metrics["pairs_average_precision"].value == pytest.approx(expected)
    assert metrics["pairs_accuracy"].settings["chosen_on"] == "other pairs"
    assert found.matches.queries.rows(slice(0, 1)).columns[0][0] == test.read_text().splitlines()[1].split("\t")[0]
    alone = nf.evaluate(run, train, probes=["pairs", "similarity"], baselines=False, resamples=5)
    assert alone.evaluations["nearfar"].metrics["pairs_f1"].settings["chosen_on"] == "the same pairs"
    assert "similarity_pearson" in alone.evaluations["nearfar"].metrics


def test_first_texts_search_all_second_ones(run: nf.Run, tmp_path: Path) -> None:
    data = table(tmp_path / "pairs.tsv", scores=None, seed=3)
    found = nf.evaluate(run, data, measures=["hit@1", "mrr@10"], resamples=50)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in vectors(run, found))
    hits = (a @ b.T).argmax(1) == np.arange(60)
    metrics = found.evaluations["nearfar"].metrics
    assert set(metrics) == {"search_hit@1", "search_mrr@10"}
    assert metrics["search_hit@1"].value == pytest.approx(hits.mean())
    assert "Search\n" in str(found) and "Scored on 60 pairs" in str(found)


def test_rows_with_one_id_are_relevant_to_one_another(run: nf.Run, tmp_path: Path) -> None:
    source = run.read(table(tmp_path / "pairs.tsv", scores=None))[0]
    source.ids = np.arange(60) // 3
    relevance = nf.evaluate(run, source, baselines=False, resamples=5).matches.relevance
    got = set(zip(relevance.query.tolist(), relevance.document.tolist(), strict=True))
    assert got == {(i, j) for i in range(60) for j in range(60) if i // 3 == j // 3}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Documents of six words, and queries of three of these; judged in the test part only."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "library"
    (folder / "qrels").mkdir(parents=True)
    texts = [list(rng.choice(WORDS, 6, replace=False)) for _ in range(40)]
    documents = [{"_id": f"d{i}", "title": text[0], "text": " ".join(text[1:])} for i, text in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": " ".join(texts[i][:3])} for i in range(12)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    judged = [f"q{i}\td{j}\t{grade}" for i in range(10) for j, grade in ((i, 2), (i + 20, 1), (i + 12, 0))]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n")
    return folder


def test_a_collection_is_searched(run: nf.Run, collection: Path) -> None:
    found = nf.evaluate(run, collection, resamples=20)
    assert str(found).startswith("Scored on 10 queries, 40 documents and 30 judgments of library.\n\nSearch\n")
    a, b = vectors(run, found)
    table = (a @ b.T) / (np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1))
    ranked = {f"q{i}": {f"d{j}": float(table[i, j]) for j in range(40)} for i in range(10)}
    graded = {f"q{i}": {f"d{i}": 2, f"d{i + 20}": 1, f"d{i + 12}": 0} for i in range(10)}
    judge = pytrec_eval.RelevanceEvaluator(graded, {"ndcg_cut.10", "recall.10"}).evaluate(ranked)
    metrics = found.evaluations["nearfar"].metrics
    for key, name in (("search_ndcg@10", "ndcg_cut_10"), ("search_recall@10", "recall_10")):
        assert metrics[key].value == pytest.approx(np.mean([values[name] for values in judge.values()]))
    assert set(found.gains) == {"untrained encoder", "hashed words"}


def test_an_encoder_by_name_needs_no_training_part(command: Command, collection: Path) -> None:
    said = command("evaluate", "ngrams-32", collection)
    assert said.code == 0 and "10 queries, 40 documents" in said.out and "nDCG@10" in said.out
    said = command("evaluate", "ngrams-32", collection, "--probes", "knn")
    assert said.code == 2 and "these data allow the probe search, not knn" in said.err


def test_prompts_stand_before_queries_and_documents(collection: Path) -> None:
    run = open_run("ngrams-32", collection, query_prompt="red red red ")
    found = nf.evaluate(run, collection, baselines=False, resamples=5)
    (plain,) = found.matches.queries.rows(slice(0, 1)).columns
    assert found.matches.queries.names[0] == "q0"
    prompted = run.vectors_of(run.method, found.matches.queries)[:1]
    with torch.no_grad():
        encoder = run.method.encoder.eval()
        wanted, other = (encoder(encoder.tokens([text])).numpy() for text in ("red red red " + plain[0], plain[0]))
    np.testing.assert_allclose(prompted, wanted, atol=1e-5)
    assert not np.allclose(prompted, other, atol=1e-3)


def test_mistakes_say_what_to_do(run: nf.Run, tmp_path: Path) -> None:
    graded = table(tmp_path / "graded.tsv")
    with pytest.raises(DataError, match="allow the probe similarity, not search: similarity needs graded pairs"):
        nf.evaluate(run, graded, probes=["search"])
    with pytest.raises(ConfigError, match="similarity and knn are for different data"):
        nf.evaluate(run, graded, probes=["knn", "similarity"])
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(DataError, match="similarity needs pairs, or a collection"):
        nf.evaluate("ngrams-32", tmp_path / "lines.txt", probes=["similarity"])


def test_the_command(command: Command, run: nf.Run, tmp_path: Path) -> None:
    data = table(tmp_path / "graded.tsv")
    said = command("evaluate", run.path, data, "--json", tmp_path / "f.json", "--report", tmp_path / "page.html")
    assert said.code == 0 and "Spearman" in said.out
    figures = json.loads((tmp_path / "f.json").read_text())["evaluations"]["nearfar"]["metrics"]
    assert figures["similarity_spearman"]["n"] == 60
    assert "Spearman" in (tmp_path / "page.html").read_text("utf-8")
