"""Scores of a teacher, row by row and place by place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from case import Case
from golden import constant
from oracles import cosine, dot, log_sum, mean, number
from torch import Tensor

from nearfar.objectives import AdaptiveMargin, ListMLE, ListNet, MarginMSE, ScoreDistillation


def judged(n: int) -> dict[str, Any]:
    """Scores of a positive and two negatives, of which some are not there."""
    scores = torch.tensor([[3.0, 1.0, 0.5], [0.2, math.nan, 1.0], [2.0, 2.0, -1.0], [1.0, 0.0, math.nan]] * n)
    return {"scores": scores[:n].double()}


def better(n: int) -> dict[str, Any]:
    """Rows of a teacher for both views."""
    return {"teacher": torch.randn(n, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(n))}


def margins(a: Tensor, p: Tensor, *negatives: Tensor, scores: Tensor) -> Tensor:
    found = []
    for i in range(len(a)):
        for k, n in enumerate(negatives):
            if not math.isnan(number(scores[i, 1 + k])):
                want = scores[i, 0] - scores[i, 1 + k]
                found.append((dot(a[i], p[i]) - dot(a[i], n[i]) - want) ** 2)
    return mean(found)


def divergence(want: list[Tensor], have: list[Tensor]) -> Tensor:
    top, bottom = (log_sum([(x, 1.0) for x in values]) for values in (want, have))
    return sum((w - top).exp() * (w - top - h + bottom) for w, h in zip(want, have, strict=True))


def shares(t: float) -> Callable[..., Tensor]:
    def value(a: Tensor, *candidates: Tensor, scores: Tensor) -> Tensor:
        found = []
        for i in range(len(a)):
            there = [k for k in range(len(candidates)) if not math.isnan(number(scores[i, k]))]
            s = [dot(a[i], candidates[k][i]) / t for k in there]
            found.append(t**2 * divergence([scores[i, k] / t for k in there], s))
        return mean(found)

    return value


def led(target: str, error: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def value(q: Tensor, p: Tensor, n: Tensor) -> Tensor:
        rows, found = range(len(q)), []
        for i in rows:
            for j in rows:
                if target == "distributed":
                    lead, want = cosine(q[j], p[j]) - cosine(q[j], n[j]), (1 + cosine(p[i], n[j])) / 2
                elif target == "in_batch":
                    lead, want = cosine(q[i], p[i]) - cosine(q[i], n[j]), (1 + cosine(p[i], n[j])) / 2
                else:
                    lead = cosine(q[i], p[i]) - cosine(q[i], n[i])
                    want = 0.2 if target == "static" else (1 + cosine(p[i], n[i])) / 2
                found.append(error(lead - want))
        return mean(found)

    return value


def softly(x: Tensor) -> Tensor:
    return (1 + (-x).exp()).log()


def likelihood(t: float) -> Callable[..., Tensor]:
    def value(a: Tensor, b: Tensor, teacher: Tensor) -> Tensor:
        found = []
        for i in range(len(a)):
            g = [number(cosine(teacher[i, 0], teacher[j, 1])) for j in range(len(b))]
            s = [cosine(a[i], b[j]) / t for j in sorted(range(len(b)), key=lambda j: -g[j])]
            found.append(sum(log_sum([(x, 1.0) for x in s[k:]]) - s[k] for k in range(len(s))))
        return mean(found)

    return value


def in_batch(t: float, t_g: float) -> Callable[..., Tensor]:
    def value(a: Tensor, b: Tensor, teacher: Tensor) -> Tensor:
        found = []
        for i in range(len(a)):
            g = [cosine(teacher[i, 0], teacher[j, 1]) / t_g for j in range(len(b))]
            found.append(divergence(g, [cosine(a[i], v) / t for v in b]))
        return mean(found)

    return value


CASES = [
    Case("MarginMSE", MarginMSE, "views", margins, how=judged, least=1, views=4),
    Case("ScoreDistillation", ScoreDistillation, "views", shares(1.0), how=judged, least=1, views=4),
    Case(
        "ScoreDistillation warm",
        lambda: ScoreDistillation(temperature=2.0),
        "views",
        shares(2.0),
        how=judged,
        least=1,
        views=4,
    ),
    Case("AdaptiveMargin", AdaptiveMargin, "views", led("distributed", torch.square), least=1, views=3),
    Case(
        "AdaptiveMargin in_batch",
        lambda: AdaptiveMargin(target="in_batch", error="soft"),
        "views",
        led("in_batch", softly),
        least=1,
        views=3,
    ),
    Case(
        "AdaptiveMargin adaptive",
        lambda: AdaptiveMargin(target="adaptive", error="l1"),
        "views",
        led("adaptive", torch.abs),
        least=1,
        views=3,
    ),
    Case(
        "AdaptiveMargin static",
        lambda: AdaptiveMargin(target="static"),
        "views",
        led("static", torch.square),
        least=1,
        views=3,
    ),
    Case("ListMLE", lambda: ListMLE(temperature=0.5), "views", likelihood(0.5), how=better, least=1),
    Case(
        "ListNet",
        lambda: ListNet(temperature=0.5, teacher_temperature=0.3),
        "views",
        in_batch(0.5, 0.3),
        how=better,
        least=1,
    ),
]


def triple(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """One query with cosines .9 and .1 to a positive and a negative at a right angle."""
    p, n = (torch.eye(3, dtype=torch.float64)[k : k + 1] for k in (0, 1))
    q = torch.tensor([[0.9, 0.1, math.sqrt(1 - 0.81 - 0.01)]], dtype=torch.float64)
    return objective(q, p, n, **how) + 0 * (a.sum() + b.sum())


def ranked(order: list[float]) -> Callable[..., Tensor]:
    """Scores 2, 1, 0 of one row, at temperature 1/2, in the order of the teacher's cosines; the other rows alike."""

    def call(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
        c = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
        first = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).repeat(3, 1)
        rows = torch.stack([c, (1 - c.square()).sqrt(), 0 * c], 1)
        g = torch.tensor(order, dtype=torch.float64)
        teacher = torch.stack([first, torch.stack([g, (1 - g.square()).sqrt(), 0 * g], 1)], 1)
        return objective(first, rows, teacher=teacher, **how) + 0 * (a.sum() + b.sum())

    return call


def scored(want: list[float]) -> Callable[..., Tensor]:
    """Products 3, 2, 1 of one row with its candidates."""

    def call(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
        z = torch.eye(1, 3, dtype=torch.float64)
        scores = torch.tensor([want], dtype=torch.float64)
        return objective(z, 3 * z, 2 * z, z, scores=scores, **how) + 0 * (a.sum() + b.sum())

    return call


def entropy(scores: list[float]) -> float:
    p = [math.exp(x) / sum(map(math.exp, scores)) for x in scores]
    return -sum(x * math.log(x) for x in p)


THREE = [3.0, 2.0, 1.0]
GOLDEN = {
    "MarginMSE": [(scored([7.0, 6.0, 5.0]), 0.0, None, None), (scored([4.0, 2.0, 2.0]), 0.5, None, None)],
    "ScoreDistillation": [
        (scored([7.0, 6.0, 5.0]), 0.0, None, None),
        # of an even teacher: -mean(s) + log sum exp(s) - log 3
        (scored([1.0, 1.0, 1.0]), math.log(sum(map(math.exp, THREE))) - 2 - math.log(3), None, None),
    ],
    "ScoreDistillation warm": [
        (scored([1.0, 1.0, 1.0]), 4 * (math.log(sum(math.exp(x / 2) for x in THREE)) - 1 - math.log(3)), None, None)
    ],
    "AdaptiveMargin": [(triple, 0.09, None, None)],
    "AdaptiveMargin in_batch": [(triple, math.log1p(math.exp(-0.3)), None, None)],
    "AdaptiveMargin adaptive": [(triple, 0.3, None, None)],
    "AdaptiveMargin static": [(triple, 0.36, None, None)],
    "ListMLE": [(ranked([0.9, 0.5, 0.1]), 0.720868, None, None), (ranked([0.1, 0.5, 0.9]), 3.720868, None, None)],
    # of a teacher who finds all alike
    "ListNet": [(ranked([0.5, 0.5, 0.5]), math.log(1 + math.e + math.e**2) - 1 - math.log(3), None, None)],
}


def even_margins(n: int, d: int) -> float:
    """The mean squared margin of `judged`, of four rows."""
    return (2.0**2 + 2.5**2 + 0.8**2 + 0 + 3.0**2 + 1.0**2) / 6


def even_shares(t: float) -> Callable[[int, int], float]:
    def value(n: int, d: int) -> float:
        rows = [[3.0, 1.0, 0.5], [0.2, 1.0], [2.0, 2.0, -1.0], [1.0, 0.0]]
        return t * t * sum(math.log(len(row)) - entropy([x / t for x in row]) for row in rows) / 4

    return value


def even_lists(n: int, d: int) -> float:
    teacher, total = better(n)["teacher"], 0.0
    for i in range(n):
        total += entropy([number(cosine(teacher[i, 0], teacher[j, 1])) / 0.3 for j in range(n)])
    return math.log(n) - total / n


CHANCE = {
    "MarginMSE": even_margins,
    "ScoreDistillation": even_shares(1.0),
    "ScoreDistillation warm": even_shares(2.0),
    "AdaptiveMargin": constant(0.25),
    "AdaptiveMargin in_batch": constant(math.log1p(math.exp(0.5))),
    "AdaptiveMargin adaptive": constant(0.5),
    "AdaptiveMargin static": constant(0.04),
    "ListMLE": lambda n, d: math.lgamma(n + 1),
    "ListNet": even_lists,
}
COLLAPSED = {
    **CHANCE,
    "AdaptiveMargin": constant(1.0),
    "AdaptiveMargin in_batch": constant(math.log1p(math.e)),
    "AdaptiveMargin adaptive": constant(1.0),
    "AdaptiveMargin static": constant(0.04),
}
