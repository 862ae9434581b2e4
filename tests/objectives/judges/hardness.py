"""The hardest candidates, and far ones weighed by their hardness."""

from __future__ import annotations

import math
from collections.abc import Callable

from case import Case, learned
from golden import A, B, Y, items
from oracles import Matrix, ScoreMatrix, cosine, listed, log_sum, mean, number, transposed
from torch import Tensor

from nearfar.objectives import HardestSupCon, HardnessInfoNCE


def hardest(k: int) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p = sorted((s[i][j] for j, _ in listed(near[i])), key=number)[:k]
            n = sorted((s[i][j] for j, _ in listed(far[i])), key=number, reverse=True)[:k]
            if p and n:
                values.append(log_sum([(x / t, 1.0) for x in p + n]) - log_sum([(x / t, 1.0) for x in p]))
        return mean(values)

    return value


def weighed(alpha: float) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for scores, p, f in ((s, near, far), (transposed(s), transposed(near), transposed(far))):
            for i in range(len(scores)):
                pull = listed(p[i])
                if pull:
                    own = sum(w * scores[i][j] / t for j, w in pull) / sum(w for _, w in pull)
                    push = [(scores[i][j] / t, w * math.exp(alpha * number(scores[i][j]))) for j, w in listed(f[i])]
                    values.append(log_sum([(own, 1.0), *push]) - own)
        return mean(values)

    return value


def in_numbers(alpha: float, t: float) -> float:
    """Of G, in plain numbers."""

    def cos(u: list[float], v: list[float]) -> float:
        return sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)

    total = 0.0
    for one, other in ((A.tolist(), B.tolist()), (B.tolist(), A.tolist())):
        for i, u in enumerate(one):
            s = [cos(u, v) for v in other]
            total -= math.log(
                math.exp(s[i] / t) / sum(math.exp(x / t + (alpha * x if j != i else 0)) for j, x in enumerate(s))
            )
    return total / 8


CASES = [
    Case("HardestSupCon", lambda: HardestSupCon(temperature=0.5, nearest=2), "joint", hardest(2), cosine, softmax=True),
    Case(
        "HardnessInfoNCE",
        lambda: HardnessInfoNCE(temperature=learned(0.5), alpha=0.7),
        "cross",
        weighed(0.7),
        cosine,
        constant=True,
    ),
]
GOLDEN = {
    "HardestSupCon": [
        # SupCon inside, less the logarithm of three near rows
        (lambda objective, a, b, **how: objective.replace(nearest=7)(a, b, labels=Y, **how), 0.878330, None, None),
    ],
    "HardnessInfoNCE": [
        ("views", in_numbers(0.7, 0.5), None, None),
        (lambda objective, a, b, **how: objective.replace(alpha=0.0)(a, b, **how), 0.922972, 0.346286, 0.291255),
    ],
}
CHANCE = {"HardestSupCon": lambda n, d: math.log(1 + min(2, 2 * n - 2)), "HardnessInfoNCE": items}
# Of equal rows all weigh e^.7.
COLLAPSED = {**CHANCE, "HardnessInfoNCE": lambda n, d: math.log(1 + (n - 1) * math.exp(0.7))}
