"""Objectives of deep metric learning: all near and far candidates of an anchor against each other."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from case import Case
from golden import constant, softplus
from oracles import Matrix, ScoreMatrix, cosine, listed, log_sum, mean, minus_distance, number, transposed
from oracles import softplus as soft
from torch import Tensor

from nearfar.contrast import LearnedBias
from nearfar.objectives import BoundaryMargin, Circle, GeneralizedLifted, LiftedStructure, MultiSimilarity

NONE = torch.zeros((), dtype=torch.float64)


def hinge(x: Tensor) -> Tensor:
    return x if number(x) > 0 else x * 0


def weighted(terms: list[tuple[Tensor, float]]) -> Tensor:
    """Mean with weights; 0 over nothing."""
    total = sum(w for _, w in terms)
    return sum((w * x for x, w in terms), start=NONE) / total if total else NONE


def lifted(margin: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        terms, back, far_back = [], transposed(s), transposed(far)
        for i in range(len(s)):
            of_i = [(margin + s[i][k], w) for k, w in listed(far[i])]
            if of_i:
                for j, w in listed(near[i]):
                    of_j = [(margin + back[j][k], w) for k, w in listed(far_back[j])]
                    terms.append((hinge(log_sum(of_i + of_j) - s[i][j]).square() / 2, w))
        return weighted(terms)

    return value


def general(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    values = []
    for i in range(len(s)):
        p, n = listed(near[i]), listed(far[i])
        if p and n:
            values.append(hinge(log_sum([(-s[i][j], w) for j, w in p]) + log_sum([(1 + s[i][j], w) for j, w in n])))
    return mean(values)


def circle(m: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p = [(-max(0.0, 1 + m - number(s[i][j])) * (s[i][j] - 1 + m) / t, w) for j, w in listed(near[i])]
            n = [(max(0.0, number(s[i][j]) + m) * (s[i][j] - m) / t, w) for j, w in listed(far[i])]
            if p and n:
                values.append(soft(log_sum(p) + log_sum(n)))
        return mean(values)

    return value


def multisimilarity(alpha: float, beta: float, base: float, mining: float | None) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p, n = ([(s[i][j], w) for j, w in listed(x[i])] for x in (near, far))
            if not p and not n:
                continue
            if mining is not None:
                worst = min([number(x) for x, _ in p], default=math.inf)
                best = max([number(x) for x, _ in n], default=-math.inf)
                p = [(x, w) for x, w in p if number(x) - mining < best]
                n = [(x, w) for x, w in n if number(x) + mining > worst]
            pull = log_sum([(NONE, 1.0)] + [(-alpha * (x - base), w) for x, w in p]) / alpha
            push = log_sum([(NONE, 1.0)] + [(beta * (x - base), w) for x, w in n]) / beta
            values.append(pull + push)
        return mean(values)

    return value


def boundary(nu: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, learned: dict[str, Tensor]) -> Tensor:
        beta = learned.get("boundary.bias", torch.tensor(1.2, dtype=torch.float64))
        terms, known = [], 0
        for i in range(len(s)):
            terms += [(hinge(-s[i][j] - beta + 0.2), w) for j, w in listed(near[i])]
            terms += [(hinge(beta + s[i][j] + 0.2), w) for j, w in listed(far[i])]
            known += bool(listed(near[i]) or listed(far[i]))
        return weighted([(x, w) for x, w in terms if number(x) > 0]) + (nu * beta if known else NONE)

    return value


def warm_circle() -> Circle:
    return Circle(temperature=1 / 16, margin=0.25)


def learned() -> BoundaryMargin:
    return BoundaryMargin(boundary=LearnedBias(1.25), nu=0.1)


CASES = [
    Case("LiftedStructure", LiftedStructure, "joint", lifted(1.0), minus_distance),
    Case("GeneralizedLifted", GeneralizedLifted, "joint", general, minus_distance),
    Case("Circle", Circle, "joint", circle(0.4), cosine, constant=True),
    Case("Circle warm", warm_circle, "joint", circle(0.25), cosine, constant=True),
    Case("MultiSimilarity", MultiSimilarity, "joint", multisimilarity(2, 50, 0.5, None), cosine),
    Case(
        "MultiSimilarity mined",
        lambda: MultiSimilarity(far_scale=40.0, mining=0.1),
        "joint",
        multisimilarity(2, 40, 0.5, 0.1),
        cosine,
    ),
    Case("BoundaryMargin", BoundaryMargin, "joint", boundary(0.0), minus_distance),
    Case("BoundaryMargin learned", learned, "joint", boundary(0.1), minus_distance),
]

GOLDEN = {
    "LiftedStructure": [("labels", 5.081963, 0.578786, 0.395003)],
    # pytorch-metric-learning's GeneralizedLiftedStructureLoss.
    "GeneralizedLifted": [("labels", 3.613118, 0.187823, 0.123332)],
    "Circle": [("labels", 91.006061, None, None)],
    "Circle warm": [("labels", 21.467531, 9.710241, 2.828050)],
    "MultiSimilarity": [("labels", 1.112506, 0.287255, 0.134011)],
    "MultiSimilarity mined": [("labels", 1.095041, 0.291443, 0.138941)],
    "BoundaryMargin": [("labels", 0.471279, None, None)],
    # With numpy: the pairs of the batch at a boundary of 1.25, plus 0.1 of it.
    "BoundaryMargin learned": [("labels", 0.531411, None, None)],
}


def chance_of_circle(m: float, gamma: float) -> Callable[[int, int], float]:
    return lambda n, d: math.log1p((2 * n - 2) * math.exp(gamma * (1 - 2 * m * m)))


def collapse_of_circle(m: float, gamma: float) -> Callable[[int, int], float]:
    """Near similarities of 1 are beyond their optimum 1 - m, far ones of 1 as wrong as can be."""
    return lambda n, d: math.log1p((2 * n - 2) * math.exp(gamma * (-m * m + (1 + m) * (1 - m))))


def multi(alpha: float, beta: float, s: float) -> Callable[[int, int], float]:
    return lambda n, d: (
        softplus(-alpha * (s - 0.5)) / alpha + math.log1p((2 * n - 2) * math.exp(beta * (s - 0.5))) / beta
    )


CHANCE = {
    "LiftedStructure": lambda n, d: (math.log(4 * n - 4) + 1) ** 2 / 2,
    "GeneralizedLifted": lambda n, d: math.log(2 * n - 2) + 1,
    "Circle": chance_of_circle(0.4, 80),
    "Circle warm": chance_of_circle(0.25, 16),
    "MultiSimilarity": multi(2, 50, 0.0),
    "MultiSimilarity mined": multi(2, 40, 0.0),
    "BoundaryMargin": constant(math.sqrt(2) - 1),
    # At a boundary of 1.25 all pairs violate theirs, of an anchor one near and 2N - 2 far ones.
    "BoundaryMargin learned": lambda n, d: (
        (math.sqrt(2) - 1.05 + (2 * n - 2) * (1.45 - math.sqrt(2))) / (2 * n - 1) + 0.125
    ),
}

COLLAPSED = {
    "Circle": collapse_of_circle(0.4, 80),
    "Circle warm": collapse_of_circle(0.25, 16),
    "MultiSimilarity": multi(2, 50, 1.0),
    "MultiSimilarity mined": multi(2, 40, 1.0),
    "BoundaryMargin": constant(1.4),
    "BoundaryMargin learned": constant(1.45 + 0.125),
}
