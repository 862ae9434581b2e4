"""Scores that hubs gain nothing by: CSLS and mutual proximity; and how many hubs there are.

A hub is a row that is near to many others though it is like none of them. Both scores (CSLS is cross-domain local
scaling) set the cosine of a query and a
row against what is usual for either. What is usual for a row is taken from a sample of the rows (all of them, where
there are 10,000 or fewer) and kept beside the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nearfar.errors import ConfigError, DataError

from .beside import Arrays, beside
from .lance import as_matrix
from .search import GRID, exact, units

if TYPE_CHECKING:
    from .table import Store

SCORES = ("cosine", "csls", "proximity")
SAMPLE = 10_000  # rows that stand for all queries
NEAR = 10  # neighbours of CSLS
_MEASURED = 5_000  # rows whose hubness is measured


def csls(cosine: np.ndarray, near_query: np.ndarray, near_row: np.ndarray) -> np.ndarray:
    """2 cos(q, x) - r(q) - r(x), where r is the mean cosine with the 10 nearest of the other side.

    Range -4 to 4. Source: Conneau et al. 2018 (Word translation without parallel data), equation 8.

    >>> csls(np.array([[1.0, 0.6, 0.0], [0.0, 0.8, 1.0]]), np.array([0.8, 0.9]), np.array([0.5, 0.7, 0.5])).round(6)
    array([[ 0.7, -0.3, -1.3],
           [-1.4,  0. ,  0.6]])
    """
    return 2 * cosine - near_query[:, None] - near_row[None, :]


def proximity(
    cosine: np.ndarray, query: tuple[np.ndarray, np.ndarray], row: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """P(X_q > d) P(X_x > d) for the distance d = 1 - cos(q, x), both normal: how rare so small a distance is for both.

    query, row: means and deviations of the distances from each to the rows. Range 0 to 1; 0.25 where d is usual for
    both. Source: Schnitzer et al. 2012, mutual proximity, in its form with independent normal distributions.

    >>> proximity(np.array([[0.4]]), (np.array([0.6]), np.array([0.1])), (np.array([0.6]), np.array([0.2]))).item()
    0.25
    """
    from scipy.special import ndtr

    distance = 1 - cosine
    found: np.ndarray = ndtr((query[0][:, None] - distance) / query[1][:, None]) * ndtr(
        (row[0][None, :] - distance) / row[1][None, :]
    )
    return found


def corrected(
    store: Store, queries: np.ndarray, k: int, where: str | None, scores: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Row numbers and scores of the k best of each query, every row compared in float64, block by block.

    Raises:
        ConfigError: unknown scores. DataError: fewer than three rows.
    """
    if scores not in SCORES[1:]:
        raise ConfigError(f"scores are {', '.join(SCORES)}, not {scores!r}")
    usual = beside(store, "hubs", lambda: _usual(store))
    asked = units(queries.astype(np.float64))
    near = np.array([line[:NEAR].mean() for line in exact(store, queries, NEAR)[1]])
    own = _moments(asked @ usual["sample"].astype(np.float64).T, None)
    best = [(np.empty(0, np.int64), np.empty(0)) for _ in asked]
    for batch in store.blocks(where, ["vector"], 32768):
        numbers = batch["_rowid"].to_numpy().astype(np.int64)
        places = usual["order"][np.searchsorted(usual["rows"], numbers, sorter=usual["order"])]
        cosine = asked @ units(as_matrix(batch["vector"], store.width).astype(np.float64)).T
        if scores == "csls":
            found = csls(cosine, near, usual["near"][places])
        else:
            found = proximity(cosine, own, (usual["mean"][places], usual["deviation"][places]))
        found = np.round(found * GRID) / GRID
        for place, (rows, kept) in enumerate(best):
            both = np.concatenate([rows, numbers]), np.concatenate([kept, found[place]])
            chosen = np.lexsort((both[0], -both[1]))[:k]
            best[place] = both[0][chosen], both[1][chosen]
    return [rows for rows, _ in best], [kept for _, kept in best]


def _usual(store: Store) -> Arrays:
    """For every row: the mean cosine with its nearest rows, and mean and deviation of its distances, to the sample."""
    count = len(store)
    if count < 3:
        raise DataError(f"{store.path} has {count} rows; what is usual for a row takes three at least")
    chosen = np.sort(np.random.default_rng(0).choice(count, min(count, SAMPLE), replace=False))
    taken = store.table.take_offsets(chosen.tolist()).select(["vector"]).with_row_id().to_arrow()
    sample = units(as_matrix(taken["vector"], store.width).astype(np.float64)).astype(np.float32)
    column = {row: place for place, row in enumerate(taken["_rowid"].to_pylist())}
    rows, near, mean, deviation = [], [], [], []
    for batch in store.blocks(None, ["vector"], 2048):
        numbers = batch["_rowid"].to_numpy().astype(np.int64)
        cosine = units(as_matrix(batch["vector"], store.width).astype(np.float64)).astype(np.float32) @ sample.T
        own = np.array([column.get(row, -1) for row in numbers.tolist()])
        middle, spread = _moments(cosine.astype(np.float64), own)
        cosine[own >= 0, own[own >= 0]] = -np.inf
        k = min(NEAR, cosine.shape[1] - 1)
        rows.append(numbers)
        near.append(np.partition(cosine, -k, axis=1)[:, -k:].mean(axis=1, dtype=np.float64))
        mean.append(middle)
        deviation.append(spread)
    numbers = np.concatenate(rows)
    return {
        "sample": sample, "rows": numbers, "order": np.argsort(numbers), "near": np.concatenate(near),
        "mean": np.concatenate(mean), "deviation": np.concatenate(deviation),
    }  # fmt: skip


def _moments(cosine: np.ndarray, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the distances of each line, without the row itself."""
    distance = 1 - cosine
    if own is not None:
        distance[own >= 0, own[own >= 0]] = np.nan
    spread = np.nanstd(distance, axis=1)
    return np.nanmean(distance, axis=1), np.maximum(spread, 1e-12)


@dataclass(frozen=True)
class Hubness:
    """How often rows are among the 10 nearest of others, by one kind of score.

    Attributes:
        scores: the kind.
        skewness: of these counts; about 0 without hubs.
        never: share of the rows that are near to no other.
        most: the largest count; 10 is the mean.
        rows: how many were looked at.
    """

    scores: str
    skewness: float
    never: float
    most: int
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.scores}: skewness of occurrence {self.skewness:.2f}, {self.never:.1%} of {self.rows} rows near to "
            f"no other, one near to {self.most}"
        )


def hubness(store: Store, rows: int = _MEASURED, seed: int = 0) -> list[Hubness]:
    """Hubness of a sample of the rows among each other, by each kind of score.

    Source: Radovanovic et al. 2010 for the skewness of occurrence.

    Raises:
        DataError: fewer than 11 rows.
    """
    count = len(store)
    if count <= NEAR:
        raise DataError(f"{store.path} has {count} rows; hubness is measured among {NEAR + 1} or more")
    chosen = np.sort(np.random.default_rng(seed).choice(count, min(count, rows), replace=False))
    taken = store.table.take_offsets(chosen.tolist()).select(["vector"]).to_arrow()
    z = units(as_matrix(taken["vector"], store.width).astype(np.float64))
    cosine = z @ z.T
    own = np.arange(len(z))
    usual = _moments(cosine, own)
    cosine[own, own] = -np.inf
    near = np.partition(cosine, -NEAR, axis=1)[:, -NEAR:].mean(axis=1)
    cosine[own, own] = 0
    found = []
    for name in SCORES:
        scores = (
            cosine.copy() if name == "cosine"
            else csls(cosine, near, near) if name == "csls"
            else proximity(cosine, usual, usual)
        )  # fmt: skip
        scores[own, own] = -np.inf
        times = np.bincount(np.argpartition(scores, -NEAR, axis=1)[:, -NEAR:].ravel(), minlength=len(z))
        found.append(Hubness(name, _skewness(times), float((times == 0).mean()), int(times.max()), len(z)))
    return found


def _skewness(counts: np.ndarray) -> float:
    apart = counts - counts.mean()
    spread = float(np.square(apart).mean())
    return float((apart**3).mean() / spread**1.5) if spread else 0.0
