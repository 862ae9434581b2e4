"""Divergences of two distributions per anchor, and products of rows against the weights of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable

from case import Case
from golden import constant, others
from oracles import Arranged, Matrix, ScoreMatrix, cosine, dot, listed, log_sum, mean, minus_square, once
from torch import Tensor

from nearfar.contrast import NegativeSquaredEuclidean
from nearfar.objectives import GraphSpectral, ICon

# Two distributions -------------------------------------------------------------


def divergence(kind: str, p: list[float], log_q: list[Tensor]) -> Tensor:
    """Of p from q, candidate by candidate."""
    total = log_q[0] * 0
    for a, log_b in zip(p, log_q, strict=True):
        b = log_b.exp()
        if kind == "kl" and a > 0:
            total = total + a * (math.log(a) - log_b)
        elif kind == "l2":
            total = total + (a - b) ** 2
        elif kind == "tv":
            total = total + (a - b).abs() / 2
        elif kind == "hellinger":
            total = total + (a + b) / 2 - math.sqrt(a) * b.sqrt()
        elif kind == "jsd":
            middle = ((a + b) / 2).log()
            total = total + (a * (math.log(a) - middle) if a > 0 else 0) / 2 + b * (log_b - middle) / 2
    return total


def icon(
    kind: str = "ce", alpha: float = 0.0, logit: Callable[[Tensor], Tensor] = lambda s: s
) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            counted, weight = once(near[i], far[i]), sum(near[i])
            if not weight:
                continue
            logits = {j: logit(s[i][j] / t) for j, _ in counted}
            every, mass = log_sum([(logits[j], w) for j, w in counted]), sum(w for _, w in counted)
            p = [(1 - alpha) * near[i][j] / weight + alpha * w / mass for j, w in counted]
            if kind == "ce":
                # Against the weights of the candidates, so that the weight of a far one is not paid for.
                values.append(sum(a * (every - logits[j]) for a, (j, _) in zip(p, counted, strict=True)))
            else:
                values.append(divergence(kind, p, [math.log(w) + logits[j] - every for j, w in counted]))
        return mean(values)

    return value


def student(df: float) -> Callable[[Tensor], Tensor]:
    return lambda s: -(df + 1) / 2 * (1 - s / df).log()


# Graphs ------------------------------------------------------------------------


def graph_spectral(diagonal: float | None) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        values = []
        for i, row in enumerate(rows.anchors):
            total = row.sum() * 0
            for j, w in once(near[i], far[i]):
                total = total + w * (s[i][j] / t) ** 2
            for j, w in listed(near[i]):
                total = total - 2 * w * s[i][j] / t
            if diagonal is not None:
                total = total + (dot(row, row) / t) ** 2 - 2 * diagonal * dot(row, row) / t
            values.append(total)
        return mean(values)

    return value


def made(**how: object) -> Callable[[], ICon]:
    return lambda: ICon(temperature=0.5, **how)


CASES = [
    Case("ICon", made(), "joint", icon(), cosine, softmax=True),
    Case("ICon debiased", made(alpha=0.3), "joint", icon(alpha=0.3), cosine, softmax=True),
    *(
        Case(f"ICon {kind}", made(divergence=kind, alpha=alpha), "joint", icon(kind, alpha), cosine)
        for kind, alpha in (("kl", 0.0), ("jsd", 0.0), ("tv", 0.3), ("hellinger", 0.3), ("l2", 0.0))
    ),
    Case(
        "ICon student",
        made(similarity=NegativeSquaredEuclidean(), df=3.0),
        "joint",
        icon(logit=student(3.0)),
        minus_square,
    ),
    Case("GraphSpectral", GraphSpectral, "joint", graph_spectral(None), dot),
    Case("GraphSpectral diagonal", lambda: GraphSpectral(diagonal=1.0), "joint", graph_spectral(1.0), dot),
]

# NT-Xent and SupCon, as published; the other divergences, Student's t and the graph in plain numpy from the formulas.
GOLDEN = {
    "ICon": [("views", 1.387411, 0.372360, 0.355833), ("labels", 2.168799, 0.279090, 0.173761)],
    "ICon debiased": [("labels", 2.154359, None, None)],
    "ICon kl": [("labels", 1.070187, 0.279090, 0.173761)],
    "ICon jsd": [("labels", 0.289300, None, None)],
    "ICon tv": [("labels", 0.426037, None, None)],
    "ICon hellinger": [("labels", 0.133891, None, None)],
    "ICon l2": [("labels", 0.240209, None, None)],
    "ICon student": [("labels", 2.098000, None, None)],
    "GraphSpectral": [("labels", 13.25, None, None)],
    "GraphSpectral diagonal": [("labels", 19.625, None, None)],
}


def one_of(n: int, kind: str, alpha: float = 0.0) -> float:
    """The divergence of one near candidate out of 2 n - 1, of which all score the same."""
    m = 2 * n - 1
    p = [1 - alpha + alpha / m] + [alpha / m] * (m - 1)
    if kind == "jsd":
        mixed = [(a + 1 / m) / 2 for a in p]
        first = sum(a * math.log(a / c) for a, c in zip(p, mixed, strict=True) if a)
        return (first + sum(math.log(1 / m / c) for c in mixed) / m) / 2
    return {
        "tv": sum(abs(a - 1 / m) for a in p) / 2,
        "hellinger": 1 - sum(math.sqrt(a / m) for a in p),
        "l2": sum((a - 1 / m) ** 2 for a in p),
    }[kind]


CHANCE = {
    "ICon": others,
    "ICon debiased": others,
    "ICon kl": others,
    "ICon jsd": lambda n, d: one_of(n, "jsd"),
    "ICon tv": lambda n, d: one_of(n, "tv", 0.3),
    "ICon hellinger": lambda n, d: one_of(n, "hellinger", 0.3),
    "ICon l2": lambda n, d: one_of(n, "l2"),
    "ICon student": others,
    "GraphSpectral": constant(0.0),
    "GraphSpectral diagonal": constant(-1.0),
}
COLLAPSED = {"GraphSpectral": None, "GraphSpectral diagonal": None}
