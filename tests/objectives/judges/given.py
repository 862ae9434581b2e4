"""Rows that bring their own far rows, candidate by candidate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from case import Case
from golden import items
from oracles import cosine, log_sum, number
from torch import Tensor

from nearfar.objectives import MultipleNegatives

Allowed = Callable[[float, float], bool]  # of the guide's cosine and that of the positive


def found(
    t: float,
    own: float = 1.0,
    shared: bool = True,
    same_view: tuple[int, ...] = (),
    allowed: Allowed | None = None,
    hinge: float = 0.0,
) -> Callable[..., Tensor]:
    def value(
        *views: Tensor,
        ids: Tensor | None = None,
        given: Tensor | None = None,
        guide: Tensor | None = None,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        n, values, counts = len(views[0]), [], []
        keys = list(range(n)) if ids is None else ids.tolist()
        for i in range(n):

            def passes(view: int, other: int, j: int, i: int = i) -> bool:
                if guide is None or allowed is None:
                    return True
                g = [number(cosine(guide[i, v], guide[k, w])) for v, k, w in ((view, j, other), (0, i, 1))]
                return allowed(*g)

            near, far, hardest = cosine(views[0][i], views[1][i]), [], []
            for j in range(n):
                if keys[j] != keys[i] and passes(0, 1, j):
                    far.append((cosine(views[0][i], views[1][j]), 1.0))
                for k, negatives in enumerate(views[2:]):
                    w = own if j == i else float(shared)
                    if w and (given is None or given[j, k]) and passes(0, k + 2, j):
                        far.append((cosine(views[0][i], negatives[j]), w))
            hardest = [s for s, _ in far]
            for view in same_view:
                for j in range(n):
                    if keys[j] != keys[i] and passes(view, view, j):
                        far.append((cosine(views[view][i], views[view][j]), 1.0))
            one = log_sum([(near / t, 1.0), *((s / t, w) for s, w in far)]) - near / t
            if targets is not None and far:
                y, rest = float(targets[i]), sum(s * w for s, w in far) / sum(w for _, w in far)
                one = one + (1 - y) * (near - rest) / t
            if hardest:
                top = max(hardest, key=number)
                one = one + hinge * (0.2 + top - near).clamp_min(0)
            counts.append(1.0 if weights is None else float(weights[i]))
            values.append(counts[-1] * one)
        return sum(values) / sum(counts)

    return value


def facts(n: int) -> dict[str, Any]:
    """What may be said of rows of three views: which negatives are there, duplicates, a guide and confidences."""
    draw = torch.Generator().manual_seed(n)
    return {
        "ids": torch.tensor([4, 2, 4, 7, 1, 2] * n)[:n],
        "given": torch.tensor([[True], [False], [True]] * n)[:n],
        "guide": torch.randn(n, 3, 4, dtype=torch.float64, generator=draw),
        "targets": torch.linspace(0.2, 1, n, dtype=torch.float64),
        "weights": torch.linspace(2, 1, n, dtype=torch.float64),
    }


def guided(n: int) -> dict[str, Any]:
    """A guide alone."""
    return {"guide": facts(n)["guide"]}


CASES = [
    Case("MultipleNegatives", lambda: MultipleNegatives(temperature=0.5), "views", found(0.5), least=1),
    Case(
        "MultipleNegatives own",
        lambda: MultipleNegatives(temperature=0.5, own_weight=3.0, shared=False, same_view="anchors", hinge=2.0),
        "views",
        found(0.5, 3.0, False, (0,), hinge=2.0),
        least=1,
        views=3,
    ),
    Case(
        "MultipleNegatives guided",
        lambda: MultipleNegatives(temperature=0.5, own_weight=3.0, same_view="both", guide_margin=-0.3),
        "views",
        found(0.5, 3.0, True, (0, 1), lambda g, near: g <= near + 0.3),
        how=facts,
        least=1,
        views=3,
    ),
    Case(
        "MultipleNegatives threshold",
        lambda: MultipleNegatives(temperature=0.5, threshold=0.4),
        "views",
        found(0.5, allowed=lambda g, near: g < 0.4),
        how=guided,
        least=1,
        views=3,
    ),
]


def equal(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    return objective(torch.ones_like(a) + 0 * a, torch.ones_like(a) + 0 * b, torch.ones_like(a), **how)


def orthonormal_pair(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """Gecko: two anchors that are their positives, each with a negative of its own."""
    z, n = torch.eye(2, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)[2:]
    gecko = MultipleNegatives(temperature=1.0, shared=False, same_view="anchors")
    return gecko(z, z, n, **how) + 0 * (a.sum() + b.sum())


def energy(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """The hinge alone: positive .9, hardest .8, margin .2."""
    z, made = torch.eye(1, 3, dtype=torch.float64), MultipleNegatives(hinge=1.0)
    rows = [torch.tensor([[c, math.sqrt(1 - c * c), 0.0]], dtype=torch.float64) for c in (0.9, 0.8)]
    return made.inspect(z, *rows, **how).terms["hinge"] + 0 * (a.sum() + b.sum())


def false_negative(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """DCLR: logits 10, 8 and 2, of which the second is one that the guide finds too near."""
    made = MultipleNegatives(temperature=0.1, threshold=0.9, shared=False)
    z = torch.eye(1, 3, dtype=torch.float64)
    rows = [torch.tensor([[c, math.sqrt(1 - c * c), 0.0]], dtype=torch.float64) for c in (1.0, 0.8, 0.2)]
    guide = torch.tensor([[[1.0, 0], [0.5, 0.5], [1.0, 0.1], [0, 1]]], dtype=torch.float64)
    return made(z, *rows, guide=guide, **how) + 0 * (a.sum() + b.sum())


GOLDEN = {
    "MultipleNegatives": [
        ("views", 0.923864, 0.355989, 0.289764),  # InfoNCE
        (equal, math.log(8), None, None),
        (energy, 0.1, None, None),
        (false_negative, 3.3540637e-4, None, None),  # log(1 + e^-8)
        (orthonormal_pair, 0.743668, None, None),  # log(1 + 3 / e)
    ],
    # 1 + 3 other positives + 3 of the own negative + 3 other anchors; the hinge of equal rows is its margin
    "MultipleNegatives own": [(equal, math.log(10) + 2 * 0.2, None, None)],
    "MultipleNegatives guided": [
        # SimCSE with weight 3: log(2 N - 1 + 3), and 6 rows of the same views
        (lambda objective, a, b, **how: equal(objective.replace(same_view="none"), a, b, **how), 2.302585, None, None),
        (equal, math.log(10 + 6), None, None),
    ],
    "MultipleNegatives threshold": [(equal, math.log(8), None, None)],
}


def at_chance(same_view: tuple[int, ...], allowed: Allowed, **how: Any) -> Callable[[int, int], float]:
    """Scores of 0: the logarithm of how much there is, in the mean of the rows."""

    def value(n: int, d: int) -> float:
        z = torch.eye(3 * n, dtype=torch.float64).split(n)
        return number(found(1.0, same_view=same_view, allowed=allowed, **how["pieces"])(*z, **how["facts"](n)))

    return value


CHANCE = {
    "MultipleNegatives": items,
    "MultipleNegatives own": lambda n, d: math.log(2 * n - 1 + 3) + 2 * 0.2,
    "MultipleNegatives guided": at_chance((0, 1), lambda g, near: g <= near + 0.3, pieces={"own": 3.0}, facts=facts),
    "MultipleNegatives threshold": at_chance((), lambda g, near: g < 0.4, pieces={}, facts=guided),
}
COLLAPSED = dict(CHANCE)
