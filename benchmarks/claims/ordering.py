"""GroCo: is a softly sorted group better than NT-Xent over the same negatives?"""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from benchmarks.claims.common import cell, everything, gain, learn, table
from nearfar.objectives import GroupOrdering, HardContrastive

BATCH, NEAREST = 128, 10


class Hardest(HardContrastive):
    """NT-Xent over the negatives of GroCo: the nearest other items in the anchor's own view."""

    layout: ClassVar[str] = "apart"


def main(chosen: argparse.Namespace) -> None:
    """k-NN and local purity of NT-Xent over all, NT-Xent over ten negatives, and GroCo over the same ten."""
    sets, left_out = everything(), 1 - NEAREST / (BATCH - 1)
    ways: dict[str, Any] = {
        "GroCo, 10 nearest": GroupOrdering(nearest=NEAREST),
        "NT-Xent, the same 10, t = 0.2": Hardest(temperature=0.2, quantile=left_out),
        "NT-Xent, the same 10, t = 0.5": Hardest(temperature=0.5, quantile=left_out),
        "NT-Xent, all, t = 0.2": None,
    }
    hits, pure = dict[str, list[Any]](), dict[str, list[Any]]()
    for way, objective in ways.items():

        def change(method: Any, objective: Any = objective) -> None:
            method.objective = objective or method.objective

        for seed in range(chosen.seeds):
            learned = learn("simclr", {}, sets, seed, chosen.steps, BATCH, change=change)
            hits.setdefault(way, []).append(learned.hits(sets))
            pure.setdefault(way, []).append(learned.purity(sets))
    first, *others = ways
    rows = [[first, cell(hits[first]), "", cell(pure[first]), ""]]
    for way in others:
        less = gain(hits[first], hits[way]), gain(pure[first], pure[way])
        rows.append([way, cell(hits[way]), less[0], cell(pure[way]), less[1]])
    table(["objective", "kNN accuracy", "GroCo less this", "purity of 10 neighbours", "GroCo less this"], rows)
