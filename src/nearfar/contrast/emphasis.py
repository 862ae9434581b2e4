"""Means in which the worse a pair violates a margin, the more it weighs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import threshold

from .exponential import exponential
from .pairs import Weights
from .reductions import Joint, State


@dataclass(frozen=True)
class Emphasised(Joint):
    """sum_j w_ij h_ij e^(rate h_ij) / sum_j w_ij e^(rate h_ij) where h = [margin + sign v]_+ > 0.

    0 where no pair has any. Gradients flow through the weights e^(rate h) too.

    Args:
        margin: added to the scores.
        sign: 1 where large scores are in excess, -1 where small ones are.
        rate: how much more a worse pair weighs, not below 0; with 0 all pairs in excess weigh alike.
    """

    margin: float = 0.0
    sign: float = 1.0
    rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rate >= 0:
            raise ValueError(f"rate says how much more a worse pair weighs, not below 0, got {self.rate!r}")

    def empty(self, n: int, like: Tensor) -> State:
        """Zeros."""
        return like.new_zeros(n), like.new_zeros(n)

    def parts(self, scores: Tensor, weights: Weights) -> Iterator[Tensor]:
        """The weight of every pair, and the excess times the weight."""
        h, weight = self._weighed(scores, weights)
        yield weight
        yield h.mul_(weight)

    def value(self, state: State) -> Tensor:
        """The ratio."""
        return state[1] / torch.where(state[0] > 0, state[0], 1)

    def rates(self, state: State, upstream: Tensor) -> State:
        """Of g (1 + rate (h - value)) / sum W, what stands alone and what stands with h."""
        share = upstream / torch.where(state[0] > 0, state[0], 1)
        return share * (1 - self.rate * self.value(state)), share * self.rate

    def slope(self, scores: Tensor, weights: Weights, ends: list[tuple[State, bool]]) -> Tensor:
        """W (alone + h beside) sign, with the rates of both ends added up."""
        h, weight = self._weighed(scores, weights)
        each = [[rate if transposed else rate[:, None] for rate in rates] for rates, transposed in ends]
        alone, beside = each[0] if len(each) == 1 else (a + b for a, b in zip(*each, strict=True))
        slope = torch.addcmul(alone, beside, h, out=h).mul_(weight)
        return slope if self.sign == 1 else slope.mul_(self.sign)

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """The mean by row."""
        h = (self.sign * values + self.margin).relu()
        weight = (self.rate * h).exp() * (h > 0)
        weight = weight if weights is None else weight * weights
        total, excess = (values.new_zeros(n).index_add(0, rows, each) for each in (weight, weight * h))
        return excess / torch.where(total > 0, total, 1)

    def _weighed(self, scores: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """The excess of every pair, and its weight: 0 without excess."""
        h = torch.add(scores, self.margin) if self.sign == 1 else torch.rsub(scores, self.margin)
        h.relu_()
        # An excess so small that e^(rate h) is 1 is none; not a number stays what it is by the excess.
        weight = threshold(exponential(h, self.rate), 1.0, 0.0, inplace=True) if self.rate else h.sign()
        return h, weights.zero_(weight)
