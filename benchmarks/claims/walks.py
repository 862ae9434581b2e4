"""Invariance propagation: are those that a walk reaches of the same class, and are they worth having as near rows?"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.claims.common import balanced, cell, gain, learn, table
from nearfar.data.batch import Batch
from nearfar.evaluation.bootstrap import seeds_mean
from nearfar.models import LinkedBank
from nearfar.objectives import propagated

ITEMS, BATCH = 2000, 64
WAYS: dict[str, dict[str, Any]] = {
    "walks, 50 hardest": {},
    "walks, 20 hardest": {"hardest": 20},
    "84 nearest, 50 hardest": {"links": 84, "walk": 1},
    "instance discrimination": {"weight": 0.0},
}


def purity(method: Any, labels: torch.Tensor) -> list[float]:
    """Share of the item's class among those that each step reaches, and among the hardest, which are near."""
    bank, options = method.bank, method.options
    ids = torch.arange(len(labels))
    near = propagated(bank.vectors, bank.vectors, ids, bank.walk(ids, options.walk), options.hardest).near
    same, weights = (labels[near.rows] == labels[near.columns]).double(), torch.as_tensor(near.weights)
    return [*bank.purity(labels, options.walk), float((same * weights).sum() / weights.sum())]


def against_nearest(bank: LinkedBank, labels: torch.Tensor) -> list[float]:
    """How many different items a walk reaches, and the purity of these and of as many nearest ones."""
    ids, same = torch.arange(len(labels)), labels[:, None] == labels
    reached = torch.zeros_like(same).scatter_(1, bank.walk(ids), True).fill_diagonal_(False)
    count = reached.sum(1, keepdim=True)
    cosine = (bank.vectors @ bank.vectors.T).fill_diagonal_(-torch.inf)
    nearest = cosine.argsort(1, descending=True).argsort(1) < count
    purities = [float(((same & one).sum(1) / count[:, 0]).mean()) for one in (reached, nearest)]
    return [float(count.double().mean()), *purities]


def main(chosen: argparse.Namespace) -> None:
    """Purity by the steps of a walk, over training, and kNN accuracy with and without."""
    hits, found = dict[str, list[Any]](), dict[tuple[str, int], list[list[float]]]()
    marks = [chosen.steps // 8, chosen.steps // 2, chosen.steps]
    for seed in range(chosen.seeds):
        sets = balanced(ITEMS, seed)
        labels = torch.as_tensor(sets.labels).long()
        for way, options in WAYS.items():

            def watch(
                method: Any, step: int, views: list[Any], batch: Batch, way: str = way, labels: Any = labels
            ) -> None:
                if step + 1 in marks:
                    found.setdefault((way, step + 1), []).append(purity(method, labels))

            learned = learn("invp", {"items": ITEMS, **options}, sets, seed, chosen.steps, BATCH, watch=watch)
            hits.setdefault(way, []).append(learned.hits(sets))
            if seed == 0 and way == "instance discrimination":
                count, *shares = against_nearest(learned.method.bank, labels)
    rows = []
    for (way, mark), each in found.items():
        *steps, hardest = (seeds_mean("", column).short() for column in np.array(each).T)
        rows.append([way, str(mark), *steps, *[""] * (3 - len(steps)), hardest])
    table(["near rows", "training steps", "reached by 1 step", "by 2", "by 3", "hardest of all reached"], rows)
    first = next(iter(WAYS))
    table(
        ["near rows", "kNN accuracy", "first row less this"],
        [[way, cell(s), "" if way == first else gain(hits[first], s)] for way, s in hits.items()],
    )
    head = ["different items reached by a walk", "their purity", "purity of as many nearest"]
    table(head, [[f"{count:.1f}", *(f"{share:.3f}" for share in shares)]])
