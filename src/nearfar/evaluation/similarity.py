"""Do scores of pairs follow what people say of them? Correlation with graded judgments, as for STS.

Spearman's correlation is that of ranks, tied values having the mean of their ranks; Pearson's that of the values.
Where scores or judgments are constant neither is defined: it is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from nearfar.errors import ConfigError, DataError

from .bootstrap import bootstrap_statistic
from .checks import Vectors, as_vectors, same_width, unit
from .neighbours import Similarity
from .quality import Quality

How = Literal["all", "mean", "wmean"]
Statistic: TypeAlias = "Callable[[np.ndarray], np.ndarray]"

_BLOCK = 4_000_000  # numbers held at once: 32 MB
_MOST = 20_000  # pairs of which scores of each pair are made: the work grows with their square


def pair_scores(a: Vectors, b: Vectors, metric: Similarity = "cosine") -> np.ndarray:
    """(N,) similarity of row i of a (N, D) and row i of b (N, D); of a row of zeros the cosine is 0.

    "euclidean" is the negative distance, so that higher is nearer in all three.

    >>> pair_scores(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[3.0, 4.0], [1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    x, y = as_vectors(a, "first vectors"), as_vectors(b, "second vectors")
    same_width(x, y, "first and second vectors")
    if len(x) != len(y):
        raise DataError(f"pairs need as many first vectors as second ones, got {len(x)} and {len(y)}")
    if metric == "euclidean":
        return -np.linalg.norm(x.astype(np.float64) - y, axis=1)
    if metric not in ("cosine", "dot"):
        raise ConfigError(f"unknown metric {metric!r}; choose cosine, dot or euclidean")
    first, second = (unit(x), unit(y)) if metric == "cosine" else (x.astype(np.float64), y.astype(np.float64))
    return np.einsum("nd,nd->n", first, second)


def similarity_quality(
    scores: Vectors | Sequence[float],
    gold: Vectors | Sequence[float],
    subsets: Sequence[str] | np.ndarray | None = None,
    how: How = "all",
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Spearman's and Pearson's correlation of scores with graded judgments, with 95 % intervals over pairs.

    scores, gold: (N,). A pair whose judgment is NaN is left out and counted. subsets: (N,) name of the part of the data
    that each pair is from. how: "all", one correlation over all pairs together; "mean", the plain mean of those within
    each subset; "wmean", the mean by number of pairs. Published tables differ in this: SimCSE and its descendants give
    "all". A resample takes pairs with replacement, within each subset for the means.

    Behind each figure stand scores of each pair, for `compare_quality`: pseudo-values of the jackknife, shifted so that
    their mean is the figure (of at most 20,000 pairs).

    Raises DataError: lengths that differ, fewer than 3 judged pairs; ConfigError: a mean without subsets.

    >>> print(similarity_quality([0.1, 0.2, 0.3, 0.9], [0, 1, 3, 4]).metrics["spearman"].value)
    1.0
    """
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (scores, gold))
    if x.shape != y.shape:
        raise DataError(f"{len(x)} scores and {len(y)} judgments; give one of each for every pair")
    if how not in ("all", "mean", "wmean"):
        raise ConfigError(f"unknown way {how!r} to put subsets together; choose all, mean or wmean")
    if how != "all" and subsets is None:
        raise ConfigError(f'how="{how}" needs subsets, the name of the part that each pair is from')
    if np.isnan(x).any():
        raise DataError(f"pair {int(np.isnan(x).argmax())} has the score NaN; look at the encoder, or leave it out")
    kept = np.flatnonzero(~np.isnan(y))
    if len(kept) < 3:
        raise DataError(f"a correlation needs 3 judged pairs, there are {len(kept)}")
    notes = [f"{len(x) - len(kept)} pairs without a judgment were left out"] if len(kept) < len(x) else []
    groups = None
    if subsets is not None and how != "all":
        groups = np.unique(np.asarray(subsets)[kept], return_inverse=True)[1]
    settings = {"subsets": 1 if groups is None else int(groups.max()) + 1, "how": how}
    metrics, items = {}, {}
    for key, (correlation, left_out) in _KINDS.items():
        statistic = _joined(x[kept], y[kept], groups, how, correlation)
        found = bootstrap_statistic(key.capitalize(), statistic, len(kept), settings, resamples, seed, groups)
        metrics[key] = found
        if np.isnan(found.value):
            notes.append(f"{key} is not defined: scores or judgments are constant")
        elif len(kept) <= _MOST:
            items[key] = _pseudo_values(x[kept], y[kept], groups, how, left_out, found.value)
    return Quality(metrics, items, kept, notes)


def _joined(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None,
    how: How,
    correlation: Callable[[np.ndarray, np.ndarray], Statistic],
) -> Statistic:
    """The correlation of all pairs, or the mean of those of groups, as a statistic of counts."""
    if groups is None:
        return correlation(x, y)
    parts, weights = _parts(groups, how)
    within = [correlation(x[rows], y[rows]) for rows in parts]

    def statistic(counts: np.ndarray) -> np.ndarray:
        values = np.stack([part(counts[:, rows]) for part, rows in zip(within, parts, strict=True)])
        return weights @ values

    return statistic


def _parts(groups: np.ndarray, how: How) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows of each group, and its weight in the mean."""
    parts = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    weights = np.array([len(rows) if how == "wmean" else 1.0 for rows in parts])
    return parts, weights / weights.sum()


def _pseudo_values(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None,
    how: How,
    left_out: Callable[[np.ndarray, np.ndarray], np.ndarray],
    value: float,
) -> np.ndarray:
    """(n,) the figure and, for each pair, what leaving it out takes away, n times over (Tukey's jackknife)."""
    parts, weights = _parts(np.zeros(len(x), dtype=int) if groups is None else groups, how)
    change = np.empty(len(x))
    for rows, weight in zip(parts, weights, strict=True):
        without = left_out(x[rows], y[rows])
        change[rows] = weight * len(x) / len(rows) * (len(rows) - 1) * (without.mean() - without)
    return value + np.nan_to_num(change)


def _pearson(x: np.ndarray, y: np.ndarray) -> Statistic:
    x, y = x - x.mean(), y - y.mean()
    constant = not np.ptp(x) or not np.ptp(y)

    def statistic(counts: np.ndarray) -> np.ndarray:
        if constant:
            return np.full(len(counts), np.nan)
        sums = counts @ np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
        n, sx, sy, sxx, syy, sxy = sums.T
        return _correlation(n * sxy - sx * sy, n * sxx - sx * sx, n * syy - sy * sy)

    return statistic


def _spearman(x: np.ndarray, y: np.ndarray) -> Statistic:
    ranks_x, ranks_y = _ranks_by_counts(x), _ranks_by_counts(y)

    def statistic(counts: np.ndarray) -> np.ndarray:
        a, b = ranks_x(counts), ranks_y(counts)
        return _correlation((counts * a * b).sum(1), (counts * a * a).sum(1), (counts * b * b).sum(1))

    return statistic


def _ranks_by_counts(x: np.ndarray) -> Statistic:
    """counts (r, n) -> (r, n) mean rank of each item, less the mean of all, where item i is there counts[i] times."""
    order = np.argsort(x, kind="stable")
    start = np.flatnonzero(np.concatenate([[True], np.diff(x[order]) > 0]))
    _, group = np.unique(x, return_inverse=True)

    def ranks(counts: np.ndarray) -> np.ndarray:
        size = np.add.reduceat(counts[:, order], start, axis=1)
        middle = np.cumsum(size, axis=1) - size / 2  # mean rank less one half
        return np.asarray((middle - size.sum(axis=1, keepdims=True) / 2)[:, group])

    return ranks


def _pearson_left_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) Pearson's correlation without each pair."""
    x, y, n = x - x.mean(), y - y.mean(), len(x) - 1
    both, first, second = x @ y - x * y, x @ x - x * x, y @ y - y * y  # sums of x and of y without i are -x[i], -y[i]
    return _correlation(n * both - x * y, n * first - x * x, n * second - y * y)


def _spearman_left_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) Spearman's correlation without each pair: ranks above it fall by 1, ranks tied with it by 1/2."""
    n = len(x)
    ones = np.ones((1, n))
    r, q = (_ranks_by_counts(values)(ones)[0] + (n + 1) / 2 for values in (x, y))
    centre = (n - 1) * (n / 2) ** 2
    both = r @ q - r * q - _fallen(x, q) - _fallen(y, r) + _fallen_twice(r, q)
    first = r @ r - r * r - 2 * _fallen(x, r) + _fallen_twice(r, r)
    second = q @ q - q * q - 2 * _fallen(y, q) + _fallen_twice(q, q)
    return _correlation(both - centre, first - centre, second - centre)


def _fallen(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) for each i the sum of values[j] times the fall of the rank of x[j] when i is left out."""
    _, group = np.unique(x, return_inverse=True)
    total = np.bincount(group, values)
    above = total.sum() - np.cumsum(total)
    return above[group] + (total[group] - values) / 2


def _fallen_twice(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) for each i the sum over j of the fall of x[j] times the fall of y[j]."""
    rows = max(1, _BLOCK // len(x))
    sums = [
        (_fall(x, start, rows) * _fall(y, start, rows)).sum(axis=1, dtype=np.float64)
        for start in range(0, len(x), rows)
    ]
    return np.concatenate(sums) - 1 / 4  # less that of i itself


def _fall(x: np.ndarray, start: int, rows: int) -> np.ndarray:
    own = x[start : start + rows, None]
    return ((x > own).astype(np.float32) + (x >= own)) / 2


def _correlation(both: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    spread = np.sqrt(np.maximum(first, 0) * np.maximum(second, 0))
    return np.divide(both, spread, out=np.full(len(both), np.nan), where=spread > 1e-7 * max(spread.max(), 1e-300))


_KINDS = {"spearman": (_spearman, _spearman_left_out), "pearson": (_pearson, _pearson_left_out)}
