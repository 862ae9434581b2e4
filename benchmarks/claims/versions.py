"""`moco`: what a head of two layers, blur and a cosine bring to MoCo v1, one after the other, and all of them (v2)."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from benchmarks.claims.common import LIGHT, cell, everything, gain, learn, table, views_of
from nearfar.models import MomentumCopy

WAYS = {  # two layers, blur, cosine
    "v1": (False, False, False),
    "v1, two layers": (True, False, False),
    "v1, blur": (False, True, False),
    "v1, cosine": (False, False, True),
    "v2": (True, True, True),
}
FALLS = (0.6, 0.8)  # of the steps, where the rate of v1 is divided by ten
BLURRED = replace(LIGHT, blur_p=0.5, blur_sigma=(0.1, 0.6), blur_kernel=0.4)  # of 3 pixels, as pictures are of 8


def linear(method: Any) -> None:
    """The head of v1."""
    method.head = nn.Linear(method.width, method.options.projection)
    method.keys = MomentumCopy(nn.Sequential(method.encoder, method.head))


def main(chosen: argparse.Namespace) -> None:
    """A row for each change."""
    sets, hits = everything(), dict[str, list[np.ndarray]]()
    for seed in range(chosen.seeds):
        for way, (deep, blur, cosine) in WAYS.items():
            options = {"queue": 1024, "symmetric": False, "temperature": 0.2}
            learned = learn(
                "moco", options, sets, seed, chosen.steps, falls=() if cosine else FALLS,
                views=views_of(recipe=BLURRED if blur else LIGHT), change=None if deep else linear,
            )  # fmt: skip
            hits.setdefault(way, []).append(learned.hits(sets))
    rows = [[way, cell(scores), "" if way == "v1" else gain(scores, hits["v1"])] for way, scores in hits.items()]
    table(["MoCo", "kNN accuracy", "less v1"], rows)
