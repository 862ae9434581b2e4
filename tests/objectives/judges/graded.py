"""Graded pairs, every two of them compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from case import Case
from golden import constant
from oracles import cosine, dot, log_sum, mean
from torch import Tensor

from nearfar.objectives import AnglE, ContrastiveTension, CoSENT, CosineMSE

Score = Callable[[Tensor, Tensor], Tensor]


def distinct(n: int) -> dict[str, Any]:
    """A target of its own for every pair, in no order."""
    return {"targets": torch.arange(n, dtype=torch.float64).roll(n // 2 + 1) / max(n, 1)}


def tied(n: int) -> dict[str, Any]:
    """Targets that are equal or unknown."""
    return {"targets": torch.tensor([1.0, 0.0, math.nan, 1.0, 0.5] * n, dtype=torch.float64)[:n]}


def angle(u: Tensor, v: Tensor) -> Tensor:
    """Both rows for complex numbers; the third column of a row of three has no counterpart."""
    half = (len(u) + 1) // 2
    z, w = ([complex_of(row, k, half) for k in range(half)] for row in (u, v))
    re = sum(a * c + b * d for (a, b), (c, d) in zip(z, w, strict=True))
    im = sum(b * c - a * d for (a, b), (c, d) in zip(z, w, strict=True))
    return (re + im).abs() / (u.square().sum().sqrt() * v.square().sum().sqrt())


def complex_of(row: Tensor, k: int, half: int) -> tuple[Tensor, Tensor]:
    return row[k], row[half + k] if half + k < len(row) else torch.zeros((), dtype=row.dtype)


def ordered(score: Score, t: float) -> Callable[..., Tensor]:
    def value(a: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        s = [score(u, v) / t for u, v in zip(a, b, strict=True)]
        terms = [(0 * sum(s), 1.0)]
        terms += [(s[j] - s[i], 1.0) for i in range(len(s)) for j in range(len(s)) if targets[i] > targets[j]]
        return log_sum(terms)

    return value


def three_terms(w_c: float, w_b: float, w_a: float, t: float, near_from: float) -> Callable[..., Tensor]:
    def value(a: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        rows, n, near = [*a, *b], len(a), []
        for i, u in enumerate(rows):
            others = [(cosine(u, v) / t, 1.0) for j, v in enumerate(rows) if j != i]
            counts = 1.0 if float(targets[i % n]) >= near_from else 0.0
            near.append(counts * (log_sum(others) - cosine(u, rows[(i + n) % (2 * n)]) / t))
        one, other = ordered(cosine, t)(a, b, targets), ordered(angle, t)(a, b, targets)
        return w_c * one + w_b * mean(near) + w_a * other

    return value


def squares(a: Tensor, b: Tensor, targets: Tensor) -> Tensor:
    pairs = [(u, v, float(y)) for u, v, y in zip(a, b, targets, strict=True) if not math.isnan(float(y))]
    return mean([(cosine(u, v) - y) ** 2 for u, v, y in pairs])


def tension(a: Tensor, b: Tensor, targets: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for u, v, y in zip(a, b, targets, strict=True):
        if not math.isnan(float(y)):
            p = torch.sigmoid(dot(u, v))
            total = total - float(y) * p.log() - (1 - float(y)) * (1 - p).log()
    return total


CASES = [
    Case("CoSENT", CoSENT, "views", ordered(cosine, 0.05), how=distinct, least=1),
    Case("CoSENT ties", lambda: CoSENT(temperature=0.5), "views", ordered(cosine, 0.5), how=tied, least=1),
    Case(
        "AnglE",
        lambda: AnglE(temperature=0.5, near_from=0.5),
        "views",
        three_terms(1, 1, 0.02, 0.5, 0.5),
        how=distinct,
        least=1,
    ),
    Case(
        "AnglE alone",
        lambda: AnglE(temperature=0.5, cosine=0.0, in_batch=0.0, angle=1.0),
        "views",
        ordered(angle, 0.5),
        how=tied,
        least=1,
    ),
    Case("CosineMSE", CosineMSE, "views", squares, how=tied, least=1),
    Case("ContrastiveTension", ContrastiveTension, "views", tension, how=tied, least=1),
]


def pairs_of(cosines: list[float], targets: list[float]) -> Callable[..., Tensor]:
    """Pairs of rows with these cosines."""

    def call(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
        c = torch.tensor(cosines, dtype=torch.float64)
        ends = torch.stack([c, (1 - c.square()).sqrt(), 0 * c], 1)
        first = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).repeat(len(c), 1)
        return objective(first + 0 * a[:1], ends + 0 * b[:1], targets=torch.tensor(targets), **how)

    return call


def graded(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    return objective(a, b, targets=torch.tensor([3.0, 0.0, 2.0, 1.0]), **how)


GOLDEN = {
    "CoSENT": [
        (pairs_of([0.1, 0.9], [1, 0]), 16.0, None, None),
        (pairs_of([0.2, 0.5, 0.4], [0, 1, 2]), 2.129404, None, None),
        (pairs_of([0.3, 0.9, -0.5], [2, 2, 2]), 0.0, None, None),
    ],
    "CoSENT ties": [(pairs_of([0.1, 0.9], [1, 0]), math.log1p(math.exp(1.6)), None, None)],
    # (1, 0, 0) and (c, r, 0) are the complex numbers (1, 0) and (c, r): Re = c, Im = 0
    "AnglE alone": [
        (pairs_of([0.2, 0.5, 0.4], [0, 1, 2]), math.log1p(math.exp(0.2) + math.exp(-0.6) + math.exp(-0.4)), None, None)
    ],
    "AnglE": [
        (
            # all cosines are 1, all pairs near, and all rows equal
            lambda objective, a, b, **how: (
                objective(torch.ones_like(a), torch.ones_like(b), targets=torch.tensor([1.0, 2.0, 2.0, 2.0]), **how)
                + 0 * (a.sum() + b.sum())
            ),
            1.02 * math.log(4) + math.log(7),
            None,
            None,
        )
    ],
    # of the cosines .894427, .707107, .894427, .866025 of G, by hand
    "CosineMSE": [
        (
            lambda objective, a, b, **how: objective(a, b, targets=torch.tensor([1.0, 0.0, 0.5, math.nan]), **how),
            ((1 - 0.8944271910) ** 2 + 0.5 + (0.8944271910 - 0.5) ** 2) / 3,
            None,
            None,
        )
    ],
    # products 2, 1, 2, 3
    "ContrastiveTension": [
        (
            lambda objective, a, b, **how: objective(a, b, targets=torch.tensor([1.0, 0.0, 1.0, 0.0]), **how),
            2 * math.log1p(math.exp(-2)) + math.log1p(math.exp(1)) + math.log1p(math.exp(3)),
            None,
            None,
        )
    ],
}
TIED_SQUARES = 2.0  # of the four targets (1, 0, unknown, 1)
CHANCE = {
    "CoSENT": lambda n, d: math.log(1 + n * (n - 1) / 2),
    "CoSENT ties": constant(math.log(3)),
    "AnglE": None,
    "AnglE alone": None,
    "CosineMSE": constant(TIED_SQUARES / 3),
    "ContrastiveTension": constant(3 * math.log(2)),
}
COLLAPSED = {**CHANCE, "CosineMSE": constant(1 / 3), "ContrastiveTension": None}
