"""Kin: what two near rows have together to do with all far ones, for every near pair of rows with one key.

    joint(a, p) = sum_(j far) exp(s_aj + s_pj)

The exponential of a sum is a product, so a pair needs no scores of its own. In order of their keys kin stand next to
one another, and the pairs d places apart are the matrix of exponentials times itself, moved by d rows. As in `tiled`,
tiles are computed again in the backward pass, and each serves its rows and, transposed, its columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .exponential import exponential


def joint_sums(u: Tensor, v: Tensor, keys: Tensor, tile: int) -> Tensor:
    """(K, N): at [d - 1, a] the sum over all rows j of other keys of exp(s_aj + s_pj), p = a + d.

    It says something of a pair only where a and p have one key, and is 0 where p would be none. K is the number of kin
    that a row has at most.

    Args:
        u, v: (N, D) prepared rows in order of their keys, whose products are the scores, the same from both sides.
        keys: (N,) the keys, of which no row may be alone with its kin.
        tile: rows of a tile, or few more where they are kin.

    >>> u = torch.tensor([[0.0], [0.0], [1.0], [2.0]])
    >>> joint_sums(u, u, torch.tensor([3, 3, 5, 5]), 2).log()             # e^0 + e^0 of rows 0 and 1
    tensor([[0.6931,   -inf, 0.6931,   -inf]])
    """
    sizes = torch.unique_consecutive(keys, return_counts=True)[1].tolist()
    made: Tensor = _Joint.apply(u, v, keys, _whole(sizes, tile), max(sizes) - 1)
    return made


def _whole(sizes: list[int], tile: int) -> list[slice]:
    """Pieces of about `tile` rows that part no kin."""
    ends, start, stop = [], 0, 0
    for size in sizes:
        if stop > start and stop + size - start > tile:
            ends.append(slice(start, stop))
            start = stop
        stop += size
    return [*ends, slice(start, stop)]


class _Joint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, v: Tensor, keys: Tensor, parts: list[slice], reach: int) -> Tensor:
        ctx.save_for_backward(u, v, keys)
        ctx.parts, ctx.reach = parts, reach  # type: ignore[attr-defined]
        out = u.new_zeros(reach, len(u))
        for rows, columns, e in _tiles(u, v, keys, parts, reach):
            for where, seen in _ends(rows, columns, e):
                for d in range(1, min(reach + 1, len(seen))):
                    out[d - 1, where.start : where.stop - d] += (seen[:-d] * seen[d:]).sum(1)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        u, v, keys = ctx.saved_tensors
        du, dv = torch.zeros_like(u), torch.zeros_like(v)
        for rows, columns, e in _tiles(u, v, keys, ctx.parts, ctx.reach):
            slope = torch.zeros_like(e)
            for (where, seen), (_, part) in zip(_ends(rows, columns, e), _ends(rows, columns, slope), strict=True):
                for d in range(1, min(ctx.reach + 1, len(seen))):
                    rate = upstream[d - 1, where.start : where.stop - d, None]
                    part[:-d].addcmul_(seen[d:], rate)
                    part[d:].addcmul_(seen[:-d], rate)
            slope.mul_(e)
            du[rows].addmm_(slope, v[columns])
            dv[columns].addmm_(slope.T, u[rows])
        return du, dv, None, None, None


def _tiles(u: Tensor, v: Tensor, keys: Tensor, parts: list[slice], reach: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """(rows, columns, exponentials of their scores, 0 within a key) of the tiles on and above the diagonal."""
    for k, rows in enumerate(parts):
        for columns in parts[k:]:
            e = torch.mm(u[rows], v[columns].T)
            exponential(e, out=e)
            if columns == rows:
                own = keys[rows]
                for d in range(min(reach + 1, len(own))):
                    far = own[d:] != own[: len(own) - d]
                    e.diagonal(d).mul_(far)
                    e.diagonal(-d).mul_(far)
            yield rows, columns, e


def _ends(rows: slice, columns: slice, tile: Tensor) -> list[tuple[slice, Tensor]]:
    """Whom a tile serves, each with the tile as it sees it."""
    return [(rows, tile), (columns, tile.T)] if columns != rows else [(rows, tile)]
