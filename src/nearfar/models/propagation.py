"""Propagation: each cell of a map is smoothed by the cells that are like it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.errors import ConfigError


class Propagation(nn.Module):
    """y_i = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j) over all cells j of the map, g a linear layer to unit length.

    (B, h, w, width) -> the same.

    Source: Xie et al. 2021 (PixPro), eq. 3 and 4; zdaxie/PixPro contrast/models/PixPro.py.

    Args:
        width: of a cell. gamma: the larger, the more alike cells must be; at least 1.

    >>> Propagation(4)(torch.randn(2, 3, 3, 4)).shape
    torch.Size([2, 3, 3, 4])
    """

    def __init__(self, width: int, gamma: float = 2.0) -> None:
        super().__init__()
        if gamma < 1:
            raise ConfigError(f"propagation: gamma is {gamma}; it must be at least 1")
        self.value, self.gamma = nn.Linear(width, width), gamma

    def forward(self, cells: Tensor) -> Tensor:
        """The smoothed map."""
        flat = cells.flatten(1, -2)
        directions = normalize(flat, dim=2)
        alike = torch.bmm(directions, directions.transpose(1, 2)).relu() ** self.gamma
        return torch.bmm(alike, normalize(self.value(flat), dim=2)).view_as(cells)
