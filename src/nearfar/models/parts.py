"""An encoder of two parts, each with a network of its own."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class TwoParts(nn.Module):
    """What two encoders that are built alike make of the same rows, each through a linear layer, side by side.

    The second begins as a copy of the first; the linear layers, which are few numbers wide, begin apart. All else that
    is asked of it (what rows it takes, how they are prepared) the first one answers.

    Args:
        encoder: the first; it has a `width`. width: of each part.

    >>> encoder = nn.Linear(5, 8)
    >>> encoder.width = 8
    >>> parts = TwoParts(encoder, 3)
    >>> parts.width, parts(torch.zeros(2, 5)).shape
    (6, torch.Size([2, 6]))
    """

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        inside = int(encoder.width)  # type: ignore[arg-type]
        self.first, self.second = encoder, deepcopy(encoder)
        self.to_first, self.to_second = nn.Linear(inside, width), nn.Linear(inside, width)
        self.width = 2 * width

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("first"), name)

    def twins(self) -> list[nn.Module]:
        """The encoders side by side, whose stages are frozen and slowed down together."""
        return [self.first, self.second]

    def forward(self, rows: Tensor) -> Tensor:
        """(N, 2 width): the first part, then the second."""
        return torch.cat([self.to_first(self.first(rows)), self.to_second(self.second(rows))], 1)
