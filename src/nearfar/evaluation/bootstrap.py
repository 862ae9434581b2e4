"""How sure a mean over items is, and whether two models differ on the same items.

Everything is seeded, vectorised over resamples and computed in blocks of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError

from .metric import Metric, plain

_BLOCK = 4_000_000  # numbers held at once: 32 MB


def resample_counts(n: int, resamples: int = 1000, seed: int | Sequence[int] = 0) -> Iterator[np.ndarray]:
    """Blocks (r, n) of how often each of n items appears in a resample of n with replacement.

    A mean over a resample is `counts @ scores / n`, so one block serves every statistic of the same items.

    >>> [block.sum(axis=1).tolist() for block in resample_counts(5, resamples=3)]
    [[5.0, 5.0, 5.0]]
    """
    if resamples < 1:
        raise ConfigError(f"an interval needs at least 1 resample, got {resamples}; 1000 is usual")
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // n)
    for start in range(0, resamples, rows):
        r = min(rows, resamples - start)
        drawn = generator.integers(0, n, size=(r, n)) + n * np.arange(r)[:, None]
        yield np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n).astype(np.float64)


def resample_draws(draws: int, resamples: int, seed: int = 0) -> np.ndarray:
    """(resamples, draws) weights of a resample of the draws with replacement; each row sums to 1."""
    generator = np.random.default_rng([seed, draws])
    return generator.multinomial(draws, np.full(draws, 1 / draws), size=resamples) / draws


def interval(samples: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over axis 0 of resampled statistics (resamples, ...)."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def bootstrap_mean(
    name: str,
    scores: np.ndarray,
    settings: dict[str, Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """Mean of per-item scores with a percentile bootstrap 95 % interval.

    scores: (N,) one score for each item, or (draws, N) for a probe that was fitted several times (few-shot). With
    draws, each resample takes draws with replacement *and* items with replacement (the same items in every draw), so
    the interval covers both the choice of the labelled rows and the choice of the test items.

    Raises DataError when there is no score.

    >>> bootstrap_mean("accuracy", np.array([1.0, 1.0, 1.0])).high
    1.0
    """
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    draws, n = table.shape
    if n == 0 or draws == 0:
        raise DataError(f"{name}: no item to average over")
    means = np.concatenate([counts @ table.T / n for counts in resample_counts(n, resamples, seed)])
    low, high = interval((means * resample_draws(draws, resamples, seed)).sum(axis=1))
    return Metric(name, float(table.mean()), n, float(low), float(high), settings or {})


def seeds_mean(name: str, values: Sequence[float] | np.ndarray, settings: dict[str, Any] | None = None) -> Metric:
    """Mean of one figure over S trainings that differ in nothing but the seed, with Student's 95 % interval.

    Of one training there is no interval. With S from 2 to 5 it is wide: mean -+ t(S - 1) std / sqrt(S).

    Raises DataError when there is no value.

    >>> seeds_mean("accuracy", [0.7, 0.8, 0.9]).short()
    '0.800 [0.552, 1.048]'
    """
    from scipy.stats import t

    table = np.asarray(values, dtype=np.float64)
    if not table.size:
        raise DataError(f"{name}: no seed to average over")
    mean, half = float(table.mean()), np.nan
    if len(table) > 1:
        half = float(t.ppf(0.975, len(table) - 1) * table.std(ddof=1) / np.sqrt(len(table)))
    return Metric(name, mean, len(table), mean - half, mean + half, dict(settings or {}))


def bootstrap_means(
    scores: Mapping[str, np.ndarray], settings: dict[str, Any] | None = None, resamples: int = 1000, seed: int = 0
) -> dict[str, Metric]:
    """Like `bootstrap_mean` for several scores (N,) of the same items, which share their resamples.

    >>> bootstrap_means({"hit@1": np.ones(3), "hit@5": np.ones(3)})["hit@5"].value
    1.0
    """
    table = np.stack([np.asarray(values, dtype=np.float64) for values in scores.values()])
    n = table.shape[1]
    if n == 0:
        raise DataError(f"{', '.join(scores)}: no item to average over")
    means = np.concatenate([counts @ table.T / n for counts in resample_counts(n, resamples, seed)])
    low, high = interval(means)
    return {
        name: Metric(name, float(values.mean()), n, float(low[row]), float(high[row]), dict(settings or {}))
        for row, (name, values) in enumerate(zip(scores, table, strict=True))
    }


def bootstrap_statistic(
    name: str,
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    settings: dict[str, Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Metric:
    """A statistic of n items that is no mean, such as a correlation, with a percentile bootstrap 95 % interval.

    statistic: counts (r, n), how often each item counts -> (r,) values. groups: (n,) numbers; items are then drawn
    within each group. A statistic that is not defined (NaN) has no interval, and resamples in which it is not defined
    are left out.

    >>> values = np.array([1.0, 2.0, 9.0])
    >>> bootstrap_statistic("largest", lambda counts: (values * (counts > 0)).max(axis=1), 3).value
    9.0
    """
    value = float(statistic(np.ones((1, n)))[0])
    if not np.isfinite(value):
        return Metric(name, np.nan, n, settings=dict(settings or {}))
    parts = [np.arange(n)] if groups is None else [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rows = max(1, _BLOCK // n)
    drawn = []
    for start in range(0, resamples, rows):
        counts = np.empty((min(rows, resamples - start), n))
        for number, part in enumerate(parts):
            counts[:, part] = next(resample_counts(len(part), len(counts), [seed, number, start]))
        drawn.append(statistic(counts))
    samples = np.concatenate(drawn)
    low, high = interval(samples[np.isfinite(samples)])
    return Metric(name, value, n, float(low), float(high), dict(settings or {}))


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over the same items, its 95 % interval, and the p-value of "no difference"."""

    value: float
    low: float
    high: float
    p_value: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}] p={self.p_value:.3g} n={self.n}"

    def to_json(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return {name: plain(value) for name, value in vars(self).items()}


def paired_difference(a: np.ndarray, b: np.ndarray, resamples: int = 1000, seed: int = 0) -> Difference:
    """Whether model a scores better than model b on the same items.

    a, b: (N,) per-item scores (1 = right, 0 = wrong, or any number), item i the same in both; (draws, N) is averaged
    over draws first. Interval: percentile bootstrap of the mean difference over items. p-value: two-sided sign-flip
    permutation, (1 + #{|flipped mean| >= |mean|}) / (1 + resamples), so the smallest possible is 1 / (1 + resamples).

    Raises DataError when the items differ in number.

    >>> paired_difference(np.ones(50), np.zeros(50)).p_value < 0.01
    True
    """
    first, second = (np.atleast_2d(np.asarray(scores, dtype=np.float64)).mean(axis=0) for scores in (a, b))
    if first.shape != second.shape or first.size == 0:
        raise DataError(
            f"paired scores need the same items: {first.size} and {second.size}; evaluate both models on the same rows"
        )
    difference = first - second
    n = len(difference)
    means = np.concatenate([counts @ difference / n for counts in resample_counts(n, resamples, seed)])
    low, high = interval(means)
    observed = float(difference.mean())
    # Items on which both agree do not change under a flip; rounding must not break a tie with the observed mean.
    flipped = _flipped_sums(difference[difference != 0], resamples, seed) / n
    extreme = int((np.abs(flipped) >= abs(observed) - 1e-12).sum())
    return Difference(observed, float(low), float(high), (1 + extreme) / (1 + resamples), n)


def _flipped_sums(difference: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    if len(difference) == 0:
        return np.zeros(resamples)
    generator = np.random.default_rng([seed, 1])
    rows = max(1, _BLOCK // len(difference))
    sums = []
    for start in range(0, resamples, rows):
        r = min(rows, resamples - start)
        signs = generator.integers(0, 2, size=(r, len(difference)), dtype=np.int8) * 2.0 - 1.0
        sums.append(signs @ difference)
    return np.concatenate(sums)
