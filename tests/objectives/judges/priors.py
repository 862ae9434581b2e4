"""Kernels, and near and far weighed by what is known of the items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from case import Case
from golden import Y, items, others
from oracles import Arranged, Matrix, ScoreMatrix, all_scores, cosine, listed, mean, number, unit
from oracles_pairs import infonce
from torch import Tensor

from nearfar.contrast import NegativeEuclidean
from nearfar.objectives import CCLK, GML, KernelInfoNCE, by_class_prior, conditioned_on

# Kernels -----------------------------------------------------------------------


def minus_power(power: float, whole: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
    def score(u: Tensor, v: Tensor) -> Tensor:
        square = ((unit(u) - unit(v)) if whole else (u - v)).square().sum()
        # The slope at distance 0 is taken to be 0.
        return square * 0 if number(square) < 1e-14 else -(square.sqrt() ** power)

    return score


def kernel_sum(power: float, share: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        gaussian = all_scores(minus_power(2.0), rows.anchors, rows.candidates)
        return share * infonce(s, near, far, t, b) + (1 - share) * infonce(gaussian, near, far, t, b)

    return value


def kernel_halves(power: float, share: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        half = len(rows.anchors[0]) // 2
        parts = []
        for columns, p in ((slice(0, half), power), (slice(half, None), 2.0)):
            sides = ([unit(r)[columns] for r in side] for side in (rows.anchors, rows.candidates))
            parts.append(infonce(all_scores(minus_power(p, whole=False), *sides), near, far, t, b))
        return share * parts[0] + (1 - share) * parts[1]

    return value


# Weighted near and far ---------------------------------------------------------


def weighted_ratio(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """-log of the near rows' part in the weighted sum of exponentials; a pair may be near and far."""
    values = []
    for i in range(len(s)):
        pull = [w * (s[i][j] / t).exp() for j, w in listed(near[i])]
        if pull:
            push = [w * (s[i][j] / t).exp() for j, w in listed(far[i])]
            values.append(-(sum(pull) / (sum(pull) + sum(push))).log())
    return mean(values)


PRIOR = torch.tensor([[1.0, 0], [1, 0.2], [0, 1], [0.1, 1]], dtype=torch.float64)


def conditioned(near: str) -> Callable[..., Tensor]:
    def call(objective: Callable[..., Tensor], a: Tensor, b: Tensor, **how: Any) -> Tensor:
        return objective(torch.cat([a, b]), relation=conditioned_on(PRIOR, near=near, ridge=0.1), **how)

    return call


def unequal_classes(objective: Callable[..., Tensor], a: Tensor, b: Tensor, **how: Any) -> Tensor:
    priors = torch.tensor([0.75, 0.25], dtype=torch.float64)
    return objective(a, b.detach(), relation=by_class_prior(Y, Y, priors), **how)


CASES = [
    Case("KernelInfoNCE", KernelInfoNCE, "joint", infonce, minus_power(1.0), softmax=True),
    Case(
        "KernelInfoNCE gaussian",
        lambda: KernelInfoNCE(similarity=NegativeEuclidean(power=2.0)),
        "joint",
        infonce,
        minus_power(2.0),
        softmax=True,
    ),
    Case("KernelInfoNCE sum", lambda: KernelInfoNCE(mixture="sum"), "joint", kernel_sum(1.0, 0.5), minus_power(1.0)),
    Case(
        "KernelInfoNCE halves",
        lambda: KernelInfoNCE(similarity=NegativeEuclidean(power=1.5), mixture="halves", share=0.3),
        "joint",
        kernel_halves(1.5, 0.3),
        minus_power(1.5),
    ),
    Case("CCLK", CCLK, "joint", weighted_ratio, cosine, softmax=True),
    Case("GML", lambda: GML(temperature=0.5), "cross", weighted_ratio, cosine, softmax=True),
    Case("GML learned", GML, "cross", weighted_ratio, cosine),
]

GOLDEN = {
    "KernelInfoNCE": [("views", 1.319895, 0.581175, 0.505468)],
    "KernelInfoNCE gaussian": [("views", 1.106256, None, None)],
    "KernelInfoNCE sum": [("views", (1.319895 + 1.106256) / 2, None, None)],
    # In plain numpy from the formula.
    "KernelInfoNCE halves": [("views", 1.444073, None, None)],
    "CCLK": [
        (conditioned("view"), 0.767744, 0.369738, 0.309678),
        (conditioned("alike"), 2.472795, 0.355760, 0.272530),
    ],
    "GML": [(unequal_classes, 0.770002, 0.204239, 0)],
    # S_c = log mean of two keys at temperature 1, in plain numpy.
    "GML learned": [(unequal_classes, 0.799125, None, None)],
}

CHANCE = {
    **dict.fromkeys(("KernelInfoNCE", "KernelInfoNCE gaussian", "KernelInfoNCE sum"), others),
    "KernelInfoNCE halves": None,
    "CCLK": others,
    "GML": items,
    "GML learned": items,
}
COLLAPSED = {"KernelInfoNCE halves": others}
