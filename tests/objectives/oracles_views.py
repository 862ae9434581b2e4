"""Oracles of objectives that compare no pairs: they take the two views."""

from __future__ import annotations

from collections.abc import Callable

import torch
from oracles import cosine, mean, number, unit
from torch import Tensor

# Two plain views ---------------------------------------------------------------


def align_uniform(alpha: float, t: float, wa: float, wu: float) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        rows = [[unit(r) for r in view] for view in (a, b)]
        align = mean([(u - v).square().sum() ** (alpha / 2) for u, v in zip(*rows, strict=True)])
        uniform = []
        for view in rows:
            pairs = [(view[i], view[j]) for i in range(len(view)) for j in range(i)]
            uniform.append(mean([(-t * (u - v).square().sum()).exp() for u, v in pairs]).log())
        return wa * align + wu * (uniform[0] + uniform[1]) / 2

    return value


def columns(z: Tensor) -> list[list[Tensor]]:
    return [[z[i, d] for i in range(len(z))] for d in range(z.shape[1])]


def barlow(off: float, scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    def standard(column: list[Tensor]) -> list[Tensor]:
        centre = mean(column)
        spread = mean([(x - centre) ** 2 for x in column])
        return [(x - centre) / (spread + 1e-5).sqrt() for x in column]

    def value(a: Tensor, b: Tensor) -> Tensor:
        left, right = ([standard(c) for c in columns(z)] for z in (a, b))
        total = torch.zeros((), dtype=torch.float64)
        for d in range(len(left)):
            for e in range(len(right)):
                c = mean([x * y for x, y in zip(left[d], right[e], strict=True)])
                total = total + ((c - 1) ** 2 if d == e else off * c**2)
        return scale * total

    return value


def vicreg(form: str) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        n, width = a.shape
        invariance = sum((a[i, d] - b[i, d]) ** 2 for i in range(n) for d in range(width)) / n
        variance, covariance = [], []
        for z in (a, b):
            centred = [[x - mean(c) for x in c] for c in columns(z)]
            cov = [[sum(x * y for x, y in zip(p, q, strict=True)) / (n - 1) for q in centred] for p in centred]
            hinge = [1 - (cov[d][d] + 1e-4).sqrt() for d in range(width)]
            variance.append(mean([h if number(h) > 0 else h * 0 for h in hinge]))
            covariance.append(sum(cov[d][e] ** 2 for d in range(width) for e in range(width) if d != e) / width)
        if form == "official":
            return 25 * invariance / width + 25 * (variance[0] + variance[1]) / 2 + covariance[0] + covariance[1]
        return 25 * invariance + 25 * (variance[0] + variance[1]) + covariance[0] + covariance[1]

    return value


def regression(base: float, slope: float, constant: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        target = b.detach() if constant else b
        return mean([base + slope * cosine(u, v) for u, v in zip(a, target, strict=True)])

    return value


def wmse(eps: float, block: int | None) -> Callable[[Tensor, Tensor], Tensor]:
    def white(part: list[Tensor]) -> list[Tensor]:
        """Forward substitution with a Cholesky factor, both written out."""
        n, width = len(part), len(part[0])
        centre = [mean([r[d] for r in part]) for d in range(width)]
        centred = [[r[d] - centre[d] for d in range(width)] for r in part]
        cov = [
            [(1 - eps) * sum(r[d] * r[e] for r in centred) / (n - 1) + (eps if d == e else 0) for e in range(width)]
            for d in range(width)
        ]
        lower: list[list[Tensor]] = []
        for d in range(width):
            lower.append([])
            for e in range(d + 1):
                rest = cov[d][e] - sum(lower[d][k] * lower[e][k] for k in range(e))
                lower[d].append(rest.sqrt() if d == e else rest / lower[e][e])
        out = []
        for r in centred:
            solved: list[Tensor] = []
            for d in range(width):
                solved.append((r[d] - sum(lower[d][k] * solved[k] for k in range(d))) / lower[d][d])
            out.append(torch.stack(solved))
        return out

    def value(a: Tensor, b: Tensor) -> Tensor:
        size = block or len(a)
        starts = [k * size for k in range(max(1, len(a) // size))]
        ends = [*starts[1:], len(a)]
        parts = [(white(list(a[s:e])), white(list(b[s:e]))) for s, e in zip(starts, ends, strict=True)]
        return mean([2 - 2 * cosine(u, v) for left, right in parts for u, v in zip(left, right, strict=True)])

    return value


def cross_entropy(target: list[float], row: Tensor, t: float) -> Tensor:
    bottom = (row / t).exp().sum().log()
    return sum(-q * (s / t - bottom) for q, s in zip(target, row, strict=True))


def swapped(t: float, epsilon: float) -> Callable[[Tensor, Tensor], Tensor]:
    def codes(scores: Tensor) -> list[list[float]]:
        """The matrix form of the paper: columns of prototypes and rows of items are scaled in turn."""
        n, k = scores.shape
        top = number(scores.max())
        q = [
            [float(torch.tensor((number(x) - top) / epsilon, dtype=torch.float64).exp()) for x in row] for row in scores
        ]
        for _ in range(3):
            columns = [sum(row[c] for row in q) for c in range(k)]
            q = [[row[c] / columns[c] / k for c in range(k)] for row in q]
            q = [[x / sum(row) / n for x in row] for row in q]
        return [[x * n for x in row] for row in q]

    def value(a: Tensor, b: Tensor) -> Tensor:
        one = [cross_entropy(q, row, t) for q, row in zip(codes(a), b, strict=True)]
        other = [cross_entropy(q, row, t) for q, row in zip(codes(b), a, strict=True)]
        return mean(one + other)

    return value


def distilled(t: float, teacher_t: float) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        targets = [[number(x) for x in (row.detach() / teacher_t).softmax(0)] for row in b]
        return mean([cross_entropy(q, row, t) for q, row in zip(targets, a, strict=True)])

    return value
