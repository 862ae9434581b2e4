"""Dense objectives: rows are the cells of feature maps, and two crops of one picture share places.

Maps (N, P, D) of P cells are handed over as rows (N P, D), cell after cell and item after item. Which cells are near
is said by a relation: `to_places` makes it from where the crops were cut. Any objective that compares pairs takes it.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import (
    Composition,
    Cosine,
    Count,
    LearnedTemperature,
    Mean,
    PairRelation,
    Pairs,
    Relation,
    Scores,
    Similarity,
    entry,
)
from ..contrast.objective import Terms
from ..contrast.similarity import unit
from .episodes import NadarayaWatson

Grid = tuple[int, int]


def cell_centres(boxes: Tensor, grid: Grid) -> Tensor:
    """(N, h w, 2) where in its picture (down, across) the middle of each cell of a map of h x w cells lies.

    Args:
        boxes: (N, 4) top, left, bottom, right of every crop; of a mirrored crop left is the larger one.
        grid: h and w.

    >>> cell_centres(torch.tensor([[0.0, 8.0, 4.0, 0.0]]), (1, 2)).tolist()    # mirrored: from the right
    [[[2.0, 6.0], [2.0, 2.0]]]
    """
    h, w = grid
    steps = [(torch.arange(k, device=boxes.device, dtype=boxes.dtype) + 0.5) / k for k in (h, w)]
    down, across = (boxes[:, k, None] + (boxes[:, k + 2] - boxes[:, k])[:, None] * steps[k] for k in (0, 1))
    centres = torch.stack([down[:, :, None].expand(-1, h, w), across[:, None, :].expand(-1, h, w)], 3)
    return centres.flatten(1, 2)


def to_places(
    boxes: Tensor, others: Tensor, grid: Grid, other_grid: Grid | None = None, reach: float = 0.7, even: bool = False
) -> Relation:
    """Cells of two crops of the same N pictures: near where both show nearly the same place.

    Near: the middles lie less than `reach` diagonals of a cell apart, of the larger cells of the two crops. Far: the
    other cells of the same picture. Cells of other pictures are ignored. Memory N P P'.

    Args:
        boxes, others: (N, 4) of the crops of view 1 and of view 2, see `cell_centres`.
        grid, other_grid: cells of their maps, down and across; the same for both when left out.
        reach: in diagonals of a cell; 0.7 in PixPro.
        even: near pairs weigh one over their number in the picture, so that every picture counts once.

    >>> box = torch.tensor([[0.0, 0, 4, 4]])
    >>> to_places(box, box, (2, 2)).counts().near.tolist()                     # 0.7 diagonals are just below one cell
    [1, 1, 1, 1]
    >>> to_places(box, box + 9, (2, 2)).counts().near.tolist()                 # crops that share nothing
    [0, 0, 0, 0]
    """
    if len(boxes) != len(others):
        raise ValueError(f"both views are cut from the same pictures, got {len(boxes)} and {len(others)} crops")
    other_grid = other_grid or grid
    middles, other_middles = cell_centres(boxes, grid), cell_centres(others, other_grid)
    diagonals = [
        ((b[:, 2:] - b[:, :2]) / b.new_tensor(g)).norm(dim=1) for b, g in ((boxes, grid), (others, other_grid))
    ]
    apart = torch.cdist(middles, other_middles, compute_mode="donot_use_mm_for_euclid_dist")
    near = apart < reach * torch.maximum(*diagonals)[:, None, None]
    n, p, q = near.shape
    weights = None
    if even:
        share = 1 / near.sum((1, 2)).clamp_min(1).to(boxes.dtype)
        weights = share[:, None, None].expand(n, p, q)[near]
    return PairRelation((n * p, n * q), _listed(near, weights), far=_listed(~near))


def _listed(chosen: Tensor, weights: Tensor | None = None) -> Pairs:
    """The chosen pairs of cells (N, P, P') by row and column among all cells."""
    item, row, column = chosen.nonzero(as_tuple=True)
    return Pairs(item * chosen.shape[1] + row, item * chosen.shape[2] + column, weights)


def best_matches(cells: Tensor, others: Tensor) -> Tensor:
    """(N, P) for every cell (N, P, D) of a picture the most similar cell (N, P', D) of its other view, by cosine.

    Cosines are compared on a grid of 2^-16, and of equal ones the first cell is taken: after a ReLU many cells point
    the same way exactly, and rounding should not choose among them. No gradient. Source: Wang et al. 2021 (DenseCL),
    eq. 4.

    >>> best_matches(torch.eye(2)[None], torch.eye(2).flip(0)[None]).tolist()
    [[1, 0]]
    """
    with torch.no_grad():
        one, other = (unit(c.flatten(0, 1)).view_as(c) for c in (cells, others))
        return (one @ other.transpose(1, 2)).mul_(2**16).round_().argmax(2)


@entry
class PixContrast(NadarayaWatson):
    """Each cell finds the cells of the other crop that show its place, among all cells of that crop.

    The near cells stand together in the numerator. A cell whose place the other crop does not show does not count.

    Shapes: cells (N P, D) of two views with `relation=to_places(...)`; without it, rows of two views as in `InfoNCE`.
    Value >= 0; at chance log of the cells of a map over its near ones.

    >>> box = torch.tensor([[0.0, 0, 4, 4]])
    >>> cells = torch.eye(4)
    >>> value = PixContrast(temperature=0.5)(cells, cells, relation=to_places(box, box, (2, 2)))
    >>> round(float(value), 6)                                                 # log(e^2 + 3) - 2
    0.340753
    """

    formula: ClassVar[str] = "mean_i -log [ sum_(p near) exp(s_ip / t) / sum_(j near or far) exp(s_ij / t) ]"
    source: ClassVar[str] = "Xie et al. 2021 (PixPro), eq. 2; zdaxie/PixPro"
    use: ClassVar[str] = "feature maps should tell places of a picture apart, for detection and segmentation"
    reconstructed: ClassVar[str] = "the loss itself; the official code at hand has the places and PixPro only"
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = "InfoNCE where every row has one near candidate"
    supervised: ClassVar[bool] = False

    similarity: Similarity = field(default_factory=Cosine)
    temperature: float | LearnedTemperature = 0.3


@entry
class PixPro(Composition):
    """Cells of two crops that show the same place agree; nothing is pushed apart.

    The cells of view 1 are smoothed by `nearfar.models.Propagation`, those of view 2 come from a moving copy and are
    constants. With `to_places(..., even=True)` each picture counts once; one whose crops share no place does not count,
    where the official code lets it count as 0.

    Shapes: cells (N P, D) of two views with `relation=to_places(...)`. Value in [-2, 2]; at chance 0, all rows equal
    -2. The official loss adds both directions.

    >>> box = torch.tensor([[0.0, 0, 4, 4]])
    >>> cells = torch.eye(4)
    >>> float(PixPro()(cells, cells, relation=to_places(box, box, (2, 2), even=True)))
    -2.0
    """

    formula: ClassVar[str] = "-2 mean_(i, p near) cos(y_i, x_p)"
    source: ClassVar[str] = "Xie et al. 2021 (PixPro), eq. 5; zdaxie/PixPro contrast/models/PixPro.py"
    use: ClassVar[str] = (
        "as `PixContrast`, without far cells: smoothing, a moving copy and its lack of gradient hold it"
    )
    at_chance: ClassVar[str] = "0"
    equal_to: ClassVar[str] = "CosineRegression(form='cosine'), doubled, where every row has one near candidate"
    layout: ClassVar[str] = "cross"

    def per_anchor(self, scores: Scores) -> Terms:
        """Mean agreement of the near pairs, by their weight."""
        near, weight = scores.reduce(Mean("near"), Count("near"))
        return {"agree": (-2 * near, weight)}
