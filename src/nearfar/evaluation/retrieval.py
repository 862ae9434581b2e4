"""Does a search by vector return items of the same class? Recall, precision, R-precision and MAP at R.

For a query with R relevant rows in the bank (same label, itself left out) and its ranked list of relevances rel(i):

- recall@k     1 if any of the top k is relevant, else 0 (the convention of metric learning; recall@1 = precision@1)
- precision@k  relevant rows among the top k, divided by k (a bank with fewer than k rows counts the rest as misses)
- R-precision  relevant rows among the top R, divided by R
- MAP@R        (1/R) sum over i <= R of precision@i x rel(i)

A query without a relevant row (R = 0, a *lone* query) has no meaning in any of them: it is left out and counted.
Source: Musgrave 2020, A Metric Learning Reality Check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.errors import ConfigError, DataError

from .bootstrap import bootstrap_mean
from .checks import Labels, Vectors, as_labels, as_vectors
from .metric import Metric
from .neighbours import Similarity, nearest_blocks


@dataclass(frozen=True)
class Retrieval:
    """What `retrieval` found.

    metrics: name -> Metric. scores: name -> (kept,) per query. kept: rows of the queries scored. lone: queries left
    out.
    """

    metrics: dict[str, Metric]
    scores: dict[str, np.ndarray]
    kept: np.ndarray
    lone: int


def ranking_scores(relevant: np.ndarray, total: np.ndarray, ks: Sequence[int] = (1,)) -> dict[str, np.ndarray]:
    """Scores of each query from its ranked list.

    relevant: (Q, K) booleans, nearest first, K at least the largest R (shorter lists count as misses). total: (Q,) R >=
    1.

    >>> scores = ranking_scores(np.array([[1, 0, 1, 0]]), np.array([3]))
    >>> round(float(scores["r_precision"][0]), 4), round(float(scores["map@r"][0]), 6)
    (0.6667, 0.555556)
    """
    hits = np.asarray(relevant, dtype=np.float64)
    found = hits.cumsum(axis=1)
    rank = np.arange(1, hits.shape[1] + 1)
    within = rank <= total[:, None]
    scores: dict[str, np.ndarray] = {}
    for k in ks:
        top = hits[:, :k].sum(axis=1)
        scores[f"recall@{k}"] = (top > 0).astype(np.float64)
        scores[f"precision@{k}"] = top / k
    scores["r_precision"] = (hits * within).sum(axis=1) / total
    scores["map@r"] = (found / rank * hits * within).sum(axis=1) / total
    return scores


def retrieval(
    queries: Vectors,
    query_labels: Labels,
    bank: Vectors | None = None,
    bank_labels: Labels | None = None,
    ks: Sequence[int] = (1, 5, 10),
    metric: Similarity = "cosine",
    exclude: Labels | tuple[Labels, Labels] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Retrieval:
    """Search each query in the bank and score its ranked list, block by block, with 95 % intervals over queries.

    queries (Q, D), query_labels (Q,). Without a bank the queries search one another, each leaving itself out (or, with
    `exclude` = ids (Q,), every row of its own id).

    Raises DataError when no query has a relevant row.

    >>> vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    >>> retrieval(vectors, [0, 0, 1, 1], ks=(1,)).metrics["map@r"].value
    1.0
    """
    if not ks or min(ks) < 1:
        raise ConfigError(f"ks must be whole numbers of at least 1, got {tuple(ks)}")
    q = as_vectors(queries, "queries")
    y = as_labels(query_labels, len(q), "query labels")
    if bank is None:
        b, z = q, y
        exclude = np.arange(len(q)) if exclude is None else exclude
    else:
        b = as_vectors(bank, "bank")
        if bank_labels is None:
            raise DataError("a bank needs bank_labels, one for each row")
        z = as_labels(bank_labels, len(b), "bank labels")
    ids = exclude if isinstance(exclude, tuple) or exclude is None else (exclude, exclude)
    total = _relevant_rows(y, z, ids)
    kept = np.flatnonzero(total > 0)
    lone = len(q) - len(kept)
    if len(kept) == 0:
        raise DataError("no query has another row of its class to find; retrieval needs two rows of at least one class")
    depth = min(len(b), max(int(total.max()), *ks))
    if ids is not None:
        ids = (np.asarray(ids[0])[kept], ids[1])
    parts, start = [], 0
    for found in nearest_blocks(q[kept], b, depth, metric, ids):
        rows = kept[start : start + len(found.index)]
        start += len(rows)
        relevant = (z[found.index] == y[rows, None]) & (found.index >= 0)
        parts.append(ranking_scores(relevant, total[rows], ks))
    scores = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    settings = {"metric": metric, "bank": len(b), "lone_queries": lone}
    names = {"r_precision": "R-precision", "map@r": "MAP@R"}
    metrics = {
        key: bootstrap_mean(names.get(key, key), values, settings, resamples, seed) for key, values in scores.items()
    }
    return Retrieval(metrics, scores, kept, lone)


def _relevant_rows(y: np.ndarray, z: np.ndarray, ids: tuple[Labels, Labels] | None) -> np.ndarray:
    """(Q,) rows of the bank with the query's label, less those with the query's id."""
    labels, counts = np.unique(z, return_counts=True)
    same_label = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    total = np.array([same_label.get(label, 0) for label in y.tolist()])
    if ids is None:
        return total
    pairs, counts = np.unique(np.stack([np.asarray(ids[1]), z], axis=1), axis=0, return_counts=True)
    same_both = {tuple(pair): count for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)}
    own = [same_both.get(pair, 0) for pair in zip(np.asarray(ids[0]).tolist(), y.tolist(), strict=True)]
    return total - np.array(own)
