"""Contrast about a centre."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from case import Case
from golden import others
from oracles import Arranged, Matrix, ScoreMatrix, cosine, mean, unit
from oracles_pairs import infonce
from torch import Tensor

from nearfar.contrast import ShiftedCosine
from nearfar.objectives import MeanShifted

CENTRE = 0.5  # in all columns


def from_centre(u: Tensor, v: Tensor) -> Tensor:
    return cosine(unit(u) - CENTRE, unit(v) - CENTRE)


def pulled(weight: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        held = [(unit(z) - CENTRE).square().sum() for z, p in zip(rows.anchors, near, strict=True) if any(p)]
        return infonce(s, near, far, t, b) + weight * mean(held)

    return value


def at_centre(**more: Any) -> Callable[[], MeanShifted]:
    return lambda: MeanShifted(similarity=ShiftedCosine((CENTRE,)), **more)


CASES = [
    Case("MeanShifted", MeanShifted, "joint", infonce, cosine, softmax=True),
    Case("MeanShifted centre", at_centre(), "joint", infonce, from_centre),
    Case("MeanShifted pull", at_centre(pull=2.0), "joint", pulled(2.0), from_centre),
]
GOLDEN: dict = {
    "MeanShifted": [],
    "MeanShifted centre": [("views", 1.035589, 1.605855, 1.429077)],
    # + 2 mean |z - c|^2 = 2 (1 + .75 - mean of the sums of the unit rows of A and B)
    "MeanShifted pull": [("views", 1.999413, None, None)],
}
CHANCE = {"MeanShifted": others, "MeanShifted centre": None, "MeanShifted pull": None}
COLLAPSED: dict = {
    "MeanShifted centre": others,
    # All rows point to (1, 1, 1).
    "MeanShifted pull": lambda n, d: math.log(2 * n - 1) + 2 * 3 * (3**-0.5 - 0.5) ** 2,
}
