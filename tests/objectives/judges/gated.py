"""Judges of gated pairs of classes."""

from __future__ import annotations

from typing import Any

import torch
from case import Case
from golden import Y
from oracles import cosine, mean
from torch import Tensor

from nearfar.objectives import GatedPairs


def gated_pairs(a: Tensor, b: Tensor, labels: Tensor, partners: Tensor, gates: Tensor | None = None) -> Tensor:
    """One softmax per near row against rows of third classes, all multiplied by the gate of the two classes."""
    z = [*a, *b]
    y, q = labels.tolist() * 2, partners.tolist() * 2
    values = []
    for i in range(len(z)):
        gate = 1.0 if gates is None else (gates[y[i], q[i]] + gates[q[i], y[i]]).sigmoid()
        s = [cosine(z[i] * gate, row * gate) / 0.5 for row in z]
        near = [j for j in range(len(z)) if j != i and y[j] == q[i]]
        far = [j for j in range(len(z)) if y[j] not in (y[i], q[i])]
        if near:
            pushes = sum((s[j].exp() for j in far), start=s[i] * 0)
            values.append(mean([(s[p].exp() + pushes).log() - s[p] for p in near]))
    return mean(values)


def classes(n: int) -> dict[str, Any]:
    """Three classes, of which some rows are paired with their own and some with the next."""
    row = torch.arange(n)
    return {"labels": row % 3, "partners": (row + row % 2) % 3}


def with_labels(objective: Any, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    return objective(a, b, labels=Y, **how)


CASES = [
    Case("GatedPairs", lambda: GatedPairs(classes=3, width=3, temperature=0.5), "views", gated_pairs, how=classes,
         least=1),
]  # fmt: skip

# Of two classes paired with themselves it is SupCon's exclusive reading, from published code.
GOLDEN = {"GatedPairs": [(with_labels, 1.824970, 0.313843, 0.224399)]}
CHANCE = {"GatedPairs": None}
COLLAPSED: dict = {}
