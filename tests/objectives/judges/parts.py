"""Means over the views of an item, and rows in two parts: objectives that compare no near and far pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from case import Case, rows
from golden import Y, constant
from oracles import mean, unit
from torch import Tensor

from nearfar.objectives import DecoupledUniformity, SepCLR


def spread(points: list[Tensor], rate: float) -> Tensor:
    pairs = [(points[i], points[j]) for i in range(len(points)) for j in range(i)]
    return mean([(-rate * (u - v).square().sum()).exp() for u, v in pairs]).log()


# Centroids ---------------------------------------------------------------------


def decoupled(
    t: float, alike: Callable[[Tensor, Tensor], Tensor] | None = None, ridge: float = 0.01
) -> Callable[..., Tensor]:
    """`alike` is the kernel of two items' priors."""

    def value(a: Tensor, b: Tensor, prior: Tensor | None = None) -> Tensor:
        centroids = [(unit(u) + unit(v)) / 2 for u, v in zip(a, b, strict=True)]
        if alike is not None and prior is not None:
            kernel = torch.tensor([[float(alike(x, y)) for y in prior] for x in prior], dtype=torch.float64)
            weights = torch.linalg.inv(kernel + ridge * torch.eye(len(a), dtype=torch.float64)) @ kernel
            centroids = [sum(w * m for w, m in zip(row, centroids, strict=True)) for row in weights]
        return spread(centroids, t)

    return value


def gaussian(x: Tensor, y: Tensor) -> Tensor:
    return (-(x - y).square().sum() / 2).exp()


def numbers(n: int) -> dict[str, Any]:
    return {"prior": rows(40, n, 2)}


def classes(n: int) -> dict[str, Any]:
    return {"prior": torch.tensor([3, 0, 3, 1, 0, 3, 1, 1, 0, 0])[:n]}


def with_labels_as_numbers(objective: Callable[..., Tensor], a: Tensor, b: Tensor, **how: Any) -> Tensor:
    return objective(a, b, prior=Y.double(), **how)


def with_labels(objective: Callable[..., Tensor], a: Tensor, b: Tensor, **how: Any) -> Tensor:
    return objective(a, b, prior=Y, **how)


# Two parts ---------------------------------------------------------------------


def separated(
    common: int | None, tau: float, salient: float, background: float, independence: float, information: bool = False
) -> Callable[..., Tensor]:
    def value(a: Tensor, b: Tensor, target: Tensor | None = None) -> Tensor:
        n, rate = len(a), 1 / (2 * tau)
        width = a.shape[1] // 2 if common is None else common
        is_target = [True] * n if target is None else target.tolist()
        c = [[unit(r[:width]) for r in view] for view in (a, b)]
        s = [[r[width:] for r in view] for view in (a, b)]
        shown = [[r if is_target[i] else r * 0 for i, r in enumerate(view)] for view in s]

        def align(view: list[Tensor], other: list[Tensor], kept: list[bool]) -> Tensor:
            distances = [(u - v).square().sum() for u, v, k in zip(view, other, kept, strict=True) if k]
            return rate * mean(distances)

        def joint(c: list[Tensor], s: list[Tensor]) -> Tensor:
            def kernel(i: int, j: int) -> Tensor:
                return (-rate * ((c[i] - c[j]).square().sum() + (s[i] - s[j]).square().sum())).exp()

            return mean([mean([kernel(i, j) for j in range(n)]).log() for i in range(n)])

        def shared(c: list[Tensor], s: list[Tensor]) -> Tensor:
            still = [r * 0 for r in c], [r * 0 for r in s]
            return joint(c, s) - joint(c, still[1]) - joint(still[0], s) if information else joint(c, s)

        nothing, apart = [r * 0 for r in s[0]], [not k for k in is_target]
        return (
            align(c[0], c[1], [True] * n) + spread(c[0], rate) + spread(c[1], rate)
            + salient * (align(s[0], s[1], is_target) + spread(shown[0], rate) + spread(shown[1], rate))
            + background * (align(s[0], nothing, apart) + align(s[1], nothing, apart)) / 2
            + independence * (shared(c[0], shown[0]) + shared(c[1], shown[1])) / 2
        )  # fmt: skip

    return value


def some(n: int) -> dict[str, Any]:
    return {"target": torch.tensor([True, False, True, True, False, True, False, True])[:n]}


CASES = [
    Case("DecoupledUniformity", DecoupledUniformity, "views", decoupled(2.0)),
    Case("DecoupledUniformity prior", DecoupledUniformity, "views", decoupled(2.0, gaussian), how=numbers),
    Case(
        "DecoupledUniformity classes",
        lambda: DecoupledUniformity(t=1.0, ridge=0.5),
        "views",
        decoupled(1.0, lambda x, y: (x == y).double(), ridge=0.5),
        how=classes,
    ),
    Case("SepCLR", SepCLR, "views", separated(None, 0.5, 1, 1, 1)),
    Case(
        "SepCLR background",
        lambda: SepCLR(common=2, tau=0.7, salient=2.0, background=3.0, independence=0.5),
        "views",
        separated(2, 0.7, 2, 3, 0.5),
        how=some,
    ),
    Case(
        "SepCLR information",
        lambda: SepCLR(common=2, tau=0.7, salient=2.0, background=3.0, independence=0.5, information=True),
        "views",
        separated(2, 0.7, 2, 3, 0.5, True),
        how=some,
    ),
]

GOLDEN = {
    "DecoupledUniformity": [("views", -1.622929, 0.822801, 0.551688)],
    "DecoupledUniformity prior": [(with_labels_as_numbers, -0.232172, 0.384383, 0.229135)],
    # m_i = sum over the class / (2 + ridge), the mean of exp(-|m_i - m_j|^2) over 6 pairs, in plain numpy.
    "DecoupledUniformity classes": [(with_labels, -0.079754, None, None)],
    # In plain numpy from the formula; of the published terms on this fixture see test_parts.py.
    "SepCLR": [("views", -3.178161, None, None)],
    "SepCLR background": [("views", -1.574170, None, None)],
    "SepCLR information": [("views", -1.168517, None, None)],
}

CHANCE = {
    "DecoupledUniformity": constant(-2.0),
    "DecoupledUniformity prior": None,
    "DecoupledUniformity classes": None,
    "SepCLR": None,
    "SepCLR background": None,
    "SepCLR information": None,
}
COLLAPSED = {"DecoupledUniformity": constant(0.0), "SepCLR": constant(0.0)}
