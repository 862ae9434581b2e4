"""Random numbers of a method that are the same in all processes, other ones in each step, and part of the state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Draws(nn.Module):
    """A seed of its own, drawn once, and a step that says which numbers come next.

    >>> draws = Draws()
    >>> one = torch.rand(2, generator=draws.generator("cpu"))
    >>> torch.equal(torch.rand(2, generator=draws.generator("cpu")), one)
    True
    """

    seed: Tensor
    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.register_buffer("step", torch.tensor(0))

    @property
    def number(self) -> int:
        """The seed of this step."""
        return int(self.seed) + int(self.step)

    def generator(self, device: torch.device | str) -> torch.Generator:
        """The generator of this step."""
        return torch.Generator(device).manual_seed(self.number)

    def after_step(self, step: int) -> None:
        """Other numbers from now on."""
        self.step.fill_(step + 1)
