"""Objectives that weigh anchors or pairs: MACL, EasySupCon, Encouraging, HardContrastive, CACR and others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from case import Case
from golden import C, constant, far_ones, others
from oracles import Matrix, ScoreMatrix, cosine, listed, mean, minus_square, number, once
from torch import Tensor

from nearfar.contrast import Dot
from nearfar.objectives import (
    CACR,
    MACL,
    Asymmetric,
    EasySupCon,
    Encouraging,
    ExactCovariance,
    HardContrastive,
    to_classes,
    to_proxies,
)

Weighted = list[tuple[int, float]]


def met(near: Matrix, far: Matrix) -> list[tuple[int, Weighted, Weighted]]:
    """Anchors with near and far candidates."""
    every = [(i, listed(p), listed(f)) for i, (p, f) in enumerate(zip(near, far, strict=True))]
    return [(i, p, f) for i, p, f in every if p and f]


def average(s: list[Tensor], pairs: Weighted) -> Tensor:
    return sum(w * s[j] for j, w in pairs) / sum(w for _, w in pairs)


def share(near: Tensor, far: list[tuple[Tensor, float]]) -> Tensor:
    """Of the near candidate in the softmax, the far ones being (score, weight)."""
    return near.exp() / (near.exp() + sum(w * x.exp() for x, w in far))


def macl(alpha: float, aligned: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        anchors = met(near, far)
        if not anchors:
            return mean([])
        agreement = sum(number(average(s[i], p)) for i, p, _ in anchors) / len(anchors)
        t = t * (1 + alpha * (agreement - aligned))
        values = []
        for i, p, f in anchors:
            found = share(average(s[i], p) / t, [(s[i][j] / t, w) for j, w in f])
            values.append(-found.log() / (1 - found.detach()))
        return mean(values)

    return value


def encouraging(limit: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i, p, f in met(near, far):
            found = share(average(s[i], p) / t, [(s[i][j] / t, w) for j, w in f])
            if number(found) <= limit:
                bonus = (1 - found).log()
            else:
                bonus = math.log(1 - limit) - (found - limit) / (1 - limit)
            values.append(-found.log() + bonus)
        return mean(values)

    return value


def easy(q: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p = listed(near[i])
            if p:
                total = sum(w * (s[i][j] / t).exp() for j, w in once(near[i], far[i]))
                missed = sum(w * (1 - ((s[i][j] / t).exp() / total) ** q) for j, w in p)
                values.append(missed / sum(w for _, w in p))
        return mean(values)

    return value


def hardest(quantile: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i, p, f in met(near, far):
            ordered = sorted((number(s[i][j]) for j, _ in f), reverse=True)
            limit = ordered[len(f) - math.floor(len(f) * quantile + 1e-9) - 1]
            hard = [(s[i][j] / t, w) for j, w in f if number(s[i][j]) >= limit - 1e-12]
            values.append(-share(average(s[i], p) / t, hard).log())
        return mean(values)

    return value


def above(threshold: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i, p, f in met(near, far):
            hard = [(s[i][j] / t, w) for j, w in f if number(s[i][j]) >= threshold]
            values.append(-share(average(s[i], p) / t, hard).log())
        return mean(values)

    return value


def soft_mean(distances: list[tuple[Tensor, float]], rate: float, detach: bool) -> Tensor:
    weights = [w * (rate * (d.detach() if detach else d)).exp() for d, w in distances]
    return sum(w * d for w, (d, _) in zip(weights, distances, strict=True)) / sum(weights)


def cacr(near_rate: float, far_rate: float, detach: bool = False) -> Callable[..., Tensor]:
    """Scores are minus squared distances, divided by the temperature."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        pulls, pushes = [], []
        for i in range(len(s)):
            if p := listed(near[i]):
                pulls.append(soft_mean([(-s[i][j] / t, w) for j, w in p], near_rate, detach))
            if f := listed(far[i]):
                pushes.append(soft_mean([(-s[i][j] / t, w) for j, w in f], -far_rate, detach))
        return mean(pulls) - mean(pushes)

    return value


def exact_covariance(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    values = []
    for i, p, f in met(near, far):
        pull, m = 1 - average(s[i], p), sum(w for _, w in f)
        total = torch.zeros((), dtype=torch.float64)
        for j, w in f:
            e = torch.exp(-(1 - s[i][j].detach()) / t)
            total = total + w * e / (1 + e) / (t * m) * (pull - (1 - s[i][j]))
        values.append(total)
    return mean(values)


def asymmetric(near_focus: float, far_focus: float, shift: float, detach: bool = False) -> Callable[..., Tensor]:
    def constant_if(x: Tensor) -> Tensor:
        return x.detach() if detach else x

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            total = torch.zeros((), dtype=torch.float64)
            for j in range(len(s[i])):
                p = 1 / (1 + torch.exp(-(s[i][j] / t + b)))
                q = p - shift if number(p) > shift else p * 0
                total = total - near[i][j] * constant_if(1 - p) ** near_focus * p.log()
                total = total - far[i][j] * constant_if(q) ** far_focus * (1 - q).log()
            values.append(total)
        return mean(values)

    return value


CASES = [
    Case("MACL", lambda: MACL(temperature=0.5), "joint", macl(0.5, 0.0), cosine, softmax=True, constant=True),
    Case("MACL aligned", lambda: MACL(temperature=0.5, alpha=0.6, aligned=0.3), "joint", macl(0.6, 0.3), cosine,
         softmax=True, constant=True),
    Case("Encouraging", lambda: Encouraging(temperature=0.5), "joint", encouraging(0.75), cosine, softmax=True),
    Case("Encouraging early", lambda: Encouraging(temperature=0.2, limit=0.2), "joint", encouraging(0.2), cosine,
         softmax=True),
    Case("Encouraging no limit", lambda: Encouraging(temperature=0.5, limit=1.0), "joint", encouraging(1.0), cosine,
         softmax=True),
    Case("EasySupCon", lambda: EasySupCon(temperature=0.5), "joint", easy(0.7), cosine, softmax=True,
         fades=True),
    Case("EasySupCon steep", lambda: EasySupCon(q=1.5), "joint", easy(1.5), cosine, softmax=True,
         fades=True),
    Case("HardContrastive", lambda: HardContrastive(temperature=0.5), "joint", hardest(0.9), cosine, softmax=True),
    Case("HardContrastive half", lambda: HardContrastive(temperature=0.5, quantile=0.5), "joint", hardest(0.5), cosine,
         softmax=True),
    Case("HardContrastive threshold", lambda: HardContrastive(temperature=0.5, threshold=-0.1), "joint", above(-0.1),
         cosine, softmax=True),
    Case("CACR", CACR, "cross", cacr(1.0, 1.0), minus_square),
    Case("CACR steep", lambda: CACR(near_rate=1.0, far_rate=2.0), "cross", cacr(1.0, 2.0), minus_square),
    Case("CACR detached", lambda: CACR(near_rate=2.0, far_rate=2.0, detach=True), "cross", cacr(2.0, 2.0, True),
         minus_square, constant=True),
    Case("ExactCovariance", ExactCovariance, "joint", exact_covariance, cosine, constant=True),
    Case("Asymmetric", Asymmetric, "cross", asymmetric(1.0, 4.0, 0.05), cosine),
    Case("Asymmetric detached", lambda: Asymmetric(temperature=0.2, bias=-1.0, detach=True), "cross",
         asymmetric(1.0, 4.0, 0.05, True), cosine, constant=True),
    Case("Asymmetric plain", lambda: Asymmetric(near_focus=0.0, far_focus=0.0, shift=0.0), "cross",
         asymmetric(0.0, 0.0, 0.0), cosine),
]  # fmt: skip


RAW = {"similarity": Dot(), "temperature": 1.0}


def classified(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """Raw A as logits of three classes, targets 0, 1, 2, 0."""
    relation = to_proxies(torch.tensor([0, 1, 2, 0]), 3)
    return objective.replace(**RAW)(a, torch.eye(3, dtype=a.dtype), relation=relation, **how)


def several_classes(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """Raw A as logits of three classes of which several may be right; the published sum over all pairs."""
    relation = to_classes(torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]]))
    value = objective.replace(**RAW)(a, torch.eye(3, dtype=a.dtype), relation=relation, **how)
    return len(a) * value


def hardly_easy(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """All near pairs weigh the same: SupCon outside."""
    return 1e7 * objective.replace(q=1e-7)(a, b, labels=torch.tensor([0, 0, 1, 1]), **how)


def over_three_views(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """Attraction of all rows to the other views of their item, repulsion averaged over pairs of views."""
    views = [a, b, C]
    pull = objective.terms(torch.cat(views), ids=torch.arange(4).repeat(3), **how)["attract"]
    pairs = [(views[x], views[y]) for x, y in ((0, 1), (0, 2), (1, 2))]
    return pull + sum(objective.terms(x, y, **how)["repel"] for x, y in pairs) / 3


GOLDEN = {
    "MACL": [("views", 1.946328, 0.353128, 0.331798)],
    # The formula in numpy at t = .5 (1 + .6 (.840497 - .3)).
    "MACL aligned": [("views", 1.928690, None, None)],
    "Encouraging": [(classified, -0.151824, 0.617797, 0.0)],
    "Encouraging early": [("views", 0.562729, None, None)],  # in numpy; six of eight anchors are above the limit
    "Encouraging no limit": [("views", 1.086262, None, None)],  # that of DCL
    "EasySupCon": [("labels", 0.756559, None, None), (hardly_easy, 2.168799, 0.279090, 0.173761)],  # first in numpy
    "EasySupCon steep": [("labels", 0.906390, None, None)],  # in numpy
    # In numpy. Of six far rows one is kept, or three; of one anchor all six, since the third to sixth tie.
    "HardContrastive": [("views", 0.675754, None, None)],
    "HardContrastive half": [("views", 1.173044, None, None)],
    "HardContrastive threshold": [("views", 1.387411, 0.372360, 0.355833)],  # no cosine of G is below 0: NT-Xent
    "CACR": [("views", -0.569236, None, None)],  # in numpy
    "CACR steep": [("views", -0.392243, 0.679635, 0.589547), (over_three_views, -0.050509, 0.171798, 0.344736)],
    "CACR detached": [("views", -0.392243, None, None)],  # the value of the steep one
    "ExactCovariance": [("views", -0.147918, 0.122606, 0.118882)],
    "Asymmetric": [(several_classes, 1.398579, 0.793923, 0.0)],
    "Asymmetric detached": [("views", 1.656758, None, None)],  # in numpy
    "Asymmetric plain": [("views", 3.160042, 0.573802, 0.266169)],  # that of Logistic
}


def equalised(n: int, d: int) -> float:
    return math.log(2 * n - 1) * (2 * n - 1) / (2 * n - 2)


def at_score(t: float, b: float, near_focus: float, far_focus: float, shift: float, score: float) -> Any:
    """Asymmetric where all pairs score the same."""
    p = 1 / (1 + math.exp(-(score / t + b)))
    q = max(p - shift, 0)
    near, far = -((1 - p) ** near_focus) * math.log(p), -(q**far_focus) * math.log(1 - q)
    return lambda n, d: near + (n - 1) * far


CHANCE = {
    "MACL": equalised,
    "MACL aligned": equalised,
    "Encouraging": far_ones,
    "Encouraging early": far_ones,
    "Encouraging no limit": far_ones,
    "EasySupCon": lambda n, d: 1 - (2 * n - 1) ** -0.7,
    "EasySupCon steep": lambda n, d: 1 - (2 * n - 1) ** -1.5,
    "HardContrastive": others,
    "HardContrastive half": others,
    "HardContrastive threshold": others,
    "CACR": constant(0.0),
    "CACR steep": constant(0.0),
    "CACR detached": constant(0.0),
    "ExactCovariance": constant(0.0),
    "Asymmetric": at_score(1.0, 0.0, 1.0, 4.0, 0.05, 0.0),
    "Asymmetric detached": at_score(0.2, -1.0, 1.0, 4.0, 0.05, 0.0),
    "Asymmetric plain": at_score(1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
COLLAPSED = {
    "Asymmetric": at_score(1.0, 0.0, 1.0, 4.0, 0.05, 1.0),
    "Asymmetric detached": at_score(0.2, -1.0, 1.0, 4.0, 0.05, 1.0),
    "Asymmetric plain": at_score(1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
}
