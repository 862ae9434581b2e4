"""Pairs that belong together or not: which scores tell them, from which threshold, and with what errors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from nearfar.errors import ConfigError, DataError

from .bootstrap import bootstrap_mean, bootstrap_statistic
from .checks import Labels, Vectors, as_labels, as_vectors, same_width
from .neighbours import Similarity, nearest
from .quality import Quality, of_means
from .similarity import Statistic

Scores: TypeAlias = "Vectors | Sequence[float]"


def pair_quality(
    scores: Scores,
    labels: Labels,
    held_scores: Scores | None = None,
    held_labels: Labels | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Average precision of the scores of pairs, and accuracy and F1 at the threshold that is best for each.

    scores: (N,), higher is more alike (of distances give the negative). labels: (N,) 1 = belongs together, 0 = not.
    held_scores, held_labels: other pairs on which the thresholds are chosen; without them they are chosen on the pairs
    themselves, as is usual and as flatters. Settings say which, and the thresholds. "average_precision" is the mean
    over the pairs with 1 of the precision down to them, tied pairs taken together; at chance it is the share of 1.
    "mcc" is Matthews' correlation at the threshold of F1. Intervals are over pairs, thresholds held fixed.

    Raises DataError: lengths that differ, or only one kind of pair.

    >>> print(pair_quality([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0]).metrics["f1"])
    F1 1.000 [1.000, 1.000] n=4
    """
    x, y = _scored(scores, labels, "pairs")
    chosen_on, chooser = "the same pairs", (x, y)
    if held_scores is not None and held_labels is not None:
        chosen_on, chooser = "other pairs", _scored(held_scores, held_labels, "held pairs")
    settings = {"chosen_on": chosen_on, "positive_share": float(y.mean())}
    metrics = {
        "average_precision": bootstrap_statistic(
            "average precision", _average_precision(x, y), len(x), settings, resamples, seed
        )
    }
    at = best_threshold(*chooser, by="accuracy")
    right = ((x >= at) == y).astype(float)
    metrics["accuracy"] = bootstrap_mean("pair accuracy", right, {**settings, "threshold": at}, resamples, seed)
    at = best_threshold(*chooser, by="f1")
    settings = {**settings, "threshold": at}
    for key, name, of in (("f1", "F1", _f1), ("mcc", "MCC", _mcc)):
        metrics[key] = bootstrap_statistic(name, partial(of, x >= at, y), len(x), settings, resamples, seed)
    return Quality(metrics, {"accuracy": right}, np.arange(len(x)))


def best_threshold(scores: Scores, labels: Labels, by: Literal["accuracy", "f1"] = "accuracy") -> float:
    """The threshold t for which "score >= t" tells pairs best; of equally good ones the highest.

    Candidates lie midway between distinct scores, so that pairs with the same score are never told apart, and beyond
    both ends: infinity calls no pair alike, minus infinity all.

    >>> best_threshold([0.9, 0.5, 0.5, 0.1], [1, 1, 1, 0]), best_threshold([0.2, 0.2], [1, 0], by="f1")
    (0.3, -inf)
    """
    x, y = _scored(scores, labels, "pairs")
    if by not in ("accuracy", "f1"):
        raise ConfigError(f"a threshold is best by accuracy or f1, not by {by!r}")
    values, group = np.unique(x, return_inverse=True)
    near = np.concatenate([[0], np.bincount(group, y)[::-1].cumsum()])  # called alike and alike, from the highest down
    called = np.concatenate([[0], np.bincount(group)[::-1].cumsum()])
    wrong = called - near + y.sum() - near
    worth = -wrong if by == "accuracy" else 2 * near / np.maximum(called + y.sum(), 1)
    upper, lower = values[::-1], np.append(values[::-1][1:], -np.inf)
    middle = upper / 2 + lower / 2
    between = np.where((middle > lower) & (middle <= upper), middle, np.where(np.isinf(lower), lower, upper))
    return float(np.append(np.inf, between)[int(worth.argmax())])


def triplet_accuracy(near: Scores, far: Scores, margin: float = 0.0, resamples: int = 1000, seed: int = 0) -> Quality:
    """How often an anchor is more alike to its near than to its far item, by more than the margin; a tie is wrong.

    near, far: (N,) scores of anchor and near, anchor and far.

    >>> triplet_accuracy([0.9, 0.5], [0.1, 0.5]).metrics["triplet_accuracy"].value
    0.5
    """
    a, b = (np.asarray(values, dtype=np.float64).ravel() for values in (near, far))
    if a.shape != b.shape:
        raise DataError(f"{len(a)} scores of near items and {len(b)} of far ones; give one of each for every anchor")
    right = (a > b + margin).astype(float)
    return of_means({"triplet_accuracy": right}, np.arange(len(a)), {"margin": margin}, [], resamples, seed)


def translation_accuracy(
    a: Vectors, b: Vectors, metric: Similarity = "cosine", resamples: int = 1000, seed: int = 0
) -> Quality:
    """How often row i of a has row i of b as its one nearest row, the reverse, and the mean of both (bitext, captions).

    a, b: (N, D) with N >= 2, row i of both belonging together. A tie for the first place is wrong.

    >>> found = translation_accuracy(np.eye(3), np.eye(3)[[0, 2, 2]])
    >>> [found.metrics[key].value for key in ("forward", "backward", "both_ways")]  # doctest: +ELLIPSIS
    [0.33..., 0.66..., 0.5]
    """
    x, y = as_vectors(a, "first vectors"), as_vectors(b, "second vectors")
    same_width(x, y, "first and second vectors")
    if len(x) != len(y) or len(x) < 2:
        raise DataError(f"translations need as many rows on both sides, two at least, got {len(x)} and {len(y)}")
    scores = {"forward": _top(x, y, metric), "backward": _top(y, x, metric)}
    scores["both_ways"] = (scores["forward"] + scores["backward"]) / 2
    return of_means(scores, np.arange(len(x)), {"metric": metric}, [], resamples, seed)


def contrast_accuracy(scores: np.ndarray, resamples: int = 1000, seed: int = 0) -> Quality:
    """Contrast sets: two queries and two documents that differ in little, each query meaning one document.

    scores: (N, 2, 2), [n, i, j] of query i with document j; i belongs with i. "by_query" is the share in which both
    queries prefer their own document (NevIR's pairwise accuracy; at chance 1/4, and 0 if the query is not looked at),
    "by_document" in which both documents prefer their own query, "both_ways" in which all four hold. A tie is wrong.
    Source: Weller 2023 (NevIR); Thrush 2022 (Winoground).

    >>> contrast_accuracy(np.array([[[0.9, 0.1], [0.8, 0.7]]])).metrics["by_document"].value
    1.0
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 3 or s.shape[1:] != (2, 2) or len(s) == 0:
        raise DataError(f"scores of contrast sets are (N, 2, 2), queries by documents, got {s.shape}")
    own = s[:, [0, 1], [0, 1]]
    by_query = (own > s[:, [0, 1], [1, 0]]).all(axis=1)
    by_document = (own > s[:, [1, 0], [0, 1]]).all(axis=1)
    table = {"by_query": by_query, "by_document": by_document, "both_ways": by_query & by_document}
    return of_means({key: hit.astype(float) for key, hit in table.items()}, np.arange(len(s)), {}, [], resamples, seed)


def _scored(scores: Scores, labels: Labels, what: str) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(scores, dtype=np.float64).ravel()
    y = as_labels(labels, len(x), f"labels of {what}")
    if not np.isfinite(x).all():
        raise DataError(f"{what}: score {int((~np.isfinite(x)).argmax())} is not finite")
    if y.max(initial=0) > 1 or len(np.unique(y)) != 2:
        raise DataError(f"{what} need labels 1 (belongs together) and 0 (not), and some of both")
    return x, y.astype(bool)


def _average_precision(x: np.ndarray, y: np.ndarray) -> Statistic:
    values, group = np.unique(-x, return_inverse=True)
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], np.arange(len(values)))

    def statistic(counts: np.ndarray) -> np.ndarray:
        called = np.add.reduceat(counts[:, order], start, axis=1)
        near = np.add.reduceat((counts * y)[:, order], start, axis=1)
        below = np.maximum(np.cumsum(called, axis=1), 1)
        total = near.sum(axis=1)
        area = (near * np.cumsum(near, axis=1) / below).sum(axis=1)
        return np.divide(area, total, out=np.full(len(counts), np.nan), where=total > 0)

    return statistic


def _table(counts: np.ndarray, called: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """(r,) each: alike and called so, called so only, alike only, neither."""
    return tuple(counts @ kind.astype(float) for kind in (called & y, called & ~y, ~called & y, ~called & ~y))


def _f1(called: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    both, only, missed, _ = _table(counts, called, y)
    below = 2 * both + only + missed
    return np.divide(2 * both, below, out=np.full(len(counts), np.nan), where=below > 0)


def _mcc(called: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Matthews' correlation, 0 where all pairs are called the same."""
    both, only, missed, neither = _table(counts, called, y)
    spread = np.sqrt((both + only) * (both + missed) * (neither + only) * (neither + missed))
    return np.divide(both * neither - only * missed, spread, out=np.zeros(len(counts)), where=spread > 0)


def _top(x: np.ndarray, y: np.ndarray, metric: Similarity) -> np.ndarray:
    found = nearest(x, y, 2, metric)
    alone = found.scores[:, 0] > found.scores[:, 1]
    return ((found.index[:, 0] == np.arange(len(x))) & alone).astype(float)
