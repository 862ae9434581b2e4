"""Numbers that an objective may learn: the temperature, which always divides the score, and an additive bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


class _Held(torch.autograd.Function):
    """Clamp whose gradient still passes at and beyond a bound where it leads back inside.

    The plain clamp has no gradient beyond its bounds: one step too far and the number would never learn again.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, low: float, high: float) -> Tensor:
        """The number kept inside [low, high]."""
        ctx.save_for_backward(x)
        ctx.bounds = low, high  # type: ignore[attr-defined]
        return x.clamp(low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        """Zero only where descent would lead further outside."""
        (x,), (low, high) = ctx.saved_tensors, ctx.bounds
        outward = ((x < low) & (upstream > 0)) | ((x > high) & (upstream < 0))
        return torch.where(outward, 0, upstream), None, None


class LearnedTemperature(nn.Module):
    """A temperature that is trained with the encoder, stored as log(1 / temperature) and kept inside [low, high].

    Radford et al. 2021 store the same logarithm and clip the inverse at 100, the default `low` here.

    >>> temperature = LearnedTemperature(0.07)
    >>> round(temperature().item(), 4)
    0.07
    """

    def __init__(self, initial: float = 0.07, low: float = 0.01, high: float = 10.0) -> None:
        super().__init__()
        if not 0 < low <= initial <= high:
            raise ValueError(f"the temperature must start inside [low, high], got {initial} for [{low}, {high}]")
        self.low, self.high = low, high
        self.log_inverse = nn.Parameter(torch.tensor(-math.log(initial)))

    def forward(self) -> Tensor:
        """The temperature now, a scalar tensor."""
        return torch.exp(-_Held.apply(self.log_inverse, -math.log(self.high), -math.log(self.low)))

    def extra_repr(self) -> str:
        """The value now and its range."""
        return f"{float(self().detach()):.4g} in [{self.low:g}, {self.high:g}]"


class LearnedBias(nn.Module):
    """A bias added to every score and trained with the encoder (SigLIP starts it at -10).

    A list of numbers makes one bias per class, where an objective takes those.

    >>> LearnedBias([1.2] * 3)().shape
    torch.Size([3])
    """

    def __init__(self, initial: float | Sequence[float] = 0.0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(initial, dtype=torch.float32))

    def forward(self) -> Tensor:
        """The bias now: a scalar tensor, or (C,) of C classes."""
        return self.bias

    def extra_repr(self) -> str:
        """The value now; of several classes their range."""
        low, high = (f"{float(x):.4g}" for x in torch.aminmax(self.bias.detach()))
        return f"{len(self.bias)} classes, {low} to {high}" if self.bias.ndim else low


def current(number: float | Tensor | nn.Module) -> float | Tensor:
    """The value now of a fixed or learned number."""
    return number() if isinstance(number, nn.Module) else number
