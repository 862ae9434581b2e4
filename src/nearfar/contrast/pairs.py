"""Pairs: what a relation says of one block, and pairs that are listed one by one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Which pairs of one block take part: all but `dropped` when `dense` is None, else those with a non-zero weight."""

    dense: Tensor | None = None
    dropped: tuple[Tensor, Tensor] | None = None

    @property
    def t(self) -> Weights:
        """The same block seen from the candidates."""
        dropped = self.dropped and (self.dropped[1], self.dropped[0])
        return Weights(None if self.dense is None else self.dense.T, dropped)

    def zero_(self, values: Tensor) -> Tensor:
        """Multiply by the weights in place: what takes no part becomes 0."""
        if self.dense is not None:
            return values.mul_(self.dense)
        if self.dropped is not None:
            values[self.dropped] = 0
        return values

    def times(self, values: Tensor) -> Tensor:
        """The values times the weights, in a new tensor unless all count alike."""
        if self.dense is not None:
            return torch.where(self.dense, values, 0) if self.dense.dtype == torch.bool else values * self.dense
        return values if self.dropped is None else self.zero_(values.clone())

    def fill(self, values: Tensor, outside: float) -> Tensor:
        """A copy with `outside` where a pair takes no part (weights are not applied)."""
        if self.dense is not None:
            counted = self.dense if self.dense.dtype == torch.bool else self.dense != 0
            return torch.where(counted, values, outside)
        if self.dropped is not None:
            values = values.clone()
            values[self.dropped] = outside
        return values

    def full(self, like: Tensor) -> Tensor:
        """The weights as a matrix of the dtype of `like`."""
        if self.dense is not None:
            return self.dense.to(like.dtype)
        return self.zero_(torch.ones_like(like))

    def total(self, like: Tensor) -> Tensor:
        """The sum of weights of every row of the block."""
        if self.dense is not None:
            return self.dense.sum(1, dtype=like.dtype)
        counts = like.new_full((like.shape[0],), float(like.shape[1]))
        if self.dropped is not None:
            counts.index_add_(0, self.dropped[0], counts.new_full((len(self.dropped[0]),), -1.0))
        return counts


@dataclass(frozen=True)
class Counts:
    """How many candidates each anchor has of every kind; a row against itself is not counted as ignored."""

    near: Tensor
    far: Tensor
    ignored: Tensor


@dataclass(frozen=True)
class Pairs:
    """A list of (row, column) pairs, with weights (None: all 1); a relation keeps them sorted by row."""

    rows: Tensor
    columns: Tensor
    weights: Tensor | None = None

    @staticmethod
    def of(rows: Tensor, columns: Tensor, weights: Tensor | None = None) -> Pairs:
        """Sort by row."""
        order = torch.argsort(rows, stable=True)
        return Pairs(rows[order], columns[order], None if weights is None else weights[order])

    def in_order(self) -> Pairs:
        """The same pairs sorted by row."""
        return Pairs.of(self.rows, self.columns, self.weights)

    @property
    def t(self) -> Pairs:
        """The same pairs seen from the candidates."""
        return Pairs.of(self.columns, self.rows, self.weights)

    def within(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        """Those inside a block, with positions counted from its corner."""
        ends = torch.tensor([rows.start, rows.stop], device=self.rows.device)
        start, stop = torch.searchsorted(self.rows, ends).tolist()
        c = self.columns[start:stop]
        inside = ((c >= columns.start) & (c < columns.stop)).nonzero().squeeze(1)
        weights = None if self.weights is None else self.weights[start:stop][inside]
        return self.rows[start:stop][inside] - rows.start, c[inside] - columns.start, weights

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TilePairs(Pairs):
    """Pairs sorted by tile, with positions counted from its corner; a tile finds its own by number alone."""

    tile: int = 1
    across: int = 1
    starts: tuple[int, ...] = ()

    @staticmethod
    def by_tile(pairs: Pairs, shape: tuple[int, int], tile: int) -> TilePairs:
        """Sort pairs into square tiles: once per sweep, so that no tile has to search or to wait for the device."""
        down, across = (max(1, -(-n // tile)) for n in shape)
        number = (pairs.rows // tile) * across + pairs.columns // tile
        order = torch.argsort(number, stable=True)
        ends = torch.bincount(number, minlength=down * across).cumsum(0)
        rows, columns = pairs.rows[order] % tile, pairs.columns[order] % tile
        weights = None if pairs.weights is None else pairs.weights[order]
        return TilePairs(rows, columns, weights, tile, across, (0, *ends.tolist()))

    def within(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        """Those of one tile."""
        number = (rows.start // self.tile) * self.across + columns.start // self.tile
        part = slice(self.starts[number], self.starts[number + 1])
        return self.rows[part], self.columns[part], None if self.weights is None else self.weights[part]
