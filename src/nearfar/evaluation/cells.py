"""How cells of feature maps lie: whether those of one place agree in two crops, and how all of them spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.errors import DataError

BLOCK = 2048  # rows of cells whose distances to all others are held at once


@dataclass(frozen=True)
class CellGeometry:
    """Alignment (0 to 4) of `matched` pairs of cells, NaN without any, and uniformity (0 at most) of `cells` cells."""

    alignment: float
    uniformity: float
    matched: int
    cells: int


def cell_geometry(
    first: Tensor, second: Tensor, first_boxes: Tensor, second_boxes: Tensor, reach: float = 0.7
) -> CellGeometry:
    """Alignment and uniformity of the cells of two crops of the same pictures.

    Two cells of one picture match when their middles are less than `reach` diagonals of a cell apart, of the larger
    cells of the two crops. Alignment is the mean squared distance of the unit rows of matching cells; uniformity is
    log mean exp(-2 d^2) over all pairs of cells of both crops, block by block. Pixel-wise positives as of PixPro; that
    such figures go with the quality of segmentations is what Moon et al. 2022 ask, whose own scalar is not known here.

    Args:
        first, second: maps (N, C, h, w) and (N, C, k, l). first_boxes, second_boxes: (N, 4) where the crops were cut,
            top, left, bottom, right; of a mirrored one left is the larger (see `Batch.boxes`).

    Raises DataError: maps and boxes do not fit each other.

    >>> maps = torch.eye(4).reshape(1, 4, 2, 2)
    >>> box = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    >>> seen = cell_geometry(maps, maps, box, box, reach=0.5)
    >>> seen.alignment, seen.matched, seen.cells
    (0.0, 4, 8)
    """
    n, width = len(first), first.shape[1]
    if first.ndim != 4 or second.ndim != 4 or (len(second), second.shape[1]) != (n, width) or n == 0:
        raise DataError(
            f"maps (N, C, h, w) of two crops differ in N and C: {tuple(first.shape)}, {tuple(second.shape)}"
        )
    if first_boxes.shape != (n, 4) or second_boxes.shape != (n, 4):
        raise DataError(f"{n} pictures have boxes of shapes {tuple(first_boxes.shape)}, {tuple(second_boxes.shape)}")
    rows = [normalize(maps.double().flatten(2).transpose(1, 2), dim=2) for maps in (first, second)]
    places = [_middles(maps, boxes) for maps, boxes in ((first, first_boxes), (second, second_boxes))]
    longest = torch.maximum(_diagonal(first, first_boxes), _diagonal(second, second_boxes))
    near = torch.cdist(places[0], places[1]) < reach * longest[:, None, None]
    squared = (2 - 2 * rows[0] @ rows[1].transpose(1, 2)).clamp_min(0)
    matched = int(near.sum())
    cells = torch.cat([part.flatten(0, 1) for part in rows])
    return CellGeometry(float(squared[near].mean()) if matched else math.nan, _uniformity(cells), matched, len(cells))


def _uniformity(rows: Tensor) -> float:
    """log of the mean of exp(-2 d^2) over pairs of different rows, which are of unit length."""
    sums = [torch.exp(4 * (block @ rows.T - 1)).sum() for block in rows.split(BLOCK)]
    n = len(rows)
    return float(torch.log((torch.stack(sums).sum() - n) / (n * (n - 1))))


def _middles(maps: Tensor, boxes: Tensor) -> Tensor:
    """(N, h w, 2) the middles of the cells in the picture."""
    h, w = maps.shape[2:]
    down, across = ((torch.arange(size, dtype=torch.float64) + 0.5) / size for size in (h, w))
    top, left, bottom, right = boxes.double().T[:, :, None]
    y, x = top + (bottom - top) * down, left + (right - left) * across
    grid = torch.stack([y[:, :, None].expand(-1, -1, w), x[:, None, :].expand(-1, h, -1)], 3)
    return grid.flatten(1, 2)


def _diagonal(maps: Tensor, boxes: Tensor) -> Tensor:
    h, w = maps.shape[2:]
    top, left, bottom, right = boxes.double().T
    return torch.hypot((bottom - top) / h, (right - left) / w)
