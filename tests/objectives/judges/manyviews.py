"""Judges of what takes many views of an item at once: a term for each item, and the order of groups of candidates."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from case import Case
from oracles import Arranged, Matrix, ScoreMatrix, cosine, listed, mean, number, once
from torch import Tensor

from nearfar.objectives import GroupOrdering, MultiViewDHEL, MultiViewInfoNCE

# One term for each item ---------------------------------------------------------


def items_of(rows: Arranged) -> list[list[int]]:
    """The anchors of each item: those of one key, or each alone."""
    keys = rows.keys if rows.keys is not None else list(range(len(rows.anchors)))
    return [[i for i, key in enumerate(keys) if key == item] for item in dict.fromkeys(keys)]


def multiview_infonce(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
    """-log of the share of all pairs of an item's views among all pairs that its views are in."""
    values = []
    for item in items_of(rows):
        top = [w * (s[i][j] / t).exp() for i in item for j, w in listed(near[i])]
        bottom = [w * (s[i][j] / t).exp() for i in item for j, w in once(near[i], far[i])]
        if top:
            values.append(-(sum(top) / sum(bottom)).log())
    return mean(values)


def multiview_dhel(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
    """The spread of every row of an item, less one term in which each pair of its views counts once."""
    values = []
    for item in items_of(rows):
        pull = [w * (s[i][j] / t).exp() / 2 for i in item for j, w in listed(near[i])]
        push = [sum(w * (s[i][j] / t).exp() for j, w in listed(far[i])) for i in item]
        if pull and all(isinstance(x, Tensor) for x in push):
            values.append(sum(x.log() for x in push) - sum(pull).log())
    return mean(values)


# Order of groups ------------------------------------------------------------------


def sorted_softly(x: list[Tensor]) -> list[list[Tensor]]:
    """p[e][w], the probability that value e ends on wire w of the network; its columns are mixed layer by layer."""
    p = [[torch.tensor(float(e == w), dtype=torch.float64) for w in range(len(x))] for e in range(len(x))]
    for layer in range(len(x)):
        for low in range(layer % 2, len(x) - 1, 2):
            a, c = x[low], x[low + 1]
            kept = 0.5 + torch.atan(c - a) / math.pi
            x = [*x[:low], kept * a + (1 - kept) * c, (1 - kept) * a + kept * c, *x[low + 2 :]]
            for row in p:
                row[low], row[low + 1] = (
                    kept * row[low] + (1 - kept) * row[low + 1],
                    (1 - kept) * row[low] + kept * row[low + 1],
                )
    return p


def ordering(nearest: int, detach: bool) -> Callable[..., Tensor]:
    """Half the cross-entropy of "is it among the lowest" and half that of its complement, over sorted far and near."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        if detach:
            s = [[cosine(u, v.detach()) for v in rows.candidates] for u in rows.anchors]
        values = []
        for i in range(len(s)):
            up, down = ([s[i][j] / t for j, _ in listed(side[i])] for side in (near, far))
            if not up or not down:
                continue
            low = sorted(down, key=number)[-nearest:]
            p = sorted_softly(low + sorted(up, key=number))
            each = []
            for e, row in enumerate(p):
                below, above = sum(row[: len(low)]), sum(row[len(low) :])
                right = below if e < len(low) else above
                each.append(-(right.log() + (1 - (above if e < len(low) else below)).log()) / 2)
            values.append(mean(each))
        return mean(values)

    return value


def at_a_tie(low: int) -> float:
    """The value where all scores of `low` far candidates and one near one are equal."""
    p = sorted_softly([torch.zeros((), dtype=torch.float64)] * (low + 1))
    right = [sum(row[:low]) for row in p[:low]] + [p[low][low]]
    return float(mean([-x.log() for x in right]))


CASES = [
    Case(
        "MultiViewInfoNCE", lambda: MultiViewInfoNCE(temperature=0.5), "joint", multiview_infonce, cosine, softmax=True
    ),
    Case("MultiViewDHEL", lambda: MultiViewDHEL(temperature=0.5), "apart", multiview_dhel, cosine, softmax=True),
    Case("GroupOrdering", lambda: GroupOrdering(nearest=2), "apart", ordering(2, True), cosine, constant=True),
    Case("GroupOrdering both", lambda: GroupOrdering(detach=False), "apart", ordering(10, False), cosine),
    Case(
        "GroupOrdering steep", lambda: GroupOrdering(temperature=0.1, nearest=3), "apart", ordering(3, True), cosine,
        constant=True,
    ),
]  # fmt: skip

GOLDEN = {
    "MultiViewInfoNCE": [("three views", 1.399557, 0.042679, 0.188342)],
    # Of two views it is DHEL: 2.370988.
    "MultiViewDHEL": [("three views", 3.745629, 0.807085, 0.549443), ("views", 2.370988, 0.839607, 0.681358)],
    # Rows of A have equal cosines, and which of them is sorted first decides the gradient.
    "GroupOrdering": [("three views", 0.426737, None, 0.015402)],
    # The same network as products of matrices, in numpy.
    "GroupOrdering both": [("three views", 0.431473, None, None)],
    "GroupOrdering steep": [("three views", 0.372163, None, None)],
}
CHANCE = {
    "MultiViewInfoNCE": lambda n, d: math.log(2 * n - 1),
    "MultiViewDHEL": lambda n, d: 2 * math.log(n - 1),
    "GroupOrdering": lambda n, d: at_a_tie(2),
    "GroupOrdering both": lambda n, d: at_a_tie(n - 1),
    "GroupOrdering steep": lambda n, d: at_a_tie(3),
}
COLLAPSED = {"MultiViewDHEL": lambda n, d: 2 * math.log(n - 1) + 2}
