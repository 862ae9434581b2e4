"""Exact nearest neighbours block by block, and the weighted k-nearest-neighbour classifier.

No (queries x bank) matrix is ever held: memory is one block of scores. The result does not depend on the size of the
blocks, ties included: scores are computed in float64 and compared on a grid of 2^-30 of the largest possible score, so
that rounding (which does depend on the block) cannot break a tie, and **of tied rows the lower index comes first**.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from nearfar.errors import ConfigError, DataError

from .checks import Labels, Vectors, as_labels, as_vectors, same_width

Similarity = Literal["cosine", "dot", "euclidean"]

_GRID = 2.0**30
_INDEX_BITS = 32
_NOBODY = torch.iinfo(torch.int64).min


@dataclass(frozen=True)
class Neighbours:
    """scores (Q, k), nearest first, higher is nearer; index (Q, k) rows of the bank, -1 where there is none."""

    scores: np.ndarray
    index: np.ndarray


def nearest(
    queries: Vectors,
    bank: Vectors,
    k: int,
    metric: Similarity = "cosine",
    exclude: Labels | tuple[Labels, Labels] | None = None,
    query_block: int = 1024,
    bank_block: int = 4096,
) -> Neighbours:
    """The k nearest rows of the bank for each query, exact.

    queries (Q, D), bank (M, D). metric: "cosine", "dot", or "euclidean", whose score is the negative distance, so that
    higher is nearer in all three. exclude: ids (Q,) when the bank is the queries themselves, or a pair of ids
    (queries (Q,), bank (M,)); a row with the query's own id is never returned (leave-one-out, other views of an item).
    Where fewer than k rows remain, the rest of the line has index -1 and score -inf.

    Raises DataError when k is larger than the bank, ConfigError for an unknown metric.

    >>> nearest(np.eye(3), np.eye(3), k=2, exclude=np.arange(3)).index.tolist()
    [[1, 2], [0, 2], [0, 1]]
    """
    parts = list(nearest_blocks(queries, bank, k, metric, exclude, query_block, bank_block))
    return Neighbours(np.concatenate([part.scores for part in parts]), np.concatenate([part.index for part in parts]))


def nearest_blocks(
    queries: Vectors,
    bank: Vectors,
    k: int,
    metric: Similarity = "cosine",
    exclude: Labels | tuple[Labels, Labels] | None = None,
    query_block: int = 1024,
    bank_block: int = 4096,
) -> Iterator[Neighbours]:
    """Like `nearest`, yielding the answer for one block of queries after the other."""
    if metric not in ("cosine", "dot", "euclidean"):
        raise ConfigError(f"unknown metric {metric!r}; choose cosine, dot or euclidean")
    q, b = as_vectors(queries, "queries"), as_vectors(bank, "bank")
    same_width(q, b, "queries and bank")
    if not 1 <= k <= len(b):
        raise DataError(f"k={k} neighbours asked of a bank of {len(b)} rows; choose k between 1 and {len(b)}")
    query_ids, bank_ids = _ids(exclude, len(q), len(b))
    largest = _largest_score(q, b, metric)
    for start in range(0, len(q), query_block):
        rows = slice(start, start + query_block)
        anchors = _prepare(q[rows], metric)
        best = torch.full((len(anchors), k), _NOBODY, dtype=torch.int64)
        for first in range(0, len(b), bank_block):
            columns = slice(first, first + bank_block)
            scores = _scores(anchors, _prepare(b[columns], metric), metric)
            keys = _keys(scores / largest, first)
            if query_ids is not None and bank_ids is not None:
                keys[query_ids[rows, None] == bank_ids[None, columns]] = _NOBODY
            merged = torch.cat([best, keys.topk(min(k, keys.shape[1]), dim=1).values], dim=1)
            best = merged.topk(k, dim=1).values
        yield _decode(best, largest, metric)


def class_votes(neighbours: Neighbours, bank_labels: np.ndarray, classes: np.ndarray, temperature: float) -> np.ndarray:
    """(Q, C) sum over neighbours of exp((s - s_max) / temperature) for their class; s_max is the query's best score."""
    scores = neighbours.scores - neighbours.scores[:, :1]
    weight = np.exp(np.where(neighbours.index >= 0, scores, -np.inf) / temperature)
    column = np.searchsorted(classes, bank_labels)[neighbours.index]
    q = len(scores)
    flat = column + len(classes) * np.arange(q)[:, None]
    return np.bincount(flat.ravel(), weight.ravel(), minlength=q * len(classes)).reshape(q, len(classes))


def knn_predict(
    bank: Vectors,
    bank_labels: Labels,
    queries: Vectors,
    k: int = 20,
    temperature: float = 0.07,
    metric: Similarity = "cosine",
    exclude: Labels | tuple[Labels, Labels] | None = None,
) -> np.ndarray:
    """Label of each query by a weighted vote of its k nearest rows of the bank.

    score(class) = sum over neighbours of that class of exp(similarity / temperature); the largest wins, a tie goes to
    the lower label. When the queries are rows of the bank, pass their ids as `exclude` (leave-one-out). Returns (Q,)
    int64. Source: Wu 2018 (instance discrimination), with k and temperature of DINO.

    Raises DataError: k larger than the bank, or a query none of the bank is left for.

    >>> knn_predict(np.eye(2), [4, 7], np.array([[1.0, 0.2], [0.0, 1.0]]), k=1).tolist()
    [4, 7]
    """
    if temperature <= 0:
        raise ConfigError(f"temperature must be above 0, got {temperature}")
    y = as_labels(bank_labels, len(bank), "bank labels")
    classes = np.unique(y)
    answers = []
    for part in nearest_blocks(queries, bank, k, metric, exclude):
        if (part.index[:, 0] < 0).any():
            raise DataError("a query has no neighbour left after `exclude`; give a bank with other ids")
        answers.append(classes[class_votes(part, y, classes, temperature).argmax(axis=1)])
    return np.concatenate(answers)


def _prepare(rows: np.ndarray, metric: Similarity) -> torch.Tensor:
    block = torch.from_numpy(rows).double()
    return block / block.norm(dim=1, keepdim=True).clamp_min(1e-12) if metric == "cosine" else block


def _scores(anchors: torch.Tensor, candidates: torch.Tensor, metric: Similarity) -> torch.Tensor:
    products = anchors @ candidates.T
    if metric != "euclidean":
        return products
    # Squared distances order like distances; the root is taken of the winners only.
    squares = anchors.square().sum(dim=1)[:, None] + candidates.square().sum(dim=1)[None, :]
    return -(squares - 2 * products).clamp_min(0)


def _largest_score(q: np.ndarray, b: np.ndarray, metric: Similarity) -> float:
    if metric == "cosine":
        return 1.0
    a, c = (float(np.linalg.norm(rows.astype(np.float64), axis=1).max()) for rows in (q, b))
    return ((a + c) ** 2 if metric == "euclidean" else a * c) or 1.0


def _keys(scores: torch.Tensor, first: int) -> torch.Tensor:
    """One integer for score and column: a larger score wins, then a lower column. No two columns share a key."""
    columns = (1 << _INDEX_BITS) - 1 - torch.arange(first, first + scores.shape[1])
    return ((scores * _GRID).round_().long() << _INDEX_BITS) | columns


def _decode(keys: torch.Tensor, largest: float, metric: Similarity) -> Neighbours:
    index = ((1 << _INDEX_BITS) - 1 - (keys & ((1 << _INDEX_BITS) - 1))).numpy()
    scores = (keys >> _INDEX_BITS).double().numpy() / _GRID * largest
    if metric == "euclidean":
        scores = -np.sqrt(np.maximum(-scores, 0))
    nobody = (keys == _NOBODY).numpy()
    return Neighbours(np.where(nobody, -np.inf, scores), np.where(nobody, -1, index))


def _ids(
    exclude: Labels | tuple[Labels, Labels] | None, queries: int, bank: int
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    if exclude is None:
        return None, None
    if isinstance(exclude, tuple):
        pair = exclude
    elif queries == bank:
        pair = (exclude, exclude)
    else:
        raise DataError(
            f"exclude needs ids of both sides when the bank ({bank} rows) is not the queries ({queries} rows): "
            "give a pair (query ids, bank ids)"
        )
    one = torch.from_numpy(as_labels(pair[0], queries, "query ids", unknown=True))
    two = torch.from_numpy(as_labels(pair[1], bank, "bank ids", unknown=True))
    return one, two
