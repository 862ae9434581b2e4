"""Negatives that follow the model: mined again while it is trained, or replaced one query at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.training.checkpoint import write_whole

from .found import NOBODY

Model = TypeVar("Model")


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over queries of the share of negatives that two minings have in common, 0 to 1.

    one, other: (Q, H) documents, -1 for none; of a query |A and B| / max(|A|, |B|), and 1 where both are empty.

    >>> overlap(np.array([[1, 2]]), np.array([[2, 3]]))
    0.5
    """
    if len(one) != len(other) or not len(one):
        raise DataError(f"two minings of the same queries are compared, not of {len(one)} and {len(other)}")
    shares = []
    for a, b in zip(one, other, strict=True):
        first, second = set(a[a != NOBODY].tolist()), set(b[b != NOBODY].tolist())
        larger = max(len(first), len(second))
        shares.append(len(first & second) / larger if larger else 1.0)
    return float(np.mean(shares))


def part_of(queries: int, number: int, parts: int) -> np.ndarray:
    """(B,) rows of the part of the queries that refresh `number` mines: each row in turn (ANCE mines a part each time).

    >>> part_of(5, number=3, parts=2).tolist()
    [1, 3]
    """
    if parts < 1 or number < 0:
        raise ConfigError(f"queries are cut in 1 part or more, refreshes are numbered from 0, not {parts} and {number}")
    return np.arange(number % parts, queries, parts)


class Refresh(Generic[Model]):
    """Mine, fit, mine again with what was fitted, fit on: the loop of ANCE in one process.

    In round r the negatives of part r % parts of the queries are mined with the model of the round before; those of
    other queries stay. What was mined is logged with its staleness: how much of it is as it was.

    Args:
        mine: (model, rows (B,)) to (B, H) documents, -1 for none.
        fit: (model, negatives (Q, H), round) to the model trained on; -1 in a whole row: not mined yet.
        queries: how many.
        parts: in how many parts the queries are mined.
        log: a file of JSON lines that is written after each round; None: none. A loop that was interrupted goes on
            behind its last line, if the model and the negatives of that round are given (see `run`).

    Source: Xiong et al. 2020 (ANCE).

    Example:
        >>> loop = Refresh(lambda model, rows: rows[:, None] + model, lambda model, negatives, number: model + 1, 3)
        >>> model, negatives = loop.run(model=0, rounds=2)
        >>> model, negatives.tolist(), [line["overlap"] for line in loop.lines]
        (2, [[1], [2], [3]], [None, 0.0])
    """

    def __init__(
        self,
        mine: Callable[[Model, np.ndarray], np.ndarray],
        fit: Callable[[Model, np.ndarray, int], Model],
        queries: int,
        parts: int = 1,
        log: str | Path | None = None,
    ) -> None:
        part_of(queries, 0, parts)
        self.mine, self.fit, self.queries, self.parts = mine, fit, queries, parts
        self.log = None if log is None else Path(log)
        self.lines: list[dict[str, Any]] = []
        if self.log is not None and self.log.is_file():
            self.lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def run(self, model: Model, rounds: int, negatives: np.ndarray | None = None) -> tuple[Model, np.ndarray]:
        """Go on until `rounds` rounds are done; the model and the negatives (Q, H) of the last.

        Args:
            model, negatives: those before the first round that is still to be done.

        Raises:
            DataError: mining gave another number of rows than it was asked for, or another number of negatives.
        """
        for number in range(len(self.lines), rounds):
            rows = part_of(self.queries, number, self.parts)
            fresh = np.asarray(self.mine(model, rows))
            if fresh.ndim != 2 or len(fresh) != len(rows):
                raise DataError(f"mining of {len(rows)} queries gave an array of shape {fresh.shape}")
            if negatives is None:
                negatives = np.full((self.queries, fresh.shape[1]), NOBODY, dtype=np.int64)
            if fresh.shape[1] != negatives.shape[1]:
                raise DataError(f"mining gave {fresh.shape[1]} negatives, the rounds before {negatives.shape[1]}")
            before = negatives[rows]
            known = (before != NOBODY).any(axis=1)
            share = overlap(before[known], fresh[known]) if known.any() else None
            negatives = negatives.copy()
            negatives[rows] = fresh
            model = self.fit(model, negatives, number)
            self.lines.append({"round": number, "queries": len(rows), "overlap": share})
            if self.log is not None:
                write_whole(self.log, "".join(json.dumps(line) + "\n" for line in self.lines).encode())
        if negatives is None:
            raise ConfigError("no round is left to do, and no negatives were given")
        return model, negatives


class Replacement:
    """Per query a window of negatives, moved on when they are no longer hard (Conan).

    A window whose mean score was S0 when it was installed and is S now is replaced when ratio * S < S0 and
    |S| < below. The first window are the n hardest candidates, window i >= 1 candidates (i - 1) n + skip to i n + skip;
    the last one that fits stays. S0 of a new window is its mean score at the next look.

    Args:
        candidates: (Q, K) documents of each query, hardest first, -1 behind the last one.
        size: n, negatives in a window.
        skip: hardest candidates that later windows leave out.

    Raises:
        ConfigError: a window that does not fit into the candidates.

    Source: Li et al. 2024 (Conan-embedding), reconstructed.

    Example:
        >>> negatives = Replacement(np.arange(20)[None], size=5, skip=10)
        >>> for score in (0.9, 0.7):
        ...     moved = negatives.look(np.array([0]), np.full((1, 5), score))
        >>> negatives.of(np.array([0])).tolist()
        [[10, 11, 12, 13, 14]]
    """

    def __init__(
        self, candidates: np.ndarray, size: int, ratio: float = 1.15, below: float = 0.8, skip: int = 10
    ) -> None:
        if not 1 <= size <= candidates.shape[1] or skip < 0:
            raise ConfigError(
                f"windows of {size} do not fit into {candidates.shape[1]} candidates, or skip = {skip} < 0"
            )
        self.candidates, self.size, self.ratio, self.below, self.skip = candidates, size, ratio, below, skip
        self.counts = (candidates != NOBODY).sum(axis=1)
        self.window = np.zeros(len(candidates), dtype=np.int64)
        self.installed = np.full(len(candidates), np.nan)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """(B, n) negatives of queries (B,)."""
        window = self.window[rows]
        starts = np.where(window == 0, 0, (window - 1) * self.size + self.skip)
        return np.take_along_axis(self.candidates[rows], starts[:, None] + np.arange(self.size), axis=1)

    def look(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Say how the windows of some queries score now, (B, n); (B,) bool which were replaced.

        What is not there does not count, whatever its score is.
        """
        there, before = self.of(rows) != NOBODY, self.installed[rows]
        now = np.divide(np.where(there, scores, 0).sum(axis=1), there.sum(axis=1), where=there.any(axis=1),
                        out=np.full(len(rows), np.nan))  # fmt: skip
        fits = self.window[rows] * self.size + self.skip + self.size <= self.counts[rows]
        moved = (self.ratio * now < before) & (np.abs(now) < self.below) & fits
        self.installed[rows] = np.where(moved, np.nan, np.where(np.isnan(before), now, before))
        self.window[rows] += moved
        return moved

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint must hold."""
        return {"window": self.window.copy(), "installed": self.installed.copy()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a checkpoint."""
        self.window, self.installed = np.array(state["window"]), np.array(state["installed"])
