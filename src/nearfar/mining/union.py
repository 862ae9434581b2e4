"""Candidates of several miners together, so that the mistakes of no single one decide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearfar.errors import ConfigError, DataError

from .found import NOBODY, Found, Miner


class Union:
    """What any of some miners finds, each document once, with the rank at which each of them found it.

    Scores and order are those of the first miner, which scores what the others found too; of equal scores the lower
    row comes first. Up to k candidates of each miner come together. Source: Zhou et al. 2022 (R2anker).

    Raises:
        ConfigError: no miners, or two of one name. DataError: they search other queries or another corpus.

    Example:
        >>> from nearfar.mining import Exact
        >>> miner = Union([Exact(np.eye(2), np.eye(2))])
        >>> miner.find(np.array([1]), k=1).ranks
        {'exact': array([[1]], dtype=int32)}
    """

    def __init__(self, miners: Sequence[Miner]) -> None:
        names = [miner.name for miner in miners]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a union needs one miner or more, each of another kind, not {names}")
        sizes = {(miner.queries, miner.documents) for miner in miners}
        if len(sizes) > 1:
            raise DataError(f"the miners of a union search other data: (queries, documents) = {sorted(sizes)}")
        self.miners, self.name = list(miners), "+".join(names)
        self.queries, self.documents = sizes.pop()

    def find(self, rows: np.ndarray, k: int) -> Found:
        """Up to k candidates of each miner for each query (B,), joined."""
        parts = [miner.find(rows, k) for miner in self.miners]
        joined = [np.unique(line[line != NOBODY]) for line in np.concatenate([part.index for part in parts], axis=1)]
        index = np.full((len(rows), max([1, *map(len, joined)])), NOBODY, dtype=np.int64)
        for line, documents in zip(index, joined, strict=True):
            line[: len(documents)] = documents
        scores = self.score(rows, index)
        order = np.lexsort((index, -scores), axis=1)
        index, scores = np.take_along_axis(index, order, 1), np.take_along_axis(scores, order, 1)
        ranks = {name: _ranks(index, part.index, part.ranks[name]) for part in parts for name in part.ranks}
        return Found(index, scores, ranks)

    def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(B, K) scores by the first miner."""
        return self.miners[0].score(rows, index)


def _ranks(index: np.ndarray, own: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """(B, K) the ranks of candidates in what one miner found; 0 where it did not find them."""
    out = np.zeros(index.shape, dtype=np.int32)
    for line, candidates, documents, places in zip(out, index, own, ranks, strict=True):
        order = np.argsort(documents)
        at = np.minimum(np.searchsorted(documents, candidates, sorter=order), len(documents) - 1)
        same = (documents[order[at]] == candidates) & (candidates != NOBODY)
        line[same] = places[order[at]][same]
    return out
