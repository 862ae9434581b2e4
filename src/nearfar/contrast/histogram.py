"""Soft histograms: how many values lie at each of some bins, each value shared out to the two that it lies between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .pairs import Weights
from .reductions import Joint, State


@dataclass(frozen=True)
class Histogram(Joint):
    """sum_j w_ij [1 - |v_ij / step - k|]_+ for the bins k = 0 to `last`, (n, last + 1); 0 over nothing.

    Bins lie at the values 0, step, 2 step and so on; a value exactly at one has slope 0.

    Args:
        last: number of the last bin, of which the first is 0.
        step: distance of two bins; below 0 where values are.
    """

    last: int = 1
    step: float = 1.0

    def empty(self, n: int, like: Tensor) -> State:
        """Zeros."""
        return (like.new_zeros(n, self.last + 1),)

    def parts(self, scores: Tensor, weights: Weights) -> Iterator[Tensor]:
        """How far each value lies below a bin, from 0 to 1: two quick passes for each bin.

        To scatter the values would take longer on a CPU.
        """
        soft = weights.dense is not None and weights.dense.dtype != torch.bool
        places = (scores if soft else weights.fill(scores, math.copysign(math.inf, self.step))) / -self.step
        part = torch.empty_like(places)
        quick = not soft and places.numel() and places.device.type == "cpu"
        low, high = (float(end) for end in torch.aminmax(places)) if quick else (-math.inf, math.inf)
        for k in range(self.last + 2):
            if high + k <= 0 or low + k >= 1:  # a bin beyond all values, or before them
                yield places.new_full((1, 1), float(low + k >= 1)).expand_as(places)
                continue
            torch.add(places, k, out=part).clamp_(0, 1)
            yield weights.zero_(part) if soft else part

    def collected(self, sums: list[Tensor]) -> State:
        """Differences of how many lie below a bin. A sum of all bins up to one is as exact as a sum of values."""
        return (torch.stack(sums).diff(dim=0).T,)

    def value(self, state: State) -> Tensor:
        """The shares of the bins."""
        return state[0]

    def rates(self, state: State, upstream: Tensor) -> State:
        """(g of the bin above - g of the bin below) / step, by the sum of the numbers of both; 0 even at a bin."""
        g = torch.nn.functional.pad(upstream, (1, 1))
        slopes = upstream.new_zeros(len(upstream), 2 * self.last + 7)
        slopes[:, 2:-2:2] = g.diff(dim=1) / self.step
        return (slopes,)

    def slope(self, scores: Tensor, weights: Weights, ends: list[tuple[State, bool]]) -> Tensor:
        """Looked up in the rates of each end."""
        places = scores.contiguous() / self.step
        # Clamped as whole numbers, for not a number is one of them too; there the upstream gradient says so.
        between = places.floor().add_(places.ceil_()).long().clamp_(-3, 2 * self.last + 3).add_(3)
        found = [
            rates.T.gather(0, between) if transposed else rates.gather(1, between) for (rates,), transposed in ends
        ]
        return weights.zero_(found[0] if len(found) == 1 else found[0].add_(found[1]))

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """Add up by row, with two bins beyond each end for what lies out there."""
        places, width = values / self.step, self.last + 5
        low = places.detach().floor().nan_to_num(0.0)
        over = torch.where(places.detach() == low, 0, places - low)
        at = low.clamp(-2, self.last + 1).long() + 2 + rows * width
        out = values.new_zeros(n * width)
        for bin, share in ((at, 1 - over), (at + 1, over)):
            out = out.index_add(0, bin, share if weights is None else share * weights)
        return out.view(n, width)[:, 2:-2]
