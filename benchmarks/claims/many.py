"""More views of fewer pictures, or more pictures of two views, at the same number of views in a batch."""

from __future__ import annotations

import argparse
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.claims.common import cell, everything, gain, learn, table, views_of
from nearfar.evaluation import effective_rank
from nearfar.evaluation.bootstrap import seeds_mean
from nearfar.methods import SimCLR
from nearfar.methods.average import averaged

BUDGET, TEMPERATURE, PAIRWISE = 128, 0.2, "NT-Xent, mean over pairs of views"
SHARED: dict[str, dict[str, Any]] = {
    "NT-Xent": {"objective": "NTXent"},
    PAIRWISE: {"objective": "NTXent"},
    "PolyView, geometric": {"objective": "PolyView", "average": "geometric"},
    "PolyView, arithmetic": {"objective": "PolyView", "average": "arithmetic"},
    "PolyView, sufficient": {"objective": "PolyView", "average": "sufficient"},
    "MV-InfoNCE": {"objective": "MultiViewInfoNCE"},
    "MV-DHEL": {"objective": "MultiViewDHEL"},
}


def pairwise(method: Any) -> None:
    """Let a method judge each two of the views by themselves, and take the mean."""
    method.contrast = lambda views, batch: averaged(
        [SimCLR.contrast(method, list(pair), batch) for pair in combinations(views, 2)]
    )


def main(chosen: argparse.Namespace) -> None:
    """kNN accuracy, effective rank and cost by objective and number of views."""
    sets, rows = everything(), []
    base: list[np.ndarray] = []
    for count in (2, 4, 8):
        for way, options in SHARED.items():
            if count == 2 and (way == PAIRWISE or way.startswith("PolyView")):
                continue  # the same as NT-Xent
            hits, ranks, cost = [], [], []
            for seed in range(chosen.seeds):
                options = {**options, "views": count, "temperature": TEMPERATURE}
                views, batch = views_of(count), BUDGET // count
                change = pairwise if way == PAIRWISE else None
                learned = learn("simclr", options, sets, seed, chosen.steps, batch, views=views, change=change)
                hits.append(learned.hits(sets))
                ranks.append(effective_rank(learned.vectors(sets.test)))
                cost.append(learned.cost)
            base = base or hits
            less = "" if base is hits else gain(hits, base)
            figures = [cell(hits), less, seeds_mean("", ranks).short(), f"{min(cost):.0f}"]
            rows.append([f"{count} of {BUDGET // count}", way, *figures])
    table(["views", "objective", "kNN accuracy", "less NT-Xent, 2 of 64", "effective rank", "CPU ms a step"], rows)
