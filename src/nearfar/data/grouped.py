"""Batches in which rows stand beside others of their group, where few rows have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nearfar.data.sampling import PlannedSampler
from nearfar.errors import ConfigError


class GroupSampler(PlannedSampler):
    """Part of every batch are rows that something is known of, in hands of one group; the rest are other rows.

    Rows of a group are dealt in hands of `together`, so that a row that is alike to others meets one of them; of a
    group of an odd size one row comes alone. Known and other rows are dealt in rounds of their own, each row once
    before any of it again but for what does not fill a batch, and no row stands in a batch twice.

    Args:
        groups: (N,) the group of each row. known: (N,) bool.
        share: of a batch that are known rows, as far as there are so many.
        digest: of what is known; a run is only resumed with the same.

    Raises:
        ConfigError: a batch below 1, or `together` below 1.

    >>> sampler = GroupSampler(np.array([0, 0, 2, 3, 4, 5]), np.array([1, 1, 0, 0, 0, 0], bool), 4, seed=0)
    >>> sorted(sampler.batch(0)[:2].tolist()), bool((sampler.batch(0)[2:] >= 2).all())
    ([0, 1], True)
    """

    def __init__(
        self,
        groups: np.ndarray,
        known: np.ndarray,
        batch_size: int,
        seed: int,
        share: float = 0.5,
        together: int = 2,
        digest: str = "",
    ) -> None:
        if batch_size < 1 or together < 1:
            raise ConfigError(f"batch_size and together must be 1 or more, not {batch_size} and {together}")
        self.n = len(groups)
        self.batch_size = min(batch_size, self.n)
        self.seed, self.share, self.together, self.digest = seed, share, together, digest
        self.steps_per_epoch = self.n // self.batch_size
        self._groups, self._known, self._others = groups, np.flatnonzero(known), np.flatnonzero(~known)
        wanted = min(round(share * self.batch_size), len(self._known))
        self._size = max(wanted, self.batch_size - len(self._others))

    def state(self) -> dict[str, Any]:
        """See `EpochSampler.state`."""
        return {
            "sampler": "group",
            "n": self.n,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "share": self.share,
            "together": self.together,
            "digest": self.digest,
        }

    def _plan(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        known = self._dealt(lambda: self._hands(rng), self._size)
        others = self._dealt(lambda: rng.permutation(self._others), self.batch_size - self._size)
        return np.concatenate([known, others], axis=1).astype(np.int64)

    def _dealt(self, order: Callable[[], np.ndarray], size: int) -> np.ndarray:
        """(steps_per_epoch, size) rows from one order after another."""
        dealt: list[np.ndarray] = []
        while len(dealt) < self.steps_per_epoch:
            rows = order()
            dealt += [rows[start : start + size] for start in range(0, len(rows) - size + 1, max(1, size))]
        return np.stack(dealt[: self.steps_per_epoch])

    def _hands(self, rng: np.random.Generator) -> np.ndarray:
        """The known rows in random order, hand by hand."""
        rows = rng.permutation(self._known)
        rows = rows[np.argsort(self._groups[rows], kind="stable")]
        begins = np.flatnonzero(np.diff(self._groups[rows], prepend=-1))
        place = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
        hand = np.cumsum(place % self.together == 0) - 1
        turn = rng.permutation(len(rows))  # of as many hands as there could be
        return rows[np.argsort(turn[hand], kind="stable")]
