"""Reductions: one statistic per anchor over its near, far or any candidates.

A reduction is a commutative monoid with a derivative, which is all that a strategy needs to know of it:

    empty(n)                    the state of n anchors that have seen nothing
    measure(values, weights)    the state that one block gives its rows
    merge(a, b)                 the state after both
    update(state, ...)          `merge` with what `measure` gives, for less work where that can be
    value(state)                the statistic, (n,)
    grad(...)                   d loss / d values of a block, one of those that were measured, from the final state and
                                the upstream gradient

`of` maps scores before they are reduced: an elementwise function of the scores and of the tensors `given`, each a
scalar or one number per anchor. Gradients reach the given tensors too, so that one reduction may depend on another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from .exponential import exponential
from .pairs import Weights

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Reduction:
    """Base of the reductions, over the "near", the "far" or "any" candidates (near and far together)."""

    over: str
    of: Callable[..., Tensor] | None = None
    given: tuple[Tensor, ...] = field(default=())
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.over not in ("near", "far", "any"):
            raise ValueError(f"a reduction runs over 'near', 'far' or 'any', not {self.over!r}")

    @property
    def even(self) -> bool:
        """True when scores are mapped alike for all anchors: nothing that is given is per anchor."""
        return all(t.ndim == 0 for t in self.given)

    def empty(self, n: int, like: Tensor) -> State:
        """The neutral state."""
        raise NotImplementedError

    def measure(self, values: Tensor, weights: Weights, start: int) -> State:
        """The state of the rows of one block whose first candidate is number `start`."""
        raise NotImplementedError

    def merge(self, a: State, b: State) -> State:
        """Both states in one."""
        raise NotImplementedError

    def update(self, state: State, values: Tensor, weights: Weights, start: int) -> State:
        """The state after one more block."""
        return self.merge(state, self.measure(values, weights, start))

    def value(self, state: State) -> Tensor:
        """The statistic per anchor."""
        raise NotImplementedError

    def grad(self, values: Tensor, weights: Weights, state: State, upstream: Tensor, start: int) -> Tensor:
        """Derivative of the loss with respect to the values of a block, in a new matrix."""
        raise NotImplementedError

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """The same statistic from values listed one by one with their row: ordinary autograd code."""
        raise NotImplementedError


@dataclass(frozen=True)
class Joint(Reduction):
    """Base of statistics of several sums over the same pairs: a tile is mapped once for all whom it serves.

    A subclass says the `parts`, matrices like the block whose sums are added up, already weighed; the `rates`, what an
    anchor brings to its derivative; and the `slope` of a block from the rates of one end or of both.
    """

    def parts(self, scores: Tensor, weights: Weights) -> Iterator[Tensor]:
        """The matrices to be summed, one after another; each may be overwritten by the next."""
        raise NotImplementedError

    def collected(self, sums: list[Tensor]) -> State:
        """The state of a block from the sums of its parts, (n,) each; states are added up."""
        return tuple(sums)

    def rates(self, state: State, upstream: Tensor) -> State:
        """What each anchor brings, (n, ...)."""
        raise NotImplementedError

    def slope(self, scores: Tensor, weights: Weights, ends: list[tuple[State, bool]]) -> Tensor:
        """d loss / d scores of a block, in a new matrix: of its anchors and, with True, of its candidates."""
        raise NotImplementedError

    def measure(self, values: Tensor, weights: Weights, start: int) -> State:
        """Sums of the rows."""
        return self.collected([part.sum(1) for part in self.parts(values, weights)])

    def merge(self, a: State, b: State) -> State:
        """Add."""
        return tuple(x + y for x, y in zip(a, b, strict=True))

    def grad(self, values: Tensor, weights: Weights, state: State, upstream: Tensor, start: int) -> Tensor:
        """The slope of one end."""
        return self.slope(values, weights, [(self.rates(state, upstream), False)])


@dataclass(frozen=True)
class Sum(Reduction):
    """sum_j w_ij v_ij; 0 over nothing."""

    def empty(self, n: int, like: Tensor) -> State:
        """Zeros."""
        return (like.new_zeros(n),)

    def measure(self, values: Tensor, weights: Weights, start: int) -> State:
        """Sums of the rows."""
        return (weights.times(values).sum(1),)

    def merge(self, a: State, b: State) -> State:
        """Add."""
        return (a[0] + b[0],)

    def value(self, state: State) -> Tensor:
        """The sum."""
        return state[0]

    def rate(self, state: State, upstream: Tensor) -> Tensor:
        """(n,) the derivative for each unit of weight: g."""
        return upstream

    def grad(self, values: Tensor, weights: Weights, state: State, upstream: Tensor, start: int) -> Tensor:
        """w g."""
        return weights.zero_(upstream[:, None].repeat(1, values.shape[1]))

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """Add up by row."""
        values = values if weights is None else values * weights
        return values.new_zeros(n).index_add(0, rows, values)


@dataclass(frozen=True)
class Count(Sum):
    """sum_j w_ij: how many take part, or how much weight they carry. It has no gradient."""

    differentiable: ClassVar[bool] = False

    def measure(self, values: Tensor, weights: Weights, start: int) -> State:
        """Weights of the rows."""
        return (weights.total(values),)

    def grad(self, values: Tensor, weights: Weights, state: State, upstream: Tensor, start: int) -> Tensor:
        """Nothing."""
        return torch.zeros_like(values)

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """Count by row."""
        ones = torch.ones_like(values) if weights is None else weights.to(values.dtype)
        return values.new_zeros(n).index_add(0, rows, ones.detach())


@dataclass(frozen=True)
class Mean(Reduction):
    """sum_j w_ij v_ij / sum_j w_ij; 0 over nothing."""

    def empty(self, n: int, like: Tensor) -> State:
        """Zero sum and zero weight."""
        return like.new_zeros(n), like.new_zeros(n)

    def measure(self, values: Tensor, weights: Weights, start: int) -> State:
        """Sums and weights of the rows."""
        return weights.times(values).sum(1), weights.total(values)

    def merge(self, a: State, b: State) -> State:
        """Add both."""
        return a[0] + b[0], a[1] + b[1]

    def value(self, state: State) -> Tensor:
        """The ratio."""
        return state[0] / torch.where(state[1] > 0, state[1], 1)

    def rate(self, state: State, upstream: Tensor) -> Tensor:
        """(n,) the derivative for each unit of weight: g / sum w."""
        return upstream / torch.where(state[1] > 0, state[1], 1)

    def grad(self, values: Tensor, weights: Weights, state: State, upstream: Tensor, start: int) -> Tensor:
        """w g / sum w."""
        return weights.zero_(self.rate(state, upstream)[:, None].repeat(1, values.shape[1]))

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """Average by row."""
        total = Count(self.over).of_pairs(values, weights, rows, n)
        return Sum(self.over).of_pairs(values, weights, rows, n) / torch.where(total > 0, total, 1)


@dataclass(frozen=True)
class LogSumExp(Reduction):
    """log sum_j w_ij exp(scale v_ij), exact for any range of values; -inf over nothing."""

    scale: float = 1.0

    def empty(self, n: int, like: Tensor) -> State:
        """Maximum -inf, sum 0."""
        return like.new_full((n,), -math.inf), like.new_zeros(n)

    def measure(self, values: Tensor, weights: Weights, start: int) -> State:
        """Maximum of the rows and sum of exponentials relative to it."""
        scaled = weights.fill(values * self.scale, -math.inf)
        top = scaled.amax(1) if scaled.shape[1] else scaled.new_full((scaled.shape[0],), -math.inf)
        shift = torch.where(top > -math.inf, top, 0)
        shifted = scaled - shift[:, None]
        return top, weights.zero_(exponential(shifted, out=shifted)).sum(1)

    def merge(self, a: State, b: State) -> State:
        """Bring both sums to the larger maximum."""
        top = torch.maximum(a[0], b[0])
        shift = torch.where(top > -math.inf, top, 0)
        return top, a[1] * (a[0] - shift).exp() + b[1] * (b[0] - shift).exp()

    def value(self, state: State) -> Tensor:
        """Maximum plus logarithm of the sum."""
        return torch.where(state[1] == 0, -math.inf, state[0] + state[1].log())

    def grad(self, values: Tensor, weights: Weights, state: State, upstream: Tensor, start: int) -> Tensor:
        """g scale w exp(scale v - value)."""
        value = self.value(state)
        value = torch.where(value > -math.inf, value, math.inf)
        soft = (values * self.scale).sub_(value[:, None])
        # What takes no part may lie far above the value; it is zeroed before the exponential could overflow.
        soft = weights.fill(soft, -math.inf)
        return weights.zero_(exponential(soft, out=soft)).mul_((upstream * self.scale)[:, None])

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """Log-sum-exp by row."""
        values = values * self.scale
        if weights is not None:
            values = values + weights.to(values.dtype).log()
        top = values.new_full((n,), -math.inf).scatter_reduce(0, rows, values.detach(), "amax")
        shift = torch.where(top > -math.inf, top, 0)
        total = values.new_zeros(n).index_add(0, rows, (values - shift[rows]).exp())
        none = total == 0
        return torch.where(none, -math.inf, shift + torch.where(none, 1, total).log())


@dataclass(frozen=True)
class Max(Reduction):
    """max_j v_ij over pairs of weight > 0; -inf over nothing. Of equal candidates the first takes the gradient."""

    sign: float = 1.0

    def empty(self, n: int, like: Tensor) -> State:
        """-inf at no candidate."""
        return like.new_full((n,), -math.inf), torch.full((n,), -1, dtype=torch.long, device=like.device)

    def measure(self, values: Tensor, weights: Weights, start: int) -> State:
        """Best of the rows, and which candidate it is."""
        return self.update(self.empty(len(values), values), values, weights, start)

    def merge(self, a: State, b: State) -> State:
        """The better one; of equals the one with the lower number."""
        better = self._better(b[0], b[1], a)
        return torch.where(better, b[0], a[0]), torch.where(better, b[1], a[1])

    def update(self, state: State, values: Tensor, weights: Weights, start: int) -> State:
        """The candidate is looked for only where a block improves on what is known."""
        if not values.shape[1]:
            return state
        known = weights.fill(values, -self.sign * math.inf)
        top = known.amax(1) if self.sign > 0 else -known.amin(1)
        here = self._better(top, torch.where(top > -math.inf, start, -1), state).nonzero().squeeze(1)
        best = top[here]
        place = start + (known[here] == (best * self.sign)[:, None]).to(torch.int8).argmax(1)
        return state[0].index_copy(0, here, best), state[1].index_copy(0, here, place)

    def _better(self, top: Tensor, place: Tensor, state: State) -> Tensor:
        earlier = (top == state[0]) & (place < state[1]) & (place >= 0)
        return (top > state[0]) | earlier | top.isnan()

    def value(self, state: State) -> Tensor:
        """The best value."""
        return state[0] * self.sign

    def grad(self, values: Tensor, weights: Weights, state: State, upstream: Tensor, start: int) -> Tensor:
        """g at the first place of the best."""
        out = torch.zeros_like(values)
        here = ((state[1] >= start) & (state[1] < start + values.shape[1])).nonzero().squeeze(1)
        out[here, state[1][here] - start] = upstream[here]
        return out

    def of_pairs(self, values: Tensor, weights: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """Best by row."""
        if weights is not None:
            values, rows = values[weights > 0], rows[weights > 0]
        signed = values * self.sign
        top = values.new_full((n,), -math.inf).scatter_reduce(0, rows, signed.detach(), "amax")
        place = torch.arange(len(rows), device=rows.device)
        first = rows.new_full((n,), len(rows))
        first = first.scatter_reduce(0, rows, torch.where(signed.detach() == top[rows], place, len(rows)), "amin")
        some = first < len(rows)
        if not len(values):
            return top * self.sign
        return torch.where(some, values[torch.where(some, first, 0)], top * self.sign)


@dataclass(frozen=True)
class Min(Max):
    """min_j v_ij over pairs of weight > 0; +inf over nothing. Of equal candidates the first counts."""

    sign: float = -1.0
