"""Kernel contrast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from case import Case
from oracles import Matrix, ScoreMatrix, listed, mean, minus_square
from torch import Tensor

from nearfar.objectives import KCL

KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda x: (-x).exp(),
    "logarithm": lambda x: -(x + 1).log(),
    "inverse": lambda x: (x + 1) ** -0.5,
}


def kcl(kernel: str, gamma: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            parts = []
            for pairs in (listed(near[i]), listed(far[i])):
                if pairs:
                    total = sum(w * KERNELS[kernel](-s[i][j] / t) for j, w in pairs)
                    parts.append(total / sum(w for _, w in pairs))
            if len(parts) == 2:
                values.append(2 * gamma * parts[1] - 2 * parts[0])
        return mean(values)

    return value


def at(kernel: str, gamma: float, t: float, square: float) -> Any:
    """Where all pairs are as far apart."""
    energy = float(KERNELS[kernel](torch.tensor(square / t, dtype=torch.float64)))
    return lambda n, d: (2 * gamma - 2) * energy


CASES = [
    Case("KCL", KCL, "apart", kcl("gaussian", 16.0), minus_square),
    Case("KCL logarithm", lambda: KCL(kernel="logarithm", gamma=1.5, temperature=0.2), "apart",
         kcl("logarithm", 1.5), minus_square),
    Case("KCL inverse", lambda: KCL(kernel="inverse", gamma=4.0), "apart", kcl("inverse", 4.0), minus_square),
]  # fmt: skip
GOLDEN: dict = {"KCL": [("views", 4.676822, 3.251376, 4.067968)], "KCL logarithm": [], "KCL inverse": []}
CHANCE = {
    "KCL": lambda n, d: 30 * math.exp(-4),
    "KCL logarithm": at("logarithm", 1.5, 0.2, 2.0),
    "KCL inverse": at("inverse", 4.0, 0.5, 2.0),
}
COLLAPSED = {
    "KCL": lambda n, d: 30.0,
    "KCL logarithm": at("logarithm", 1.5, 0.2, 0.0),
    "KCL inverse": at("inverse", 4.0, 0.5, 0.0),
}
