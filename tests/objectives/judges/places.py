"""Dense objectives, in loops; what makes places near is in `test_places.py`."""

from __future__ import annotations

import math

import torch
from case import Case
from golden import constant, items
from oracles import Matrix, ScoreMatrix, cosine, listed
from torch import Tensor

from judges.episodes import kernel_vote
from nearfar.objectives import PixContrast, PixPro


def agreement(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    pairs = [(s[i][j] / t, w) for i in range(len(s)) for j, w in listed(near[i])]
    if not pairs:
        return torch.zeros((), dtype=torch.float64)
    return -2 * sum(w * x for x, w in pairs) / sum(w for _, w in pairs)


CASES = [
    Case("PixContrast", lambda: PixContrast(temperature=0.5), "cross", kernel_vote, cosine, softmax=True),
    Case("PixPro", PixPro, "cross", agreement, cosine, far=False),
]
# Of rows with one near candidate each they are InfoNCE and twice the cosine regression, whose values are published.
GOLDEN = {
    "PixContrast": [("views", 0.923864, 0.355989, 0.289764)],
    "PixPro": [("views", 2 * -0.840497, 2 * 0.253106, None)],
}
CHANCE = {"PixContrast": items, "PixPro": constant(0.0)}
COLLAPSED = {"PixPro": constant(-2.0), "PixContrast": lambda n, d: math.log(n)}
