"""What must not be a negative. Each filter has a name, under which it is counted what it removed.

A filter sees a block of queries with their candidates and says which to keep; filters follow each other, and each is
asked about those only that the ones before it have kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nearfar.errors import ConfigError, DataError

from .found import NOBODY, Scorer


@dataclass
class Block:
    """Candidates of B queries as filters and samplers see them.

    Attributes:
        rows: (B,) query rows.
        index, scores: (B, K) documents, -1 for none, and their scores, best first.
        ranks: for each miner (B, K), see `Found`.
        alive: (B, K) bool: not removed so far.
        positives, positive_scores: (B, P) known positives, -1 and NaN behind the last.
    """

    rows: np.ndarray
    index: np.ndarray
    scores: np.ndarray
    ranks: dict[str, np.ndarray]
    alive: np.ndarray
    positives: np.ndarray
    positive_scores: np.ndarray

    def near(self) -> np.ndarray:
        """(B,) the least score of a known positive, NaN where none is known."""
        return least(self.positive_scores)


class Filter(Protocol):
    """Says which candidates stay."""

    name: str

    def keep(self, block: Block) -> np.ndarray:
        """(B, K) bool."""
        ...


class Positives:
    """A known positive is no negative."""

    name = "known positive"

    def keep(self, block: Block) -> np.ndarray:
        """Keep what is not among the positives of the query."""
        near = np.zeros(block.index.shape, dtype=bool)
        for positive in block.positives.T:
            near |= block.index == positive[:, None]
        return ~near


class SameId:
    """A document with the id of the query, or of one of its positives, is the same item. Ids are any values of numpy.

    Raises:
        DataError: ids of which numpy makes no flat array.
    """

    name = "same id"

    def __init__(self, query_ids: Sequence[object] | np.ndarray, document_ids: Sequence[object] | np.ndarray) -> None:
        both = np.concatenate([np.asarray(query_ids).astype(np.str_), np.asarray(document_ids).astype(np.str_)])
        if both.ndim != 1:
            raise DataError("ids must be one value for each query and each document")
        keys = np.unique(both, return_inverse=True)[1]
        self.query_keys, self.document_keys = keys[: len(query_ids)], keys[len(query_ids) :]

    def keep(self, block: Block) -> np.ndarray:
        """Keep documents whose id is neither that of the query nor that of a positive."""
        return ~_among(self.query_keys, self.document_keys, block)


class SameText(SameId):
    """A document with the text of the query, of a positive, or of a better candidate (see `near.text_keys`).

    The first two are false negatives; the last would be the same negative twice.

    Args:
        query_keys, document_keys: (Q,) and (N,) of `text_keys`.
    """

    name = "duplicate text"

    def __init__(self, query_keys: np.ndarray, document_keys: np.ndarray) -> None:
        self.query_keys, self.document_keys = query_keys, document_keys

    def keep(self, block: Block) -> np.ndarray:
        """Keep one document of each text that is not known to be near."""
        keep = ~_among(self.query_keys, self.document_keys, block)
        keys = self.document_keys[block.index]
        alive = block.alive & keep
        for line, (own, there) in enumerate(zip(keys, alive, strict=True)):
            columns = np.flatnonzero(there)
            first = columns[np.unique(own[columns], return_index=True)[1]]
            keep[line, np.setdiff1d(columns, first)] = False
        return keep


class Ranks:
    """Only candidates of some ranks, from `first` to `last` (None: no end); ranks count what earlier filters left.

    `Ranks(11)` skips the ten hardest (TopK-Shifted); `Ranks(3999, 4000)` is a band (SciNCL).

    Raises:
        ConfigError: not 1 <= first <= last.
    """

    name = "rank"

    def __init__(self, first: int = 1, last: int | None = None) -> None:
        if first < 1 or (last is not None and last < first):
            raise ConfigError(f"ranks go from 1 up, not from {first} to {last}")
        self.first, self.last = first, last

    def keep(self, block: Block) -> np.ndarray:
        """Keep the candidates of these ranks."""
        rank = block.alive.cumsum(axis=1)
        return (rank >= self.first) & (rank <= (self.last if self.last is not None else rank.shape[1]))


class _Scored:
    """A filter by scores: those of the miner, or of a guide."""

    def __init__(self, guide: Scorer | None = None) -> None:
        self.guide = guide

    def scores(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """(B, K) scores of what is alive, and (B,) of the least positive, NaN where there is none."""
        if self.guide is None:
            return block.scores, block.near()
        scores = self.guide.score(block.rows, np.where(block.alive, block.index, NOBODY))
        near = self.guide.score(block.rows, block.positives)
        return scores, least(np.where(block.positives == NOBODY, np.nan, near))


class Margin(_Scored):
    """Keep a candidate that scores at least `margin` below the least positive: s <= s_near - margin (TopK-MarginPos).

    Args:
        margin: in units of the score; 0 keeps what does not score above the positive.
        guide: whose scores count: `Exact` over the vectors of another model, a `PairScorer`, or the miner's own.

    Candidates of a query without a positive are kept. Source: Moreira et al. 2024 (NV-Retriever).
    """

    name = "margin"

    def __init__(self, margin: float = 0.05, guide: Scorer | None = None) -> None:
        super().__init__(guide)
        self.margin = margin

    def keep(self, block: Block) -> np.ndarray:
        """Keep what is far enough below the positive."""
        scores, near = self.scores(block)
        return ~(scores > (near - self.margin)[:, None])


class Percentage(_Scored):
    """Keep a candidate that scores at most a share of the least positive: s <= share * s_near (TopK-PercPos).

    A share of a score that is zero or below has no meaning; there the margin 1 - share takes its place:
    s <= s_near - (1 - share); how many queries have such a positive stands in the record of a mining.

    Args:
        share: from 0 to 1; the best one of the publication is 0.95.
        guide: as for `Margin`.

    Raises:
        ConfigError: a share outside 0 to 1. Source: Moreira et al. 2024 (NV-Retriever).
    """

    name = "percentage"

    def __init__(self, share: float = 0.95, guide: Scorer | None = None) -> None:
        super().__init__(guide)
        if not 0 <= share <= 1:
            raise ConfigError(f"the share of the positive's score goes from 0 to 1, not {share}")
        self.share = share

    def keep(self, block: Block) -> np.ndarray:
        """Keep what scores at most this share of the positive."""
        scores, near = self.scores(block)
        limit = np.where(near > 0, self.share * near, near - (1 - self.share))
        return ~(scores > limit[:, None])


class Ceiling(_Scored):
    """Keep a candidate that scores below a fixed number (TopK-Abs)."""

    name = "ceiling"

    def __init__(self, ceiling: float = 0.7, guide: Scorer | None = None) -> None:
        super().__init__(guide)
        self.ceiling = ceiling

    def keep(self, block: Block) -> np.ndarray:
        """Keep what scores less."""
        return self.scores(block)[0] < self.ceiling


class PairScorer:
    """Scores of a function of pairs of texts, such as a cross-encoder, as a guide of filters.

    Args:
        function: a list of (query text, document text) to as many numbers, higher is nearer.
        queries, corpus: their texts.
        batch_size: pairs at a time.

    Raises:
        DataError: the function gives another number of scores, or one that is not finite.

    Example:
        >>> scorer = PairScorer(lambda pairs: [float(a == b) for a, b in pairs], ["x"], ["x", "y"])
        >>> scorer.score(np.array([0]), np.array([[1, 0, -1]])).tolist()
        [[0.0, 1.0, -inf]]
    """

    def __init__(
        self,
        function: Callable[[list[tuple[str, str]]], Sequence[float] | np.ndarray],
        queries: Sequence[str],
        corpus: Sequence[str],
        batch_size: int = 256,
    ) -> None:
        self.function, self.queries, self.corpus, self.batch_size = function, queries, corpus, batch_size

    def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(B, K) scores of pairs; -inf where index is -1."""
        lines, columns = np.nonzero(index != NOBODY)
        scores = np.full(index.shape, -np.inf)
        for start in range(0, len(lines), self.batch_size):
            one, other = lines[start : start + self.batch_size], columns[start : start + self.batch_size]
            documents = index[one, other]
            pairs = [(self.queries[q], self.corpus[d]) for q, d in zip(rows[one], documents, strict=True)]
            given = np.asarray(self.function(pairs), dtype=np.float64).reshape(-1)
            if len(given) != len(pairs) or not np.isfinite(given).all():
                raise DataError(
                    f"the scorer of pairs gave {len(given)} scores for {len(pairs)} pairs, or some not finite"
                )
            scores[one, other] = given
        return scores


def least(scores: np.ndarray) -> np.ndarray:
    """(B,) the least of each row without NaN, NaN where there is nothing else."""
    out = np.where(np.isnan(scores), np.inf, scores).min(axis=1)
    return np.where(np.isinf(out), np.nan, out)


def _among(query_keys: np.ndarray, document_keys: np.ndarray, block: Block) -> np.ndarray:
    """(B, K) whether a candidate has the key of its query or of a positive."""
    keys = document_keys[block.index]
    same = keys == query_keys[block.rows][:, None]
    for positive in block.positives.T:
        same |= (keys == document_keys[positive][:, None]) & (positive != NOBODY)[:, None]
    return same & (block.index != NOBODY)
