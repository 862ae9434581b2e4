"""Objectives that remember something of every item, here without a table; with one see `test_individual.py`."""

from __future__ import annotations

import torch
from case import Case
from golden import constant
from oracles import Matrix, ScoreMatrix, cosine, listed, mean
from torch import Tensor

from nearfar.objectives import ISogCLR, SogCLR


def decoupled_linear(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """Far rows are weighted by their softmax, a constant, and near rows pull alike."""
    values = []
    for i in range(len(s)):
        p, f = listed(near[i]), listed(far[i])
        if not (p and f):
            continue
        pull = sum(w * s[i][j] for j, w in p) / sum(w for _, w in p)
        m = sum(w for _, w in f)
        u = sum(w * (s[i][j].detach() / t).exp() for j, w in f) / m
        push = sum((w * (s[i][j].detach() / t).exp() / (m * u) * s[i][j] for j, w in f), start=torch.zeros(()).double())
        values.append(push - pull)
    return mean(values)


CASES = [
    Case("SogCLR", SogCLR, "joint", decoupled_linear, cosine, softmax=True, constant=True),
    Case("SogCLR slow", lambda: SogCLR(temperature=0.5, gamma=0.3), "joint", decoupled_linear, cosine, constant=True),
    Case("ISogCLR", ISogCLR, "joint", decoupled_linear, cosine, constant=True),
]

# The official code adds up the two views of an item: -.134680 | .527518 | .502179.
FIRST_STEP = [("views", -0.134680 / 2, 0.527518 / 2, 0.502179 / 2)]
GOLDEN = {"SogCLR": FIRST_STEP, "SogCLR slow": [], "ISogCLR": FIRST_STEP}
CHANCE = {"SogCLR": constant(0.0), "SogCLR slow": constant(0.0), "ISogCLR": constant(0.0)}
COLLAPSED: dict = {}
