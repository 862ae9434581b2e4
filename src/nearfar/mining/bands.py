"""Triplets by rank in another space: near ones from one band of neighbours, far ones from bands further out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nearfar.errors import ConfigError

from .exact import Exact
from .samplers import uniform
from .vectors import Similarity

_ROWS = 256  # queries that are searched at a time


@dataclass(frozen=True)
class RankBand:
    """`count` of the neighbours at ranks first, ..., last - 1; the nearest other row has rank 0.

    >>> RankBand(20, 25, 5)
    RankBand(first=20, last=25, count=5)
    """

    first: int
    last: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.last or not 1 <= self.count <= self.last - self.first:
            raise ConfigError(f"a band of ranks {self.first} to {self.last} cannot give {self.count} neighbours")


def rank_triplets(
    space: np.ndarray,
    positives: RankBand = RankBand(20, 25, 5),
    negatives: Sequence[RankBand] = (RankBand(3998, 4000, 2),),
    easy: int = 3,
    queries: np.ndarray | None = None,
    similarity: Similarity = "cosine",
    seed: int = 0,
) -> np.ndarray:
    """(Q * P, 3) rows of anchor, positive and negative, chosen by rank in a space that the encoder does not see.

    What is near in that space, such as that of a citation graph, should be near for texts too. The gap between the
    bands keeps the two kinds apart where ranks are unsure: with bands closer together negatives are harder and more
    often wrong. Where a band is wider than its count, a part of it is drawn, which depends on seed and anchor alone.

    Args:
        space: (N, D) vectors, also memory-mapped; neighbours are found exactly, a row is not its own.
        positives: where the P positives of each anchor stand.
        negatives: bands of the hard negatives, which share no rank with each other or with the positives.
        easy: negatives drawn from the rows beyond the last band. Hard and easy ones together are P.
        queries: (Q,) rows that are anchors; all when None.
        similarity: "cosine" or "dot".

    Raises:
        ConfigError: bands that overlap or reach beyond the rows, or other numbers of positives than of negatives.
        DataError: as of `Exact`.

    Source: Ostendorff et al. 2022, Neighborhood Contrastive Learning for Scientific Document Representations (SciNCL),
    sections 3.2 and 4; its defaults.

    >>> line = np.stack([np.cos(np.arange(9) / 9), np.sin(np.arange(9) / 9)], 1)
    >>> rank_triplets(line, RankBand(0, 1, 1), [RankBand(4, 5, 1)], easy=0, queries=np.array([0])).tolist()
    [[0, 1, 5]]
    """
    bands = sorted([positives, *negatives], key=lambda band: band.first)
    reach, rows = bands[-1].last, len(space)
    if any(one.last > other.first for one, other in pairwise(bands)):
        raise ConfigError("bands of ranks overlap, so that a row could be near and far at once; leave a gap")
    if reach + easy > rows - 1:
        raise ConfigError(f"ranks up to {reach} and {easy} easy negatives need more than the {rows} rows there are")
    far = easy + sum(band.count for band in negatives)
    if far != positives.count:
        raise ConfigError(f"{positives.count} positives and {far} negatives of each anchor do not make triplets")
    anchors = np.arange(rows) if queries is None else np.asarray(queries, dtype=np.int64)
    miner = Exact(space, space, similarity)
    made = []
    for start in range(0, len(anchors), _ROWS):
        some = anchors[start : start + _ROWS]
        near = _without(miner.find(some, reach + 1).index, some)
        chosen = [_drawn(near[:, band.first : band.last], some, band.count, seed) for band in negatives]
        beyond = np.stack([_beyond(row, near[place], rows, easy, seed) for place, row in enumerate(some)])
        up = _drawn(near[:, positives.first : positives.last], some, positives.count, seed)
        down = np.concatenate([*chosen, beyond], axis=1)
        made.append(np.stack([np.broadcast_to(some[:, None], up.shape), up, down], axis=2).reshape(-1, 3))
    return np.concatenate(made) if made else np.empty((0, 3), dtype=np.int64)


def _without(found: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Neighbours (B, K - 1) without the row itself, or without the last where the row is not among them."""
    own = found == rows[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(len(rows), -1)


def _beyond(row: int, near: np.ndarray, rows: int, count: int, seed: int) -> np.ndarray:
    """`count` rows that are neither the row itself nor among its neighbours."""
    generator, kept = np.random.default_rng([seed, row]), np.empty(0, dtype=np.int64)
    while len(kept) < count:
        more = generator.integers(rows, size=4 * count)
        kept = np.concatenate([kept, more[(more != row) & ~np.isin(more, near)]])
        kept = kept[np.sort(np.unique(kept, return_index=True)[1])]
    return kept[:count]


def _drawn(band: np.ndarray, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of each row of a band, in the order of the band."""
    places = np.argsort(uniform(seed, rows[:, None], band), axis=1)[:, :count]
    return np.take_along_axis(band, np.sort(places, axis=1), axis=1)
