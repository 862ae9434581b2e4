"""AMCL: are three heads with temperatures of pairs worth more than one, under two changes of views and under five?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.claims.common import LIGHT, Learned, Sets, cell, everything, gain, learn, table, views_of
from benchmarks.claims.drawing import Shown, draw

CHANGES = {
    "crop, light": LIGHT,
    "crop, light, mirror, blur, solarise": replace(LIGHT, flip=0.5, blur_p=0.5, blur_sigma=(0.1, 1.0), solarise_p=0.2),
}
WIDTH = 16  # of a projection: the price of temperatures is least at 2 / WIDTH
WAYS: dict[str, dict[str, Any]] = {
    "3 heads": {"heads": 3},
    "1 head": {"heads": 1},
    "NT-Xent, t = 0.2": {},
}


def temperatures(learned: Learned, sets: Sets, changed: str) -> tuple[Tensor, Tensor]:
    """Of near and of far pairs of two views of 500 test pictures, (heads, pairs)."""
    method = learned.method
    made = views_of(recipe=CHANGES[changed])(sets.test[:500], torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (method.project(view)["codes"] for view in made)
        told = method.objective.temperatures(one, other)
    same = torch.eye(500, dtype=torch.bool)
    return told[:, same], told[:, ~same]


def main(chosen: argparse.Namespace) -> None:
    """kNN accuracy, and what temperatures the three heads found."""
    sets, rows, found, seen = everything(), [], [], []
    for changed in CHANGES:
        hits = dict[str, list[Any]]()
        for seed in range(chosen.seeds):
            for way, options in WAYS.items():
                views = views_of(recipe=CHANGES[changed])
                options = {"projection": WIDTH, **options}
                learned = learn("simclr", options, sets, seed, chosen.steps, views=views)
                hits.setdefault(way, []).append(learned.hits(sets))
                if options.get("heads") == 3 and seed == 0:
                    near, far = temperatures(learned, sets, changed)
                    seen.append((changed, near.flatten().numpy(), far.flatten().numpy()))
                    found += [
                        [changed, str(head + 1), *(spread(part[head]) for part in (near, far))] for head in range(3)
                    ]
        for way, scores in hits.items():
            less = "" if way == "3 heads" else gain(hits["3 heads"], scores)
            rows.append([changed, way, cell(scores), less])
    table(["views change by", "head", "kNN accuracy", "3 heads less this"], rows)
    table(["views change by", "head", "temperatures of near pairs", "of far pairs"], found)
    if chosen.pictures:
        high = max(float(np.quantile(np.concatenate(parts[1:]), 0.999)) for parts in seen)
        edges = np.linspace(0, high, 61)
        shares = [
            Shown(f"{side}, {changed.count(',') + 1} changes", edges, np.histogram(part, edges)[0] / len(part), "bars")
            for changed, *parts in seen
            for side, part in zip(("near", "far"), parts, strict=True)
        ]
        draw(
            chosen.pictures / "claims-amcl.svg",
            "Temperatures of pairs, three heads together, AMCL",
            "temperature",
            "share of the pairs",
            shares,
        )


def spread(values: Tensor) -> str:
    """Median with the 5th and the 95th hundredth."""
    low, middle, high = torch.quantile(values[:100_000], torch.tensor([0.05, 0.5, 0.95])).tolist()
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
