"""Exponentials of whole tiles of scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG2_E = 1 / math.log(2)


def exponential(x: Tensor, scale: float = 1.0, out: Tensor | None = None) -> Tensor:
    """e^(scale x), in a new tensor or in `out`, which may be x.

    On a CPU it is a power of 2, which torch works out in a third of the time of one of e. The product with log2(e) is
    rounded, so that the result is good to about |scale x| units in the last place, as x itself is.

    >>> exponential(torch.tensor([0.0, 1.0, -torch.inf]))
    tensor([1.0000, 2.7183, 0.0000])
    """
    if x.device.type == "cpu":
        return torch.mul(x, scale * LOG2_E, out=out).exp2_()
    return torch.exp(x if scale == 1 else torch.mul(x, scale, out=out), out=out)
