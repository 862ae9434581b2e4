"""Which of the candidates that are left become negatives.

Drawing needs no generator: the random number of a query and a document is a function of (seed, query, document), so
that the draw depends neither on the block size nor on where a mining was interrupted. Weighted draws without
replacement are exact: the H largest of log weight + Gumbel noise (Efraimidis and Spirakis 2006; Kool et al. 2019).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nearfar.errors import ConfigError

from .filters import Block


class Sampler(Protocol):
    """Gives each candidate a key; the largest are drawn."""

    name: str

    def keys(self, block: Block, seed: int) -> np.ndarray:
        """(B, K) float64."""
        ...


def draw(sampler: Sampler, block: Block, count: int, seed: int) -> np.ndarray:
    """(B, count) columns of the candidates that are drawn, hardest first; -1 where too few are left or possible."""
    keys = np.where(block.alive, sampler.keys(block, seed), -np.inf)
    possible, width = keys > -np.inf, keys.shape[1]
    order = np.argsort(-keys, axis=1, kind="stable")[:, :count]
    order = np.where(np.take_along_axis(possible, order, 1), order, width)
    order = np.sort(order, axis=1)  # columns are in order of the scores
    out = np.full((len(keys), count), -1, dtype=np.int64)
    out[:, : order.shape[1]] = np.where(order == width, -1, order)
    return out


class Top:
    """The candidates with the best scores."""

    name = "top"

    def keys(self, block: Block, seed: int) -> np.ndarray:
        """The scores."""
        return block.scores


class Random:
    """Any candidate is as likely as any other, of the best `within` that are left (None: of all)."""

    name = "random"

    def __init__(self, within: int | None = None) -> None:
        if within is not None and within < 1:
            raise ConfigError(f"within must be 1 or more, not {within}")
        self.within = within

    def keys(self, block: Block, seed: int) -> np.ndarray:
        """Uniform numbers, those of the candidates beyond `within` after the others."""
        keys = uniform(seed, block.rows[:, None], block.index)
        return keys if self.within is None else keys - (block.alive.cumsum(axis=1) > self.within)


class Gumbel:
    """A candidate is drawn in proportion to exp(score / temperature), without replacement.

    Raises:
        ConfigError: a temperature that is not above 0.
    """

    name = "gumbel"

    def __init__(self, temperature: float = 0.05) -> None:
        if temperature <= 0:
            raise ConfigError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def keys(self, block: Block, seed: int) -> np.ndarray:
        """Scores over temperature, and noise."""
        return block.scores / self.temperature + gumbel(seed, block)


class SimANS:
    """Negatives around the score of the positive, which are neither too hard nor too easy:

        weight = exp(-sharpness * (s - s_near + below)^2)

    Most likely are candidates that score `below` less than the positive (one of them, drawn per query, where there
    are several). A query without a positive draws uniformly. The publication scores by inner products of tens, where
    sharpness is 0.5; cosines ask for about 100. Source: Zhou et al. 2022 (SimANS), in the sign of its released code.

    Args:
        sharpness: 0 or more; 0 is uniform.
        below: distance below the positive where the weight is largest.

    Raises:
        ConfigError: a negative sharpness.
    """

    name = "simans"

    def __init__(self, sharpness: float = 100.0, below: float = 0.05) -> None:
        if sharpness < 0:
            raise ConfigError(f"sharpness must be 0 or more, got {sharpness}")
        self.sharpness, self.below = sharpness, below

    def keys(self, block: Block, seed: int) -> np.ndarray:
        """Logarithms of the weights, and noise."""
        noise = np.where(block.positives < 0, -np.inf, uniform(seed, block.rows[:, None], -2 - block.positives))
        near = np.take_along_axis(block.positive_scores, noise.argmax(axis=1)[:, None], 1)
        near = np.where(np.isnan(near), 0, near)
        known = (block.positives >= 0).any(axis=1, keepdims=True)
        apart = np.where(np.isfinite(block.scores), block.scores, 0) - near + self.below
        return gumbel(seed, block) - np.where(known, self.sharpness * apart**2, 0)


class Bins:
    """Negatives spread evenly over the distance to the positive: a bin of equal width, then a candidate of it.

    The bins run from the least to the largest distance of the query's own candidates; empty ones do not count. Of one
    negative this is exact; more are drawn by the same weights without replacement. Source: Hofstaetter et al. 2021
    (TAS-B), whose distances are those of a teacher: mine with the teacher's vectors, or give it as `guide` of filters.

    Raises:
        ConfigError: no bins.
    """

    name = "bins"

    def __init__(self, bins: int = 10) -> None:
        if bins < 1:
            raise ConfigError(f"bins must be 1 or more, not {bins}")
        self.bins = bins

    def keys(self, block: Block, seed: int) -> np.ndarray:
        """Logarithms of one over the number of candidates in the bin, and noise."""
        scores = np.where(block.alive, block.scores, np.nan)
        low = np.where(block.alive, block.scores, np.inf).min(axis=1, keepdims=True)
        high = np.where(block.alive, block.scores, -np.inf).max(axis=1, keepdims=True)
        width = np.where(high > low, high - low, 1.0)
        place = np.minimum(np.nan_to_num((scores - low) / width) * self.bins, self.bins - 1).astype(np.int64)
        place = np.where(block.alive, place, self.bins)
        lines = np.arange(len(place))[:, None] * (self.bins + 1)
        counts = np.bincount((lines + place).ravel(), minlength=len(place) * (self.bins + 1))
        return gumbel(seed, block) - np.log(counts[lines + place])


class Mixture:
    """A miner is drawn, then one of its candidates: the mistakes of no single miner are in all negatives (R2anker).

        weight of a document = sum over miners that found it of share(miner) / number of its candidates left

    Of one negative this is exact; more are drawn by the same weights without replacement.

    Args:
        shares: by the name of the miner, at least 0; equal ones when None. A miner that found nothing has no share.

    Raises:
        ConfigError: a share below 0, or of a miner that there is not. Source: Zhou et al. 2022 (R2anker), from memory.
    """

    name = "mixture"

    def __init__(self, shares: dict[str, float] | None = None) -> None:
        if shares is not None and (not shares or min(shares.values()) < 0):
            raise ConfigError(f"shares are 0 or more, for one miner or more, not {shares}")
        self.shares = shares

    def keys(self, block: Block, seed: int) -> np.ndarray:
        """Logarithms of the weights, and noise."""
        shares = self.shares or dict.fromkeys(block.ranks, 1.0)
        unknown = [name for name in shares if name not in block.ranks]
        if unknown:
            raise ConfigError(f"no miner is called {unknown[0]!r}; there are {', '.join(block.ranks)}")
        weights = np.zeros(block.scores.shape)
        for name, share in shares.items():
            own = (block.ranks[name] > 0) & block.alive
            weights += share * own / np.maximum(own.sum(axis=1, keepdims=True), 1)
        with np.errstate(divide="ignore"):
            return gumbel(seed, block) + np.log(weights)


def gumbel(seed: int, block: Block) -> np.ndarray:
    """(B, K) Gumbel noise of each query and document."""
    noise: np.ndarray = -np.log(-np.log(uniform(seed, block.rows[:, None], block.index)))
    return noise


def uniform(seed: int, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """A number in (0, 1) for each query and document, a function of the three alone (SplitMix64, Steele et al. 2014).

    >>> a = uniform(0, np.array([1, 2]), np.array([5, 6]))
    >>> bool(a[1] == uniform(0, np.array([2]), np.array([6]))[0])
    True
    """
    state = _mix(np.uint64(seed) + np.zeros(1, dtype=np.uint64))
    state = _mix(state ^ np.asarray(queries).astype(np.int64).view(np.uint64))
    state = _mix(state ^ np.asarray(documents).astype(np.int64).view(np.uint64))
    return ((state >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _mix(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
