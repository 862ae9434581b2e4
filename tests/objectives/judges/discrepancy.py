"""How far apart two sets of rows are, in loops."""

from __future__ import annotations

import torch
from case import Case
from golden import constant
from oracles import Matrix, ScoreMatrix, listed, mean, minus_square
from torch import Tensor

from nearfar.objectives import CORAL, MMD, EnergyConfusion


def energy(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """Far pairs, each row of them weighted by how many it has."""
    total, pairs = torch.zeros((), dtype=torch.float64), 0
    for i in range(len(s)):
        n = listed(far[i])
        if n:
            total = total - len(n) * sum(w * s[i][j] for j, w in n) / sum(w for _, w in n)
            pairs += len(n)
    return total / max(pairs, 1)


def mmd(a: Tensor, b: Tensor) -> Tensor:
    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return sum((-g * (u - v).square().sum()).exp() for g in (0.001, 0.01, 0.1, 1, 10, 100, 1000))

    within = [mean([kernel(u, v) for u in z for v in z]) for z in (a, b)]
    return within[0] + within[1] - 2 * mean([kernel(u, v) for u in a for v in b])


def coral(a: Tensor, b: Tensor) -> Tensor:
    moments = []
    for z in (a, b):
        centre = [mean([row[d] for row in z]) for d in range(z.shape[1])]
        products = [
            sum((row[d] - centre[d]) * (row[e] - centre[e]) for row in z) / (len(z) - 1)
            for d in range(z.shape[1])
            for e in range(z.shape[1])
        ]
        moments.append((centre, products))
    return sum(
        mean([(x - y) ** 2 for x, y in zip(one, other, strict=True)]) for one, other in zip(*moments, strict=True)
    )


CASES = [
    Case("EnergyConfusion", EnergyConfusion, "joint", energy, minus_square),
    Case("MMD", MMD, "views", mmd, matched=False),
    Case("CORAL", CORAL, "views", coral, matched=False),
]
GOLDEN = {
    # |mean - mean'|^2 and the traces of both covariances, of the unit rows of the two classes, in numpy.
    "EnergyConfusion": [("labels", 1.016158, None, None)],
    "MMD": [("views", 2.144849, None, None)],
    "CORAL": [("views", 0.410494, None, None)],
}
CHANCE = {"EnergyConfusion": constant(2.0), "MMD": None, "CORAL": None}
COLLAPSED = dict.fromkeys(CHANCE, constant(0.0))
