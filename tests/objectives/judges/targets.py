"""Judges of objectives for continuous targets."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from case import Case
from oracles import Matrix, ScoreMatrix, cosine, listed, log_sum, mean, once
from torch import Tensor

from nearfar.objectives import ConR, confused


def conr(compat: bool) -> Callable[..., Tensor]:
    """A mean over all anchors, of which those without near or without far candidates have the value 0."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p = listed(near[i])
            if not p or not listed(far[i]):
                values.append(s[i][0] * 0)
                continue
            terms = [(s[i][j] / t, w) for j, w in once(near[i], far[i])]
            if compat:
                terms += [(s[i][0] * 0, 1.0)] * (len(s[i]) - len(p))
            values.append(log_sum(terms) - sum(w * s[i][j] / t for j, w in p) / sum(w for _, w in p))
        return mean(values)

    return value


def four_ages(objective: Callable[..., Tensor], a: Tensor, b: Tensor, **how: object) -> Tensor:
    """The rows of A with targets and predictions, at the published temperature."""
    y, p = (torch.tensor(x, dtype=torch.float64) for x in ([1, 2, 4, 5], [1, 3, 3.5, 5]))
    return objective.replace(temperature=0.07)(a, relation=confused(y, p), **how)


CASES = [
    Case("ConR", lambda: ConR(temperature=0.5), "joint", conr(False), cosine, softmax=True),
    Case("ConR compat", lambda: ConR(temperature=0.5, compat=True), "joint", conr(True), cosine, softmax=True),
]

GOLDEN = {
    "ConR": [(four_ages, 0.351599, 5.311071, 0)],
    "ConR compat": [(four_ages, 0.806735, 5.193450, 0)],
}
CHANCE = {
    "ConR": lambda n, d: math.log(2 * n - 1),
    "ConR compat": lambda n, d: math.log(2 * (2 * n - 1)),
}
COLLAPSED = {"ConR compat": lambda n, d: math.log(2 * n - 1) + math.log(1 + math.exp(-2))}
