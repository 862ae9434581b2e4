from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluation import Entries, Scoring, compare_quality, reranking_quality, run_quality, search_quality

MEASURES = ["ndcg@5", "mrr@5", "map@20", "recall@5", "precision@3", "r_precision"]


def collection(seed: int = 0, queries: int = 30, documents: int = 200) -> tuple[np.ndarray, np.ndarray, Entries]:
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(documents, 6))
    own = rng.choice(documents, queries, replace=False)
    q = d[own] + 0.7 * rng.normal(size=(queries, 6))
    near = np.concatenate([own, rng.integers(0, documents, queries)])
    keys = np.unique(np.concatenate([np.arange(queries)] * 2) * documents + near)
    return q, d, Entries(keys // documents, keys % documents, 1 + keys % 3, (queries, documents))


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_search_is_that_of_the_whole_table_of_scores(metric: str) -> None:
    q, d, relevance = collection()
    if metric == "euclidean":
        table = -np.linalg.norm(q[:, None] - d[None], axis=2)
    else:
        norm = 1 if metric == "dot" else np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(d, axis=1)
        table = q @ d.T / norm
    query, document = np.divmod(np.arange(table.size), len(d))
    run = Entries(query, document, table.ravel(), relevance.shape)
    found = search_quality(q, d, relevance, MEASURES, metric, depth=20)  # type: ignore[arg-type]
    expected = run_quality(run, relevance, MEASURES)
    for key in MEASURES:
        np.testing.assert_allclose(found.scores[key], expected.scores[key], atol=1e-12)
        assert found.metrics[key].low <= found.metrics[key].value <= found.metrics[key].high


def test_a_document_with_the_own_id_is_neither_found_nor_relevant() -> None:
    d = np.array([[1.0, 0], [0.9, 0.1], [0, 1]])
    relevance = Entries([0, 0], [0, 1], [1, 1], (1, 3))
    found = search_quality(d[:1], d, relevance, ["hit@1", "recall@2"], exclude=(np.array([7]), np.array([7, 8, 9])))
    assert [found.scores[key].tolist() for key in ("hit@1", "recall@2")] == [[1.0], [1.0]]
    alone = Entries([0], [0], [1], (1, 3))
    with pytest.raises(DataError, match="nothing to find"):
        search_quality(d[:1], d, alone, exclude=(np.array([7]), np.array([7, 8, 9])))


def test_systems_are_compared_query_by_query() -> None:
    q, d, relevance = collection()
    noise = np.random.default_rng(1).normal(size=q.shape)
    good = search_quality(q, d, relevance, ["ndcg@10", "hit@1"])
    bad = search_quality(q + 3 * noise, d, relevance, ["ndcg@10"])
    difference = compare_quality(good, bad)
    assert list(difference) == ["ndcg@10"]
    assert difference["ndcg@10"].low > 0
    assert difference["ndcg@10"].value == pytest.approx(good.metrics["ndcg@10"].value - bad.metrics["ndcg@10"].value)
    fewer = search_quality(q, d, relevance.take(relevance.query > 3), ["ndcg@10"])
    with pytest.raises(DataError, match="different items"):
        compare_quality(good, fewer)


def test_reranking_orders_only_the_candidates() -> None:
    """Cosines of query 0: .8 (not relevant), .6 (relevant); query 1 has no other candidates, query 2 only others."""
    q = np.array([[1.0, 0], [1, 0], [1, 0]])
    d = np.array([[0.8, 0.6], [0.6, 0.8], [1.0, 0]])
    candidates = Entries([0, 0, 1, 2], [0, 1, 0, 0], [0, 1, 1, 0], (3, 3))
    found = reranking_quality(q, d, candidates)
    assert found.kept.tolist() == [0]
    assert found.notes == ["2 queries without candidates of both kinds were left out"]
    assert found.scores["map"].tolist() == found.scores["mrr@10"].tolist() == [0.5]
    assert found.scores["ndcg@10"][0] == pytest.approx(0.63093, abs=1e-5)
    with pytest.raises(DataError, match="nothing to order"):
        reranking_quality(q[1:2], d, Entries([0], [0], [1], (1, 3)))


def test_candidates_that_no_score_tells_apart_gain_nothing() -> None:
    q, d = np.ones((1, 2)), np.ones((4, 2))
    candidates = Entries([0] * 4, [0, 1, 2, 3], [1, 0, 0, 0], (1, 4))
    assert reranking_quality(q, d, candidates, ["mrr"]).scores["mrr"][0] == 0.25
    mean = reranking_quality(q, d, candidates, ["mrr"], scoring=Scoring(ties="expected")).scores["mrr"][0]
    assert mean == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_shapes_that_do_not_fit_are_refused() -> None:
    q, d, relevance = collection()
    with pytest.raises(DataError, match="relevance is of shape"):
        search_quality(q[:-1], d, relevance)
    with pytest.raises(DataError, match="both by name"):
        run_quality(relevance, {"q": {"d": 1}})
