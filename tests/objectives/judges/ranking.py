"""Ranking objectives: near candidates should stand before far ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from case import Case
from golden import constant
from oracles import Arranged, Matrix, ScoreMatrix, cosine, listed, log_sum, mean, minus_distance, minus_square, number
from oracles import softplus as soft
from torch import Tensor

from judges.metric import hinge, weighted
from nearfar.objectives import Angular, FastAP, RankedList, SmoothAP, TupletMargin

NONE = torch.zeros((), dtype=torch.float64)


def fastap(bins: int) -> Callable[..., Tensor]:
    """Every bin counts its own near candidates, and all up to itself, once more from the start."""
    width = 4 / bins

    def count(pairs: list[tuple[Tensor, float]], at: int) -> Tensor:
        return sum((w * hinge(1 - (x + at * width).abs() / width) for x, w in pairs), start=NONE)

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p, n = ([(s[i][j], w) for j, w in listed(x[i])] for x in (near, far))
            if p:
                total = NONE
                for at in range(bins + 1):
                    every = sum(count(p, k) + count(n, k) for k in range(at + 1))
                    if number(every) > 0:
                        total = total + count(p, at) * sum(count(p, k) for k in range(at + 1)) / every
                values.append(1 - total / sum(w for _, w in p))
        return mean(values)

    return value


def smoothap(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    values = []
    for i in range(len(s)):
        p = listed(near[i])
        terms = []
        for j, w in p:
            among, rank = NONE + 1, NONE + 1
            for k in range(len(s[i])):
                if k != j and (near[i][k] > 0 or far[i][k] > 0):
                    before = torch.sigmoid((s[i][k] - s[i][j]) / t)
                    among = among + (before if near[i][k] > 0 else 0)
                    rank = rank + (before if near[i][k] > 0 else far[i][k] * before)
            terms.append((among / rank, w))
        if p:
            values.append(1 - weighted(terms))
    return mean(values)


def ranked(near_rate: float, far_rate: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            parts = []
            for pairs, rate, excess in ((near, near_rate, lambda d: d - 0.8), (far, far_rate, lambda d: 1.2 - d)):
                over = [(excess(-s[i][j]), w) for j, w in listed(pairs[i])]
                over = [(h, w * (rate * h).exp()) for h, w in over if number(h) > 0]
                parts.append(sum(w * h for h, w in over) / sum(w for _, w in over) if over else NONE)
            if listed(near[i]) or listed(far[i]):
                values.append(sum(parts) / 2)
        return mean(values)

    return value


def tuplet(margin: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        terms = []
        for i in range(len(s)):
            n = [(s[i][j] / t, w) for j, w in listed(far[i])]
            for j, w in listed(near[i]) if n else []:
                # Beside 0 and pi, where neither side has a slope.
                c = s[i][j] if abs(number(s[i][j])) < 1 - 1e-14 else s[i][j].detach().clamp(-1, 1)
                terms.append((soft(log_sum(n) - torch.cos(torch.acos(c) - margin) / t), w))
        return weighted(terms)

    return value


def angular(degrees: float) -> Callable[..., Tensor]:
    rate = math.tan(math.radians(degrees)) ** 2

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        terms = []
        for i in range(len(s)):
            for j, w in listed(near[i]) if listed(far[i]) else []:
                n = [
                    (4 * rate * (s[i][k] + cosine(rows.candidates[j], rows.candidates[k])), x)
                    for k, x in listed(far[i])
                ]
                terms.append((soft(log_sum(n) - 2 * (1 + rate) * s[i][j]), w))
        return weighted(terms)

    return value


def both_weighted() -> RankedList:
    return RankedList(near_weighting=2.0, far_weighting=1.0)


CASES = [
    Case("FastAP", FastAP, "joint", fastap(10), minus_square),
    Case("FastAP few", lambda: FastAP(bins=3), "joint", fastap(3), minus_square),
    Case("SmoothAP", lambda: SmoothAP(temperature=0.1), "joint", smoothap, cosine),
    Case("RankedList", RankedList, "joint", ranked(0, 10), minus_distance),
    Case("RankedList both", both_weighted, "joint", ranked(2, 1), minus_distance),
    Case("TupletMargin", TupletMargin, "joint", tuplet(0.1), cosine),
    Case("Angular", Angular, "joint", angular(40), cosine),
]

GOLDEN = {
    "FastAP": [("labels", 0.532772, None, None)],
    # From here on measured with pytorch-metric-learning, where nothing else is said.
    "FastAP few": [("labels", 0.568750, None, None)],
    "SmoothAP": [("labels", 0.471966, None, None)],  # with numpy, from the formula
    "RankedList": [("labels", 0.501071, None, None)],  # with numpy; theirs adds 1e-5 to each weight
    "RankedList both": [("labels", 0.436900, None, None)],
    "TupletMargin": [("labels", 20.354003, 15.135788, 7.973945)],
    # Of rows of unit length, for theirs takes far rows as they are.
    "Angular": [("labels", 3.288004, 0.390395, 0.423529)],
}

CHANCE = {
    "FastAP": lambda n, d: 1 - 1 / (2 * n - 1),
    "FastAP few": lambda n, d: 1 - 1 / (2 * n - 1),  # half of each pair at 4/3, half at 8/3: as precise
    "SmoothAP": lambda n, d: 1 - 1 / n,
    "RankedList": constant((math.sqrt(2) - 0.8) / 2),
    "RankedList both": constant((math.sqrt(2) - 0.8) / 2),
    "TupletMargin": lambda n, d: math.log1p((2 * n - 2) * math.exp(-64 * math.sin(0.1))),
    "Angular": lambda n, d: math.log(2 * n - 1),
}

COLLAPSED = {
    "RankedList": constant(0.6),
    "RankedList both": constant(0.6),
    "TupletMargin": lambda n, d: math.log1p((2 * n - 2) * math.exp(64 * (1 - math.cos(0.1)))),
    "Angular": lambda n, d: math.log1p((2 * n - 2) * math.exp(6 * math.tan(math.radians(40)) ** 2 - 2)),
}
