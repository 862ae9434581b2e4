"""What miners give: candidates for a block of queries, with the rank at which each miner found them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

NOBODY = -1


@dataclass(frozen=True)
class Found:
    """Candidates of B queries, best first.

    Attributes:
        index: (B, K) int64 rows of the corpus, -1 behind the last candidate of a query.
        scores: (B, K) float64, -inf where there is none.
        ranks: for each miner by name (B, K) int32, from 1: the place at which it found the candidate; 0 if it did not.
    """

    index: np.ndarray
    scores: np.ndarray
    ranks: dict[str, np.ndarray]


class Scorer(Protocol):
    """Scores pairs of a query and a document; higher is nearer."""

    def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(B, K) float64 scores of documents (B, K) for queries (B,), both as row numbers; -inf where index is -1."""
        ...


class Miner(Scorer, Protocol):
    """Finds candidates for queries by their row numbers; the answer for a query must not depend on the others."""

    name: str
    queries: int
    documents: int

    def find(self, rows: np.ndarray, k: int) -> Found:
        """The k best candidates of each query (B,)."""
        ...


def found(name: str, index: np.ndarray, scores: np.ndarray) -> Found:
    """What one miner found, whose ranks are the columns.

    >>> found("exact", np.array([[4, -1]]), np.array([[0.5, -np.inf]])).ranks["exact"].tolist()
    [[1, 0]]
    """
    places = np.arange(1, index.shape[1] + 1, dtype=np.int32)
    return Found(index, scores, {name: np.where(index == NOBODY, 0, places).astype(np.int32)})
