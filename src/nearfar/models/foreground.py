"""Foreground and background of feature maps by their first principal component, and how two pictures agree in both."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from nearfar.errors import DataError

TINY = 1e-7


class Foreground:
    """Tells foreground from background in the cells of feature maps, by one direction that was found in many of them.

    The direction is the first principal component of all cells, turned so that cells score higher the nearer they are
    to the middle of their picture, where things mostly are. That turn is a choice of this package; the published code
    takes the component as its PCA gives it.

    Args:
        maps: (B, C, h, w) of many pictures, with three cells at least each way.

    Raises:
        DataError: the maps are smaller, or all cells are equal.

    Source: Li et al. 2024, GenView; xiaojieli0903/genview, mmpretrain/models/selfsup/simsiam.py.
    """

    def __init__(self, maps: Tensor) -> None:
        b, c, h, w = maps.shape
        if min(h, w) < 3:
            raise DataError(f"maps of {h} x {w} cells have no middle and margin; larger pictures give larger maps")
        cells = maps.detach().double().permute(0, 2, 3, 1).reshape(-1, c)
        cells = cells - cells.mean(0)
        values, vectors = torch.linalg.eigh(cells.T @ cells / len(cells))
        if not bool(values[-1] > 0):
            raise DataError("the cells of all maps are equal, so that nothing tells foreground from background")
        down, across = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        margin = (down.square() + across.square()).double().to(cells.device).flatten()
        inwards = (margin.mean() - margin) @ (cells @ vectors[:, -1]).view(b, -1).mean(0)
        self.direction = vectors[:, -1] * (-1.0 if inwards < 0 else 1.0)

    def mask(self, maps: Tensor) -> Tensor:
        """(B, h, w) from 0, the cell of a picture that is background most, to 1; all 0 where its cells are equal."""
        scores = torch.einsum("bchw,c->bhw", maps.double(), self.direction)
        low, high = scores.amin((1, 2), keepdim=True), scores.amax((1, 2), keepdim=True)
        return (scores - low) / (high - low + TINY)

    def pooled(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) each: the mean cell weighted by the mask, and by what is left of it."""
        mask, cells = self.mask(maps), maps.double()

        def over(weights: Tensor) -> Tensor:
            return torch.einsum("bchw,bhw->bc", cells, weights / (weights.sum((1, 2), keepdim=True) + TINY))

        return over(mask), over(1 - mask)

    def agreement(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) cosines of the foregrounds and of the backgrounds of two maps each.

        What a pair is worth is the first less the second: the same thing before something else.
        """
        (front, back), (front2, back2) = self.pooled(one), self.pooled(other)
        return cosine_similarity(front, front2), cosine_similarity(back, back2)


def noise_level(share: float) -> int:
    """How much noise a generator should add to a picture of which this share is foreground: 0 to 400 in steps of 100.

    >>> [noise_level(share) for share in (0.0, 0.19, 0.2, 0.95, 1.0)]
    [0, 0, 100, 400, 400]
    """
    return 100 * min(int(5 * share + 1e-9), 4)
