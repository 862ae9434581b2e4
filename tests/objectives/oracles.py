"""Every objective once more, as plain loops over pairs, written from the published formulas.

Here is what they share: how rows are scored and who is near; the objectives are in `oracles_pairs.py` (compositions)
and `oracles_views.py` (two plain views). Nothing of nearfar is imported in any of them. Values are torch scalars, so
that autograd gives the gradients of an oracle too. An oracle of a composition takes

    s      s[i][j], the score of anchor i and candidate j before the temperature,
    near   near[i][j] and far[i][j], weights as floats; both 0: the pair does not count,
    t, b   temperature and bias, torch scalars,

and returns a scalar. An oracle of two plain views takes the two matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Matrix = list[list[float]]
ScoreMatrix = list[list[Tensor]]


def number(x: Tensor) -> float:
    return float(x.detach())


# How two rows are scored -------------------------------------------------------


def unit(row: Tensor) -> Tensor:
    return row / row.square().sum().sqrt().clamp_min(1e-12)


def cosine(u: Tensor, v: Tensor) -> Tensor:
    return (unit(u) * unit(v)).sum()


def dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum()


def minus_square(u: Tensor, v: Tensor) -> Tensor:
    return -(unit(u) - unit(v)).square().sum()


def minus_distance(u: Tensor, v: Tensor) -> Tensor:
    square = (unit(u) - unit(v)).square().sum()
    # The root has no slope at 0; both sides agree to take 0 there.
    return square * 0 if number(square) < 1e-14 else -square.sqrt()


def shortened_dot(mu: float) -> Callable[[Tensor, Tensor], Tensor]:
    def shorten(row: Tensor) -> Tensor:
        norm = row.square().sum().sqrt()
        return row * (mu**0.5 / norm) if number(norm) >= mu**0.5 else row

    return lambda u, v: dot(shorten(u), shorten(v))


def all_scores(
    score: Callable[[Tensor, Tensor], Tensor], anchors: list[Tensor], candidates: list[Tensor]
) -> ScoreMatrix:
    return [[score(u, v) for v in candidates] for u in anchors]


# Who is near -------------------------------------------------------------------


@dataclass
class Arranged:
    anchors: list[Tensor]
    candidates: list[Tensor]
    near: Matrix
    far: Matrix
    own: list[int]  # the column that is the anchor itself, -1 if none
    keys: list[int] | None = None  # of the anchors, where they have any
    classes: list[int] | None = None  # keys of the candidates, where near is to have the same key

    def masked(self) -> int:
        """Pairs that do not count, not counting a row against itself."""
        return sum(
            self.near[i][j] == 0 and self.far[i][j] == 0 and j != self.own[i]
            for i in range(len(self.anchors))
            for j in range(len(self.candidates))
        )


def arrange(
    layout: str,
    views: list[Tensor],
    ids: list[int] | None = None,
    labels: list[int] | None = None,
    queue: Tensor | None = None,
    queue_ids: list[int] | None = None,
) -> Arranged:
    """Who meets whom, pair by pair."""
    n = len(views[0])
    keys = labels if labels is not None else ids if ids is not None else list(range(n))
    extra = [] if queue is None else list(queue)
    extra_keys = queue_ids if queue_ids is not None else [10_000 + k for k in range(len(extra))]
    if layout == "cross" and len(views) == 2:
        anchors, candidates = list(views[0]), list(views[1]) + extra
        anchor_keys, candidate_keys, own = keys, keys + extra_keys, [-1] * n
        by_partner = labels is None
    else:
        anchors = [row for view in views for row in view]
        candidates = anchors + extra
        anchor_keys = keys * len(views)
        candidate_keys, own, by_partner = anchor_keys + extra_keys, list(range(len(anchors))), False
    view_of = [v for v in range(len(views)) for _ in range(n)]
    near = [[0.0] * len(candidates) for _ in anchors]
    far = [[0.0] * len(candidates) for _ in anchors]
    for i in range(len(anchors)):
        for j in range(len(candidates)):
            a, c = anchor_keys[i], candidate_keys[j]
            if by_partner and j == i:
                near[i][j] = 1.0
            elif j == own[i] or (not by_partner and (a < 0 or c < 0)):
                continue
            elif a == c and not (by_partner and a < 0):
                near[i][j] = 0.0 if by_partner else 1.0
            elif layout == "apart" and j < len(anchors) and view_of[i] != view_of[j]:
                continue
            else:
                far[i][j] = 1.0
    classes = None if by_partner else list(candidate_keys)
    return Arranged(anchors, candidates, near, far, own, list(anchor_keys), classes)


# Small helpers -----------------------------------------------------------------


def listed(weights: list[float]) -> list[tuple[int, float]]:
    return [(j, w) for j, w in enumerate(weights) if w > 0]


def once(near: list[float], far: list[float]) -> list[tuple[int, float]]:
    """Near and far candidates together, each once; near ones stand with weight 1 in a denominator."""
    return listed([1.0 if p > 0 else f for p, f in zip(near, far, strict=True)])


def log_sum(terms: list[tuple[Tensor, float]]) -> Tensor:
    top = max(number(x) for x, _ in terms)
    total = sum((w * (x - top).exp() for x, w in terms), start=torch.zeros((), dtype=torch.float64))
    return top + total.log()


def mean(values: list[Tensor]) -> Tensor:
    return sum(values) / len(values) if values else torch.zeros((), dtype=torch.float64)


def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


def transposed(m: list[list]) -> list[list]:
    return [list(row) for row in zip(*m, strict=True)]
