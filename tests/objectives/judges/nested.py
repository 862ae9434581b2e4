"""An objective over prefixes, prefix by prefix."""

from __future__ import annotations

import math

from case import Case
from golden import A, B
from torch import Tensor

from nearfar.objectives import Matryoshka, MultipleNegatives

from .given import found


def nested(a: Tensor, b: Tensor) -> Tensor:
    return 1.5 * found(0.5)(a[:, :3], b[:, :3]) + 0.5 * found(0.5)(a[:, :2], b[:, :2])


def infonce(width: int) -> float:
    """Of G at temperature .5, in plain numbers."""
    one, other = ([row[:width] for row in rows.tolist()] for rows in (A, B))
    total = 0.0
    for i, u in enumerate(one):
        s = []
        for v in other:
            norms = math.hypot(*u) * math.hypot(*v)
            s.append(2 * sum(x * y for x, y in zip(u, v, strict=True)) / norms if norms else 0.0)
        total += math.log(sum(math.exp(x) for x in s)) - s[i]
    return total / len(one)


CASES = [
    Case(
        "Matryoshka",
        lambda: Matryoshka(of=MultipleNegatives(temperature=0.5), widths=(3, 2), weights=(1.5, 0.5)),
        "views",
        nested,
        least=1,
    )
]
GOLDEN = {"Matryoshka": [("views", 1.5 * 0.923864 + 0.5 * infonce(2), None, None)]}
CHANCE = {"Matryoshka": lambda n, d: 2 * math.log(n)}
COLLAPSED = dict(CHANCE)
