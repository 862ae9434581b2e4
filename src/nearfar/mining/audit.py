"""How many of the mined negatives are in truth near: where the truth is known, this is counted."""

from __future__ import annotations

import math

import numpy as np

from nearfar.errors import DataError
from nearfar.evaluation.metric import Metric

from .near import Near

_Z = 1.959963984540054  # 97.5 % of a normal distribution


def false_negatives(query: np.ndarray, document: np.ndarray, truth: Near) -> Metric:
    """The share of negatives that are near in truth, with Wilson's 95 % interval.

    Args:
        query, document: (L,) rows of mined negatives, such as those of `Mined` with reason 0.
        truth: all pairs that are near, also those that mining did not know of.

    The interval takes the negatives for independent; those of one query are not quite, so it is a little narrow.

    Raises:
        DataError: there are no negatives. Source: Wilson 1927.

    >>> truth = Near([(0, 1)], queries=1, documents=4)
    >>> print(false_negatives(np.zeros(2, dtype=int), np.array([1, 2]), truth))
    false-negative rate 0.500 [0.095, 0.905] n=2
    """
    if not len(query):
        raise DataError("there are no negatives to audit")
    wrong = truth.has(np.asarray(query, dtype=np.int64), np.asarray(document, dtype=np.int64))
    low, high = wilson(int(wrong.sum()), len(wrong))
    return Metric("false-negative rate", float(wrong.mean()), len(wrong), low, high, {"interval": "Wilson"})


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    >>> [round(end, 4) for end in wilson(0, 10)]
    [0.0, 0.2775]
    """
    share, square = successes / n, _Z**2 / n
    centre = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def groups(query_groups: np.ndarray, document_groups: np.ndarray) -> Near:
    """The truth where queries and documents stand in groups: those of one group are near. -1 is a group of its own.

    >>> groups(np.array([7]), np.array([7, 1, 7, -1])).pairs.tolist()
    [[0, 0], [0, 2]]
    """
    order = np.argsort(document_groups, kind="stable")
    ordered = np.asarray(document_groups)[order]
    starts, ends = (np.searchsorted(ordered, query_groups, side=side) for side in ("left", "right"))
    counts = np.where(np.asarray(query_groups) >= 0, ends - starts, 0)
    queries = np.repeat(np.arange(len(query_groups)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    documents = order[np.repeat(starts, counts) + within]
    return Near(np.stack([queries, documents], axis=1), len(query_groups), len(document_groups))
