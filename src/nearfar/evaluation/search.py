"""Does a search find what is relevant? By vectors, by any ranked lists, or among given candidates.

The search is exact and goes block by block: memory is that of the lists, never of (queries x documents).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from nearfar.errors import DataError

from .checks import Labels, Vectors, as_vectors, same_width
from .entries import Entries, Named, entries_of, numbered
from .neighbours import Neighbours, Similarity, nearest
from .quality import Quality, of_means
from .ranking import MEASURES, Scoring, depth_of, rank_scores, title
from .similarity import pair_scores

_PAIRS = 4_000_000  # numbers of gathered vectors held at once: 32 MB


def search_quality(
    queries: Vectors,
    documents: Vectors,
    relevance: Entries,
    measures: Sequence[str] = MEASURES,
    metric: Similarity = "cosine",
    exclude: tuple[Labels, Labels] | None = None,
    depth: int = 100,
    scoring: Scoring | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Search every query among all documents and score its list, with 95 % intervals over queries.

    queries (Q, D), documents (M, D), relevance: grades of shape (Q, M). exclude: ids of queries (Q,) and documents
    (M,); a document with the query's own id is neither found nor relevant. depth: length of the lists, at least the
    largest k of the measures; measures without k see no deeper. Of documents with the same score the lower row comes
    first, unless `scoring` says otherwise of ties within the list.

    Raises DataError: shapes that do not fit, or no query has a relevant document.

    >>> found = search_quality(np.eye(3), np.eye(3), Entries([0, 1], [0, 2], [1, 1], (3, 3)), ["hit@1", "hit@3"])
    >>> print(found)
    hit@1 0.500 [0.000, 1.000] n=2
    hit@3 1.000 [1.000, 1.000] n=2
    Note: 1 query without a relevant document was left out
    """
    rules = scoring or Scoring(ties="stable")
    q, d = _fitting(queries, documents, relevance)
    if exclude is not None:
        own = np.asarray(exclude[0])[relevance.query] == np.asarray(exclude[1])[relevance.document]
        relevance = relevance.take(~own)
    deepest = max([depth, *(depth_of(measure, rules) or 0 for measure in measures)])
    found = nearest(q, d, min(deepest, len(d)), metric, exclude)
    settings = {"metric": metric, "depth": deepest}
    return _quality(entries_of(found, len(d)), relevance, measures, rules, settings, resamples, seed)


def reordered_quality(
    queries: Vectors,
    documents: Vectors,
    relevance: Entries,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    measures: Sequence[str] = MEASURES,
    metric: Similarity = "cosine",
    depth: int = 100,
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Like `search_quality`, but the `depth` documents that are found are put in the order of other scores.

    score: (rows of queries (Q,), rows of documents (Q, depth)) to (Q, depth); where they are equal the first search
    decides.

    >>> found = reordered_quality(
    ...     np.eye(3), np.eye(3), Entries([0], [2], [1], (3, 3)), lambda rows, index: index, ["mrr@10"]
    ... )
    >>> found.metrics["mrr@10"].value
    1.0
    """
    q, d = _fitting(queries, documents, relevance)
    found = nearest(q, d, min(depth, len(d)), metric)
    scores = np.asarray(score(np.arange(len(q)), found.index))
    order = np.argsort(-scores, axis=1, kind="stable")
    lists = Neighbours(*(np.take_along_axis(values, order, 1) for values in (scores, found.index)))
    settings = {"metric": metric, "depth": depth, "reordered": True}
    run = entries_of(lists, len(d))
    return _quality(run, relevance, measures, Scoring(ties="stable"), settings, resamples, seed)


def run_quality(
    run: Entries | Named,
    relevance: Entries | Named,
    measures: Sequence[str] = MEASURES,
    scoring: Scoring | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Score ranked lists that something else has made (BM25, a cross-encoder), with 95 % intervals over queries.

    run, relevance: both as `Entries`, or both by name, {query: {document: score or grade}}. The result is that of
    trec_eval where every query has a list and a relevant document.

    Raises DataError: one by name and one not, or no query has a relevant document.

    >>> run = {"q1": {"a": 0.9, "b": 0.8}, "q2": {"a": 0.3}}
    >>> print(run_quality(run, {"q1": {"b": 1}, "q2": {"a": 2}}, ["mrr@10"]).metrics["mrr@10"].value)
    0.75
    """
    if isinstance(run, Entries) != isinstance(relevance, Entries):
        raise DataError("give run and relevance both as Entries or both by name")
    other = 0
    if not isinstance(run, Entries) and not isinstance(relevance, Entries):
        other = len(set(run) - set(relevance))
        run, relevance, _ = numbered(run, relevance)
    assert isinstance(run, Entries) and isinstance(relevance, Entries)
    found = _quality(run, relevance, measures, scoring or Scoring(), {}, resamples, seed)
    if other:
        found.notes.append(f"{_count(other)} of the run not in the relevance: left out")
    return found


def reranking_quality(
    queries: Vectors,
    documents: Vectors,
    candidates: Entries,
    measures: Sequence[str] = ("map", "mrr@10", "ndcg@10"),
    metric: Similarity = "cosine",
    scoring: Scoring | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Order the candidates that each query is given, relevant ones and others, and score the lists.

    queries (Q, D), documents (M, D), candidates: (Q, M) with a grade for every candidate, below `scoring.level` where
    it is not relevant. A query whose candidates are all relevant, or none, cannot be ordered wrongly or rightly: it is
    left out and counted. Of candidates with the same score the one with the lower grade comes first, so that a model
    that tells nothing apart gains nothing, unless `scoring` says otherwise.

    >>> candidates = Entries([0, 0], [0, 1], [0, 1], (1, 2))
    >>> print(reranking_quality(np.eye(2)[:1], np.eye(2), candidates).metrics["map"].value)
    0.5
    """
    rules = scoring or Scoring(ties="pessimistic")
    q, d = _fitting(queries, documents, candidates)
    relevant = candidates.value >= rules.level
    both = [np.bincount(candidates.query[part], minlength=len(q)) > 0 for part in (relevant, ~relevant)]
    kept = candidates.take((both[0] & both[1])[candidates.query])
    rows = max(1, _PAIRS // q.shape[1])
    parts = [slice(start, start + rows) for start in range(0, len(kept), rows)]
    scores = [pair_scores(q[kept.query[part]], d[kept.document[part]], metric) for part in parts]
    if not scores:
        raise DataError("no query has candidates that are relevant and others that are not; there is nothing to order")
    run = replace(kept, value=np.concatenate(scores))
    settings = {"metric": metric, "candidates": len(kept)}
    return _quality(run, kept, measures, rules, settings, resamples, seed, "without candidates of both kinds")


def _fitting(queries: Vectors, documents: Vectors, relevance: Entries) -> tuple[np.ndarray, np.ndarray]:
    q, d = as_vectors(queries, "queries"), as_vectors(documents, "documents")
    same_width(q, d, "queries and documents")
    if relevance.shape != (len(q), len(d)):
        raise DataError(f"relevance is of shape {relevance.shape}, there are {len(q)} queries and {len(d)} documents")
    return q, d


def _quality(
    run: Entries,
    relevance: Entries,
    measures: Sequence[str],
    rules: Scoring,
    settings: dict[str, Any],
    resamples: int,
    seed: int,
    lacking: str = "without a relevant document",
) -> Quality:
    ranked = rank_scores(run, relevance, measures, rules)
    notes = []
    if ranked.lone:
        notes.append(f"{_count(ranked.lone)} {lacking} {'was' if ranked.lone == 1 else 'were'} left out")
    if ranked.missing:
        notes.append(f"{_count(ranked.missing)} without a list {'counts' if ranked.missing == 1 else 'count'} 0")
    settings = {
        **settings, **asdict(rules), "documents": relevance.shape[1],
        "lone_queries": ranked.lone, "missing_queries": ranked.missing,
    }  # fmt: skip
    found = of_means(ranked.scores, ranked.kept, settings, notes, resamples, seed)
    named = {key: replace(metric, name=title(key)) for key, metric in found.metrics.items()}
    return replace(found, metrics=named)


def _count(queries: int) -> str:
    return f"{queries} quer{'y' if queries == 1 else 'ies'}"
