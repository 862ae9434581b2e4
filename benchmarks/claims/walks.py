"""Invariance propagation: are those that a walk reaches of the same class, and are they worth having as near rows?"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.claims.common import balanced, cell, gain, learn, table
from nearfar.data.batch import Batch
from nearfar.evaluation.bootstrap import seeds_mean

ITEMS, BATCH = 2000, 64
WAYS: dict[str, dict[str, Any]] = {"walks": {}, "instance discrimination": {"weight": 0.0}}


def main(chosen: argparse.Namespace) -> None:
    """Purity by the steps of a walk, over training, and kNN accuracy with and without."""
    hits, purity = dict[str, list[Any]](), list[list[list[float]]]()
    marks = [chosen.steps // 4, chosen.steps // 2, chosen.steps]
    for seed in range(chosen.seeds):
        sets = balanced(ITEMS, seed)
        labels, found = torch.as_tensor(sets.labels).long(), list[list[float]]()

        def watch(
            method: Any, step: int, views: list[Any], batch: Batch, labels: Any = labels, found: Any = found
        ) -> None:
            if step + 1 in marks:
                found.append(method.bank.purity(labels))

        for way, options in WAYS.items():
            seen = watch if way == "walks" else None
            learned = learn("invp", {"items": ITEMS, **options}, sets, seed, chosen.steps, BATCH, watch=seen)
            hits.setdefault(way, []).append(learned.hits(sets))
        purity.append(found)
    each = np.array(purity)  # seeds, marks, steps of the walk
    table(
        ["training steps", "reached by 1 step", "by 2", "by 3"],
        [
            [str(mark), *(seeds_mean("", each[:, i, s]).short() for s in range(each.shape[2]))]
            for i, mark in enumerate(marks)
        ],
    )
    less = gain(hits["walks"], hits["instance discrimination"])
    table(
        ["near rows", "kNN accuracy", "walks less this"],
        [[way, cell(scores), "" if way == "walks" else less] for way, scores in hits.items()],
    )
