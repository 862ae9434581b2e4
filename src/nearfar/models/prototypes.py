"""Prototypes: directions that rows are compared with, in place of other rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class Prototypes(nn.Module):
    """K directions; a row (B, width) gets K scores, the cosine with each.

    The weight is normalised whenever it is used, so that the optimiser may leave the sphere. SwAV's code renormalises
    the weight itself before every step, and DINO's holds the length of a weight-normalised layer at 1; the scores are
    the same.

    >>> prototypes = Prototypes(width=4, count=10)
    >>> bool(prototypes(torch.randn(3, 4)).abs().max() <= 1.00001)
    True
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(normalize(torch.randn(count, width), dim=1))

    def forward(self, rows: Tensor, frozen: bool = False) -> Tensor:
        """Scores (B, K) in [-1, 1]; `frozen` keeps the gradient from the prototypes."""
        weight = self.weight.detach() if frozen else self.weight
        return linear(normalize(rows, dim=1), normalize(weight, dim=1))
