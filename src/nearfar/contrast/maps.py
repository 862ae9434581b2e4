"""Maps: elementwise functions of scores that know their derivative, for the `of` of a reduction.

Any function that autograd can follow will do as `of`. A `Map` says its derivative by itself, so that a tile is not
mapped once more in the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import threshold

from .exponential import exponential


class Map:
    """Base: a function of scores and of the tensors `given` to the reduction."""

    picks: ClassVar[bool] = False  # a mapped score is the score itself, or infinite where it is not to be picked
    difference: ClassVar[bool] = False  # a function of scores less one tensor that is given: its slope is minus theirs

    def __call__(self, scores: Tensor, *given: Tensor) -> Tensor:
        """The mapped scores, in a new tensor."""
        raise NotImplementedError

    def slopes(self, scores: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """The derivatives with respect to the scores and to each of the given tensors, shaped like the scores, in new
        tensors, which may be used up."""
        raise NotImplementedError

    def slope(self, scores: Tensor, *given: Tensor) -> Tensor:
        """The first of `slopes`, where nothing that is given wants a gradient."""
        return self.slopes(scores, *given)[0]


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), exact for any x, and a third of the time of torch's own on a CPU.

    With e = e^-|x| it is max(x, 0) + 2 artanh(e / (2 + e)), for torch works out artanh in vectors and log1p often not.

    >>> [round(x, 6) for x in softplus(torch.tensor([-100.0, 0.0, 100.0])).tolist()]
    [0.0, 0.693147, 100.0]
    """
    e = x.abs()
    exponential(e, -1.0, out=e)
    return e.div_(e + 2).atanh_().mul_(2).add_(x.clamp(min=0))


@dataclass(frozen=True)
class Softplus(Map):
    """softplus(sign (s + b)), b being the sum of what is given."""

    sign: float = 1.0

    def __call__(self, scores: Tensor, *given: Tensor) -> Tensor:
        """See `Map`."""
        return _Softplus.apply(self._inner(scores, given))

    def slopes(self, scores: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """See `Map`."""
        slope = self._inner(scores, given).sigmoid()
        slope = slope if self.sign == 1 else slope.mul_(self.sign)
        return (slope,) * (1 + len(given))

    def _inner(self, scores: Tensor, given: tuple[Tensor, ...]) -> Tensor:
        total = scores
        for each in given:
            total = total + each
        return total if self.sign == 1 else self.sign * total


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return softplus(x)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor], output: Tensor) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, upstream: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return upstream * x.sigmoid()


@dataclass(frozen=True)
class Hinge(Map):
    """[margin + sign s]_+, or its square over 2."""

    margin: float = 0.0
    sign: float = 1.0
    squared: bool = False

    def __call__(self, scores: Tensor, *given: Tensor) -> Tensor:
        """See `Map`."""
        value = self._inner(scores).relu()
        return value.square() / 2 if self.squared else value

    def slopes(self, scores: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """See `Map`."""
        slope = self._inner(scores).relu()
        slope = slope if self.squared else slope.sign_()
        return (slope if self.sign == 1 else slope.mul_(self.sign),)

    def _inner(self, scores: Tensor) -> Tensor:
        return (scores if self.sign == 1 else self.sign * scores) + self.margin


@dataclass(frozen=True)
class Excess(Map):
    """[margin + s - t]_+ of scores s beyond a score t that is given, or with `count` 1 where that is above 0."""

    difference: ClassVar[bool] = True
    margin: float = 0.0
    count: bool = False

    def __call__(self, scores: Tensor, *given: Tensor) -> Tensor:
        """See `Map`."""
        excess = scores - (given[0] - self.margin)
        return excess.clamp_(0, 1).ceil_() if self.count else excess.relu_()  # not a number stays what it is

    def slopes(self, scores: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """See `Map`."""
        slope = self.slope(scores, *given)
        return slope, -slope

    def slope(self, scores: Tensor, *given: Tensor) -> Tensor:
        """See `Map`."""
        slope = (scores - (given[0] - self.margin)).relu_().sign_()
        return slope.zero_() if self.count else slope


@dataclass(frozen=True)
class Sigmoid(Map):
    """1 / (1 + e^(t - s)) of scores s and a score t that is given: close to 1 where s is the larger one."""

    difference: ClassVar[bool] = True

    def __call__(self, scores: Tensor, *given: Tensor) -> Tensor:
        """See `Map`."""
        return (scores - given[0]).sigmoid_()

    def slopes(self, scores: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """See `Map`."""
        slope = self.slope(scores, *given)
        return slope, -slope

    def slope(self, scores: Tensor, *given: Tensor) -> Tensor:
        """See `Map`."""
        value = self(scores, *given)
        return torch.addcmul(value, value, value, value=-1, out=value)


@dataclass(frozen=True)
class Below(Map):
    """s where it is below a score t that is given, else -inf."""

    picks: ClassVar[bool] = True

    def __call__(self, scores: Tensor, *given: Tensor) -> Tensor:
        """See `Map`; without a mask, which would take many times longer than arithmetic."""
        return scores + threshold(given[0] - scores, 0, -torch.inf).clamp(max=0)

    def slopes(self, scores: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """See `Map`."""
        slope = (given[0] - scores).relu_().sign_()
        return slope, torch.zeros_like(slope)
