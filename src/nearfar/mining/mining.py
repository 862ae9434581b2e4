"""Mining: a miner, filters and a sampler over the queries, block by block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from nearfar.errors import ConfigError, DataError

from .filters import Block, Filter, Positives
from .found import NOBODY, Miner
from .near import Near
from .parts import Parts
from .samplers import Sampler, Top, draw
from .vectors import blocks

NEGATIVE, NOT_DRAWN = "negative", "not drawn"


@dataclass(frozen=True)
class Mined:
    """Negatives as lines, one for a query and a document, in order of the queries and then of the scores.

    Attributes:
        query, document: (L,) rows.
        score: (L,) by the miner. place: (L,) among all candidates of the query, from 1.
        near: (L,) the least score of the query's positives, NaN where it has none.
        reason: (L,) number of the reason in `reasons`: 0 is a negative, others are why a candidate is none.
        found: for each miner (L,) the rank at which it found the document, 0 if it did not.
        reasons: "negative", "not drawn" and the names of the filters.
        counts: candidates; removed by each filter; queries, those with fewer negatives than asked for, without any,
            without a known positive, and with a positive that scores zero or less.
    """

    query: np.ndarray
    document: np.ndarray
    score: np.ndarray
    place: np.ndarray
    near: np.ndarray
    reason: np.ndarray
    found: dict[str, np.ndarray]
    reasons: tuple[str, ...]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.query)

    def negatives(self, rows: np.ndarray, count: int) -> np.ndarray:
        """(B, count) documents of the negatives of queries (B,) in order, hardest first, -1 where there are fewer."""
        chosen = self.reason == 0
        query, document = self.query[chosen], self.document[chosen]
        starts, ends = np.searchsorted(query, rows), np.searchsorted(query, rows, side="right")
        out = np.full((len(rows), count), NOBODY, dtype=np.int64)
        for line, start, end in zip(out, starts, ends, strict=True):
            line[: min(count, end - start)] = document[start : min(end, start + count)]
        return out


@dataclass(frozen=True)
class Mining:
    """What is mined, and how.

    Attributes:
        miner: finds candidates: `Exact`, `Approximate`, `BM25` or a `Union`.
        near: the known positives; they are never negatives. None: none are known.
        filters: in this order; that of known positives comes first by itself.
        sampler: `Top`, `Random`, `SimANS`, `Gumbel`, `Bins` or `Mixture`.
        negatives: of each query, at most.
        depth: candidates of each query; with a union, of each of its miners.
        removed: whether to report candidates that are no negatives too, each with the reason.
        block: queries at a time. The result does not depend on it.

    Raises:
        ConfigError: numbers below 1, or a depth below the number of negatives. DataError: a depth above the corpus,
        or positives of other data.

    Example:
        >>> from nearfar.mining import Exact
        >>> vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
        >>> mining = Mining(Exact(vectors[:1], vectors), Near([(0, 0)], 1, 4), negatives=2, depth=4)
        >>> mined = mining.run()
        >>> mined.document.tolist(), mined.counts["known positive"]
        ([1, 2], 1)
    """

    miner: Miner
    near: Near | None = None
    filters: Sequence[Filter] = ()
    sampler: Sampler = field(default_factory=Top)
    negatives: int = 5
    depth: int = 100
    seed: int = 0
    removed: bool = False
    block: int = 4096

    def __post_init__(self) -> None:
        for name in ("negatives", "depth", "block"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, not {self.seed}")
        if self.depth < self.negatives:
            raise ConfigError(f"depth = {self.depth} candidates are fewer than {self.negatives} negatives; raise depth")
        if self.depth > self.miner.documents:
            raise DataError(
                f"depth = {self.depth} candidates asked of a corpus of {self.miner.documents} documents; lower depth"
            )
        near = self.near
        if near is not None and (near.queries, near.documents) != (self.miner.queries, self.miner.documents):
            raise DataError(
                f"the positives are of {near.queries} queries and {near.documents} documents, the miner searches "
                f"{self.miner.queries} and {self.miner.documents}"
            )

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the numbers of `Mined.reason` stand for."""
        return (NEGATIVE, NOT_DRAWN, *(chosen.name for chosen in self._filters))

    @property
    def _filters(self) -> list[Filter]:
        return [Positives(), *self.filters]

    def mine(self, rows: np.ndarray) -> Mined:
        """Mine some queries (B,) by their rows."""
        block = self._candidates(rows)
        there = block.alive.copy()
        reason = np.full(there.shape, 1, dtype=np.int8)
        counts = {"queries": len(rows), "candidates": int(there.sum())}
        for number, chosen in enumerate(self._filters, start=2):
            out = block.alive & ~chosen.keep(block)
            reason[out] = number
            counts[chosen.name] = counts.get(chosen.name, 0) + int(out.sum())
            block.alive &= ~out
        columns = draw(self.sampler, block, self.negatives, self.seed)
        lines, places = np.nonzero(columns >= 0)
        reason[lines, columns[lines, places]] = 0
        near = block.near()
        number = (columns >= 0).sum(axis=1)
        counts |= {
            "short queries": int((number < self.negatives).sum()),
            "queries without negatives": int((number == 0).sum()),
            "queries without a positive": int(np.isnan(near).sum()),
            "queries with a positive at 0 or below": int((near <= 0).sum()),
        }
        lines, columns = np.nonzero(there if self.removed else there & (reason == 0))
        return Mined(
            query=rows[lines],
            document=block.index[lines, columns],
            score=block.scores[lines, columns],
            place=(columns + 1).astype(np.int32),
            near=near[lines],
            reason=reason[lines, columns],
            found={name: ranks[lines, columns] for name, ranks in block.ranks.items()},
            reasons=self.reasons,
            counts=counts,
        )

    def _candidates(self, rows: np.ndarray) -> Block:
        candidates = self.miner.find(rows, self.depth)
        positives = np.full((len(rows), 1), NOBODY) if self.near is None else self.near.of(rows)
        scores = self.miner.score(rows, positives)
        return Block(
            rows=rows,
            index=candidates.index,
            scores=candidates.scores,
            ranks=candidates.ranks,
            alive=candidates.index != NOBODY,
            positives=positives,
            positive_scores=np.where(positives == NOBODY, np.nan, scores),
        )

    def run(self, progress: bool = False) -> Mined:
        """Mine all queries, in memory."""
        return join(list(self._each(None, progress)))

    def run_into(self, folder: str | Path, progress: bool = False, **more: Any) -> Parts:
        """Mine all queries into parts in a folder; what is there already of the same mining is not done again.

        A mining that is killed at any moment and started again ends with the same bytes. `more` are facts that must
        be the same too.

        Raises:
            ConfigError: the folder holds parts of another mining.
        """
        parts = Parts(folder, {**self.settings(), **more})
        for _ in self._each(parts, progress):
            pass
        return parts

    def _each(self, parts: Parts | None, progress: bool) -> Iterator[Mined]:
        with tqdm(total=self.miner.queries, unit=" queries", desc="mining", disable=not progress) as bar:
            for number, rows in enumerate(blocks(self.miner.queries, self.block)):
                if parts is None:
                    yield self.mine(np.arange(rows.start, rows.stop))
                elif not parts.has(number):
                    parts.write(number, vars(self.mine(np.arange(rows.start, rows.stop))))
                bar.update(rows.stop - rows.start)

    def settings(self) -> dict[str, Any]:
        """All that decides the result, as JSON: settings, and SHA-256 of vectors, positives and other arrays."""
        return {
            "miner": described(self.miner),
            "positives": None
            if self.near is None
            else {"pairs": len(self.near.pairs), "sha256": _sha(self.near.pairs)},
            "filters": [described(chosen) for chosen in self._filters],
            "sampler": described(self.sampler),
            **{name: getattr(self, name) for name in ("negatives", "depth", "seed", "removed", "block")},
        }


def join(parts: Sequence[Mined]) -> Mined:
    """Parts as one; counts are added up."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("query", "document", "score", "place", "near", "reason")
    }
    found = {name: np.concatenate([part.found[name] for part in parts]) for name in parts[0].found}
    return Mined(**arrays, found=found, reasons=parts[0].reasons, counts=added([part.counts for part in parts]))


def added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Sums by name.

    >>> added([{"a": 1}, {"a": 2}])
    {'a': 3}
    """
    return {name: sum(some[name] for some in counts) for name in counts[0]}


def described(thing: Any) -> dict[str, Any]:
    """The name of a miner, filter or sampler with its settings; arrays and texts by their SHA-256."""
    out: dict[str, Any] = {"name": getattr(thing, "name", type(thing).__name__)}
    if hasattr(thing, "looks"):
        out |= {"queries sha256": thing.looks[0].sha256, "corpus sha256": thing.looks[1].sha256}
    for key, value in vars(thing).items():
        key = key.strip("_")
        if (isinstance(value, int | float | str) or key == "shares") and key != "name":
            out[key] = value
        elif isinstance(value, list | np.ndarray) and key not in out and not hasattr(thing, "looks"):
            out[key] = [described(part) for part in value] if key == "miners" else _sha(value)
        elif key == "guide" and value is not None:
            out[key] = described(value)
    return out


def _sha(values: Any) -> str:
    if isinstance(values, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
