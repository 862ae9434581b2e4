"""Hedged rows, sample by sample."""

from __future__ import annotations

import math
from typing import Any

import torch
from case import Case
from oracles import mean, number
from torch import Tensor

from nearfar.objectives import Hedged


def gaussians(n: int) -> dict[str, Any]:
    """Variances and noise for n rows of two views, of width 3 and 2 samples."""
    draw = torch.Generator().manual_seed(n)
    return {
        "log_variance": 0.5 * torch.randn(n, 2, 3, dtype=torch.float64, generator=draw),
        "noise": torch.randn(n, 2, 2, 3, dtype=torch.float64, generator=draw),
    }


def distance(u: Tensor, v: Tensor) -> Tensor:
    square = (u - v).square().sum()
    return square * 0 if number(square) == 0 else square.sqrt()


def hedged(t: float, b: float, kl: float) -> Any:
    def value(a: Tensor, b_: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        n, rows, divergence = len(a), [], []
        for view, means in enumerate((a, b_)):
            for i in range(n):
                deviation = (log_variance[i, view] / 2).exp()
                rows.append((i, [means[i] + deviation * e for e in noise[i, view]]))
                divergence.append(
                    sum((means[i, d] ** 2 + deviation[d] ** 2 - 1) / 2 - deviation[d].log() for d in range(3))
                )
        near, far = [], []
        for k, (item, one) in enumerate(rows):
            for m, (other_item, other) in enumerate(rows):
                if k == m:
                    continue
                p = mean([torch.sigmoid(b - distance(u, v) / t) for u in one for v in other])
                (near if item == other_item else far).append(-(p if item == other_item else 1 - p).log())
        return mean(near) + mean(far) + 2 * kl * mean(divergence)

    return value


CASES = [
    Case("Hedged", lambda: Hedged(samples=2), "views", hedged(1.0, 0.0, 1e-4), how=gaussians, least=1),
    Case(
        "Hedged fixed",
        lambda: Hedged(samples=2, temperature=0.5, bias=1.0, kl=0.1),
        "views",
        hedged(0.5, 1.0, 0.1),
        how=gaussians,
        least=1,
    ),
]


def certain(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    return objective(a, b, log_variance=torch.full((4, 2, 3), -80.0, dtype=torch.float64), **how)


A = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
B = [[2, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]]
ROWS = [(i % 4, row) for i, row in enumerate(A + B)]


def logistic(b: float, t: float) -> float:
    """Without variance: mean softplus of both kinds of pairs, in plain numbers."""
    near, far = [], []
    for k, (item, one) in enumerate(ROWS):
        for m, (other_item, other) in enumerate(ROWS):
            if k != m:
                logit = b - math.dist(one, other) / t
                same = item == other_item
                (near if same else far).append(math.log1p(math.exp(-logit if same else logit)))
    return sum(near) / len(near) + sum(far) / len(far)


# The divergence of a row of variance e^-80 is (|z|^2 - 3) / 2 + 120; the mean of |z|^2 over G is (5 + 18) / 8.
KL = (23 / 8 - 3) / 2 + 120
GOLDEN = {
    "Hedged": [(certain, logistic(0, 1) + 2e-4 * KL, None, None)],
    "Hedged fixed": [(certain, logistic(1, 0.5) + 0.2 * KL, None, None)],
}
CHANCE = {"Hedged": None, "Hedged fixed": None}
COLLAPSED = dict(CHANCE)
