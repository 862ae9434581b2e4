"""One case of the contract battery: an objective as configured, and what judges it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from oracles import Arranged, all_scores
from torch import Tensor

from nearfar.contrast import LearnedTemperature

SWEPT = {"AlignUniform", "DecoupledUniformity", "MMD", "SepCLR", "MultipleNegatives", "Matryoshka"}
SWEPT |= {"AdaptiveMargin", "ListMLE", "ListNet"}


def nothing(n: int) -> dict[str, Any]:
    """No keyword arguments."""
    return {}


@dataclass(frozen=True)
class Case:
    """One objective as configured, and what judges it.

    layout: "joint", "apart" or "cross" as the published objective has it, "views" for those that compare no pairs.
    oracle: of a comparing objective (s, near, far, t, b) -> value, see `oracles.py`; it may also ask by name for
        `rows`, the `Arranged` batch, and `learned`, the leaves of the objective's learned numbers. Of "views" it takes
        the two matrices, and what `how` gives, by name.
    score: how the oracle scores two rows; None for "views".
    constant: something is taken as a constant, which has no numerical gradient: the oracle judges the gradient.
    least: rows that the objective needs, where it compares no pairs.
    in_order: which rows stand next to each other is part of the value.
    how: for "views", further keyword arguments for a batch of N rows; tensors of N rows belong to the rows.
    listed: the objective needs near pairs that can be listed one by one.
    far: far candidates have a say.
    matched: rows of the two views belong together one to one; if not, they may be of different numbers.
    views: of those that compare no pairs, how many they are called with.
    fades: the gradient of a pair fades whichever way it is decided, so that what is left is small beside its parts.
    """

    name: str
    make: Callable[[], torch.nn.Module]
    layout: str
    oracle: Callable[..., Tensor]
    score: Callable[[Tensor, Tensor], Tensor] | None = None
    softmax: bool = False
    constant: bool = False
    least: int = 2
    in_order: bool = False
    how: Callable[[int], dict[str, Any]] = nothing
    listed: bool = False
    far: bool = True
    matched: bool = True
    views: int = 2
    fades: bool = False

    @property
    def entry(self) -> str:
        return self.name.split()[0]

    @property
    def compares(self) -> bool:
        return self.layout != "views"

    @property
    def swept(self) -> bool:
        """Whether there are scores to visit: of pairs that are compared, or of rows."""
        return self.compares or self.entry in SWEPT

    def objective(self) -> torch.nn.Module:
        """The objective in float64, learned numbers at exactly their published start."""
        made = self.make().double()
        for module in made.modules():
            if isinstance(module, LearnedTemperature):
                with torch.no_grad():
                    module.log_inverse.copy_(torch.tensor(-math.log(round(float(module()), 6)), dtype=torch.float64))
        return made

    def naive(self, rows: Arranged, objective: torch.nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
        """The oracle's value, and the leaves that stand for the objective's learned numbers."""
        leaves = {k: p.detach().clone().requires_grad_() for k, p in objective.named_parameters()}
        learned_t, learned_b = leaves.get("temperature.log_inverse"), leaves.get("bias.bias")
        t = torch.tensor(1.0 if learned_t is not None else objective.temperature, dtype=torch.float64)
        t = (-learned_t).exp() if learned_t is not None else t
        b = (
            learned_b
            if learned_b is not None
            else torch.tensor(float(getattr(objective, "bias", 0.0)), dtype=torch.float64)
        )
        s = all_scores(self.score, rows.anchors, rows.candidates)
        asked = inspect.signature(self.oracle).parameters
        extra = {name: value for name, value in (("rows", rows), ("learned", leaves)) if name in asked}
        return self.oracle(s, rows.near, rows.far, t, b, **extra), leaves


def learned(value: float) -> LearnedTemperature:
    return LearnedTemperature(value)


def rows(seed: int, n: int, width: int = 3) -> Tensor:
    """Random rows, none of them special."""
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
