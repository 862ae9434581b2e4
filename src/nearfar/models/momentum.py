"""A moving copy of a module: the slow network whose outputs are keys, targets or a teacher's opinion."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import nn


class MomentumCopy(nn.Module):
    """A copy of a module without gradient, which follows the original by an exponential moving average.

    `follow(module, m)` is  theta' <- m theta' + (1 - m) theta  for every parameter and every buffer of floating point;
    other buffers (counters) are taken over. m = 1 thus freezes the copy and m = 0 makes it equal, bit for bit.

    In training the norms of the copy normalise by its own batch, as in the official code of MoCo, BYOL and DINO.
    Those update the running statistics of the copy by its own passes; here running statistics follow the original like
    all else, so that the copy never changes by being asked.

    >>> original = nn.Linear(2, 2)
    >>> copy = MomentumCopy(original)
    >>> copy(torch.ones(1, 2)).requires_grad
    False
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = deepcopy(module).requires_grad_(False)
        for part in self.module.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase):
                # Only says who writes the running statistics; in evaluation they are still what is used.
                part.track_running_stats = False

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """What the copy makes of the inputs, without gradient."""
        return self.module(*inputs)

    @torch.no_grad()
    def follow(self, module: nn.Module, momentum: float) -> None:
        """One step towards `module`, which is built like the copy; momentum in [0, 1], 1 stays."""
        own, theirs = self.module.state_dict(), module.state_dict()
        for name, value in own.items():
            if value.is_floating_point() and momentum > 0:
                value.mul_(momentum).add_(theirs[name], alpha=1 - momentum)
            else:
                value.copy_(theirs[name])


class StillCopy(MomentumCopy):
    """A moving copy that is always as in evaluation: without dropout, and with running statistics.

    >>> StillCopy(nn.Dropout(0.5)).train()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.module.eval()

    def train(self, mode: bool = True) -> StillCopy:
        """Itself: the module it holds stays in evaluation."""
        super().train(mode)
        self.module.eval()
        return self


class FrozenCopy(StillCopy):
    """A still copy that stays what the module was when it was made: an opinion that learning does not change.

    >>> FrozenCopy(nn.Linear(2, 2)).follow(nn.Linear(2, 2), 0.5)
    Traceback (most recent call last):
    ...
    TypeError: a frozen copy follows nothing
    """

    def follow(self, module: nn.Module, momentum: float) -> None:
        """Refused."""
        raise TypeError("a frozen copy follows nothing")


def ramp(step: int, total_steps: int, start: float, end: float = 1.0) -> float:
    """The momentum of step `step` (from 0) of `total_steps`: a half cosine from `start` to `end`.

    end - (end - start) (1 + cos(pi step / total)) / 2. Source: Grill et al. 2020, section 3.2.

    >>> ramp(0, 10, 0.9), ramp(5, 10, 0.9), ramp(10, 10, 0.9)
    (0.9, 0.95, 1.0)
    """
    return end - (end - start) * (1 + math.cos(math.pi * step / total_steps)) / 2
