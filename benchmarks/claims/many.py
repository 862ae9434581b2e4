"""More views of fewer pictures, or more pictures of two views, at the same number of views in a batch."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.claims.common import cell, everything, gain, learn, table, views_of
from nearfar.evaluation import effective_rank
from nearfar.evaluation.bootstrap import seeds_mean

BUDGET, TEMPERATURE = 128, 0.2
SHARED: dict[str, dict[str, Any]] = {
    "NT-Xent": {"objective": "NTXent"},
    "PolyView, geometric": {"objective": "PolyView", "average": "geometric"},
    "PolyView, arithmetic": {"objective": "PolyView", "average": "arithmetic"},
    "PolyView, sufficient": {"objective": "PolyView", "average": "sufficient"},
    "MV-InfoNCE": {"objective": "MultiViewInfoNCE"},
    "MV-DHEL": {"objective": "MultiViewDHEL"},
}


def main(chosen: argparse.Namespace) -> None:
    """kNN accuracy, effective rank and cost by objective and number of views."""
    sets, rows = everything(), []
    base: list[np.ndarray] = []
    for count in (2, 4, 8):
        for way, options in SHARED.items():
            if count == 2 and way.startswith("PolyView"):
                continue  # the same as NT-Xent
            hits, ranks, cost = [], [], []
            for seed in range(chosen.seeds):
                options = {**options, "views": count, "temperature": TEMPERATURE}
                views, batch = views_of(count), BUDGET // count
                learned = learn("simclr", options, sets, seed, chosen.steps, batch, views=views)
                hits.append(learned.hits(sets))
                ranks.append(effective_rank(learned.vectors(sets.test)))
                cost.append(learned.cost)
            base = base or hits
            less = "" if base is hits else gain(hits, base)
            figures = [cell(hits), less, seeds_mean("", ranks).short(), f"{min(cost):.0f}"]
            rows.append([f"{count} of {BUDGET // count}", way, *figures])
    table(["views", "objective", "kNN accuracy", "less NT-Xent, 2 of 64", "effective rank", "CPU ms a step"], rows)
