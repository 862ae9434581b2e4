"""Softmax over classes with margins: one weight per class, or several centres."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from case import Case
from golden import Y
from oracles import Arranged, Matrix, ScoreMatrix, cosine, dot, listed, log_sum, mean, number, unit
from oracles import softplus as soft
from torch import Tensor

from nearfar.objectives import (
    ArcFace,
    CosFace,
    NormalizedSoftmax,
    SoftTriple,
    SphereFace,
    SubCentreArcFace,
    to_proxies,
)

from .metric import weighted

Target = Callable[[Tensor], Tensor]


def projection(u: Tensor, v: Tensor) -> Tensor:
    return dot(u, unit(v))


def plain(c: Tensor) -> Tensor:
    return c


def less(m: float) -> Target:
    return lambda c: c - m


def wider(m: float) -> Target:
    """cos(theta + m), or a line where that would rise again."""

    def target(c: Tensor) -> Tensor:
        if abs(number(c)) > 1 - 1e-14:  # neither side has a slope there
            c = c.detach().clamp(-1, 1)
        theta = torch.acos(c)
        return torch.cos(theta + m) if number(theta) <= math.pi - m else c - m * math.sin(m)

    return target


def softmax(target: Target, norm: float = 0.0) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        values = []
        for i in range(len(s)):
            n = [(s[i][j] / t, w) for j, w in listed(far[i])]
            each = [(soft(log_sum(n) - target(s[i][j]) / t) if n else s[i][j] * 0, w) for j, w in listed(near[i])]
            if each:
                length = rows.anchors[i].square().sum().sqrt()
                values.append(weighted(each) + norm * (length - 1) ** 2)
        return mean(values)

    return value


def sphereface(m: int) -> Callable[..., Tensor]:
    def falling(c: Tensor) -> Tensor:
        theta = torch.acos(c.clamp(-1 + 1e-15, 1 - 1e-15))
        k = math.floor(number(theta) * m / math.pi)
        return (-1) ** k * torch.cos(m * theta) - 2 * k

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        values = []
        for i in range(len(s)):
            length = rows.anchors[i].square().sum().sqrt()
            n = [(s[i][j] / t, w) for j, w in listed(far[i])]
            each = [
                (soft(log_sum(n) - length * falling(s[i][j] / length) / t) if n else s[i][j] * 0, w)
                for j, w in listed(near[i])
            ]
            if each:
                values.append(weighted(each))
        return mean(values)

    return value


def of_centres(target: Target, pool: Callable[[list[Tensor]], Tensor]) -> Callable[..., Tensor]:
    """Candidates of one class in one score; they take part with the largest of their weights."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        classes = rows.classes or list(range(len(s[0])))
        values = []
        for i in range(len(s)):
            own, other = [], []
            for key in sorted(set(classes)):
                at = [j for j, k in enumerate(classes) if k == key and (near[i][j] > 0 or far[i][j] > 0)]
                if at:
                    c = pool([s[i][j] for j in at])
                    own += [(c, w) for w in [max(near[i][j] for j in at)] if w > 0]
                    other += [(c / t, w) for w in [max(far[i][j] for j in at)] if w > 0]
            each = [(soft(log_sum(other) - target(c) / t) if other else c * 0, w) for c, w in own]
            if each:
                values.append(weighted(each))
        return mean(values)

    return value


def best(cosines: list[Tensor]) -> Tensor:
    return cosines[max(range(len(cosines)), key=lambda k: number(cosines[k]))]


def shared(gamma: float) -> Callable[[list[Tensor]], Tensor]:
    def pool(cosines: list[Tensor]) -> Tensor:
        weights = [(c / gamma).exp() for c in cosines]
        return sum(w * c for w, c in zip(weights, cosines, strict=True)) / sum(weights)

    return pool


def with_norms() -> NormalizedSoftmax:
    return NormalizedSoftmax(temperature=0.5, norm=0.3)


CASES = [
    Case("NormalizedSoftmax", NormalizedSoftmax, "cross", softmax(plain), cosine, softmax=True),
    Case("NormalizedSoftmax norm", with_norms, "cross", softmax(plain, 0.3), cosine),
    Case("CosFace", CosFace, "cross", softmax(less(0.35)), cosine),
    Case("CosFace warm", lambda: CosFace(temperature=1 / 8), "cross", softmax(less(0.35)), cosine),
    Case("ArcFace", ArcFace, "cross", softmax(wider(0.5)), cosine),
    Case("ArcFace warm", lambda: ArcFace(temperature=1 / 8), "cross", softmax(wider(0.5)), cosine),
    Case("ArcFace wide", lambda: ArcFace(temperature=1 / 8, margin=1.5), "cross", softmax(wider(1.5)), cosine),
    Case("SphereFace", SphereFace, "cross", sphereface(4), projection),
    Case("SphereFace 3", lambda: SphereFace(angles=3, temperature=0.5), "cross", sphereface(3), projection),
    Case("SubCentreArcFace", SubCentreArcFace, "cross", of_centres(wider(0.5), best), cosine),
    Case("SoftTriple", SoftTriple, "cross", of_centres(less(0.01), shared(0.1)), cosine),
    Case("SoftTriple shared", lambda: SoftTriple(sharing=2.0), "cross", of_centres(less(0.01), shared(2.0)), cosine),
]


def to_two_each(objective: Callable[..., Tensor], a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """The fixture's rows and labels, and two centres for each of two classes."""
    centres = torch.tensor([[1, 0, 0], [1, 2, 0], [0, 1, 1], [-1, 0, 2]], dtype=torch.float64)
    return objective(torch.cat([a, b]), centres, relation=to_proxies(Y.repeat(2), 2, each=2), **how)


GOLDEN = {
    # Values and gradients of pytorch-metric-learning, with the margins of angles in degrees.
    "NormalizedSoftmax": [("items and proxies", 4.790557, 3.911666, 1.768168)],
    # .770007 of the softmax and 0.3 times the mean of (|x| - 1)^2, .687487 by numpy.
    "NormalizedSoftmax norm": [("items and proxies", 0.976253, None, None)],
    "CosFace": [("items and proxies", 25.031903, 12.594738, 7.560388)],
    "CosFace warm": [("items and proxies", 3.230459, 1.568459, 0.881671)],
    "ArcFace": [("items and proxies", 28.904185, 12.465652, 7.512777)],
    "ArcFace warm": [("items and proxies", 3.698621, 1.560608, 0.908783)],
    "ArcFace wide": [("items and proxies", 8.670419, 1.680977, 1.192130)],
    "SphereFace": [("items and proxies", 2.690573, 0.721449, 0.887217)],
    "SphereFace 3": [("items and proxies", 3.704412, 1.223490, 1.584676)],
    "SubCentreArcFace": [(to_two_each, 20.272923, 9.931994, 8.833770)],
    "SoftTriple": [(to_two_each, 2.200900, 1.258843, 1.439730)],
    "SoftTriple shared": [(to_two_each, 3.193423, 1.707915, 2.145265)],
}


def lead(margin: float, rate: float) -> Callable[[int, int], float]:
    """All classes alike, but for the margin of the own one."""
    return lambda n, d: math.log1p((n - 1) * math.exp(margin * rate))


CHANCE = {
    "NormalizedSoftmax": lambda n, d: math.log(n),
    "NormalizedSoftmax norm": lambda n, d: math.log(n),
    "CosFace": lead(0.35, 64),
    "CosFace warm": lead(0.35, 8),
    "ArcFace": lead(math.sin(0.5), 64),
    "ArcFace warm": lead(math.sin(0.5), 8),
    "ArcFace wide": lead(math.sin(1.5), 8),
    "SphereFace": None,
    "SphereFace 3": None,
    "SubCentreArcFace": lead(math.sin(0.5), 64),
    "SoftTriple": lead(0.01, 20),
    "SoftTriple shared": lead(0.01, 20),
}

COLLAPSED = {
    # Rows of length sqrt(3) / 2.
    "NormalizedSoftmax norm": lambda n, d: math.log(n) + 0.3 * (math.sqrt(d) / 2 - 1) ** 2,
    "ArcFace": lead(1 - math.cos(0.5), 64),
    "ArcFace warm": lead(1 - math.cos(0.5), 8),
    "ArcFace wide": lead(1 - math.cos(1.5), 8),
    "SubCentreArcFace": lead(1 - math.cos(0.5), 64),
}
