"""Alignment and uniformity as an objective and as figures of any run; attraction and repulsion with their own weights.

`align_uniform`: SimCLR with AlignUniform, by weights, beside NT-Xent by temperatures, looked at a few times while they
learn. `cacr`: four near views, on a balanced and on a long-tailed set.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.claims.common import Learned, Sets, balanced, cell, everything, gain, learn, table, views_of
from benchmarks.claims.drawing import Shown, draw
from benchmarks.long_tail import tailed
from nearfar.data.batch import Batch
from nearfar.evaluation import alignment, uniformity
from nearfar.methods.method import Contrast
from nearfar.objectives import CACR, AlignUniform

WAYS: dict[str, tuple[dict[str, Any], Any]] = {
    "AlignUniform 1 : 1": ({"objective": "AlignUniform"}, None),
    "align alone": ({"objective": "AlignUniform"}, AlignUniform(uniform_weight=0.0)),
    "uniform alone": ({"objective": "AlignUniform"}, AlignUniform(align_weight=0.0)),
    "NT-Xent, t = 0.1": ({"temperature": 0.1}, None),
    "NT-Xent, t = 0.5": ({"temperature": 0.5}, None),
}
SEVERAL: dict[str, tuple[int, Any]] = {  # views, and CACR; NT-Xent where it is None
    "NT-Xent, 1 near view": (2, None),
    "NT-Xent, 4 near views": (5, None),
    "CACR, far rate 2": (5, CACR(near_rate=1.0, far_rate=2.0)),
    "CACR, near rate 0": (5, CACR(near_rate=0.0, far_rate=2.0)),
    "CACR, both rates 0": (5, CACR(near_rate=0.0, far_rate=0.0)),
}
TIMES, SEEN = (0.05, 0.3, 1.0), 1000


def figures(method: Any, sets: Sets) -> tuple[float, float, np.ndarray]:
    """Alignment and uniformity of projections of some test pictures, and which of all are given their class."""
    method.eval()
    with torch.no_grad():
        a, b = (method.project(view).numpy() for view in views_of()(sets.test[:SEEN], torch.Generator().manual_seed(0)))
    found = float(alignment(a, b).mean()), (uniformity(a) + uniformity(b)) / 2
    hits = Learned(method, 0.0).hits(sets)
    method.train()
    return *found, hits


def aligned(chosen: argparse.Namespace) -> None:
    """Two figures beside the accuracy, over training and over ways to train."""
    sets, times = everything(), sorted({max(1, round(chosen.steps * share)) for share in TIMES})
    found: dict[str, list[list[tuple[float, float, np.ndarray]]]] = {}
    for way, (options, objective) in WAYS.items():
        for seed in range(chosen.seeds):
            course: list[tuple[float, float, np.ndarray]] = []

            def change(method: Any, objective: Any = objective) -> None:
                method.objective = objective or method.objective

            def watch(method: Any, step: int, views: list[Any], batch: Batch, course: list[Any] = course) -> None:
                if step + 1 in times:
                    course.append(figures(method, sets))

            learn("simclr", options, sets, seed, chosen.steps, 128, change=change, watch=watch)
            found.setdefault(way, []).append(course)
    base = [course[-1][2] for course in found["NT-Xent, t = 0.5"]]
    rows = []
    for way, courses in found.items():
        for at, step in enumerate(times):
            part = [course[at] for course in courses]
            a, u = (float(np.mean([one[i] for one in part])) for i in (0, 1))
            hits = [one[2] for one in part]
            less = gain(hits, base) if step == times[-1] and not way.endswith("0.5") else ""
            rows.append([way, str(step), f"{a:.3f}", f"{u:.3f}", cell(hits), less])
    table(["objective", "step", "align", "uniform", "kNN accuracy", "less NT-Xent, t = 0.5"], rows)
    points = np.array(
        [[a, u, hits.mean()] for courses in found.values() for course in courses for a, u, hits in course]
    )
    kinds = {"align": points[:, 0], "uniform": points[:, 1], "their sum": points[:, :2].sum(1)}
    table(
        ["lower is better", f"rank correlation with accuracy, {len(points)} checkpoints"],
        [[kind, f"{spearmanr(values, points[:, 2]).statistic:.3f}"] for kind, values in kinds.items()],
    )
    if chosen.pictures:
        shown = []
        for way, courses in found.items():
            ends = np.array([[course[-1][1], course[-1][2].mean()] for course in courses])
            name = way.removeprefix("NT-Xent, ").removeprefix("AlignUniform ")
            shown.append(Shown(name, ends[:, 0], ends[:, 1]))
        draw(chosen.pictures / "claims-align.svg", "At the end of training", "uniform", "kNN accuracy", shown)


def to(objective: CACR | None) -> Any:
    """CACR of several views: attraction of all rows at once, repulsion averaged over pairs of views, as published."""

    def change(method: Any) -> None:
        if objective is None:
            return
        method.objective = objective

        def contrast(views: list[Tensor], batch: Batch) -> Any:
            near = objective.terms(torch.cat(views), ids=batch.ids.repeat(len(views)))["attract"]
            far = [
                objective.terms(views[i], views[j], ids=batch.ids)["repel"]
                for i, j in combinations(range(len(views)), 2)
            ]
            return Contrast(near + torch.stack(far).mean())

        method.contrast = contrast

    return change


def several(chosen: argparse.Namespace) -> None:
    """CACR beside NT-Xent, where classes are as frequent and where they are not."""
    for kind in ("balanced", "long tail"):
        hits: dict[str, list[Any]] = {}
        for seed in range(chosen.seeds):
            long = Sets(*tailed(seed)[0])
            sets = long if kind == "long tail" else balanced(len(long.images), seed)
            for way, (count, objective) in SEVERAL.items():
                made = learn("simclr", {}, sets, seed, chosen.steps, 64, views=views_of(count), change=to(objective))
                hits.setdefault(way, []).append(made.hits(sets))
        print(f"{kind}, {len(sets.images)} pictures\n")
        plain = hits["NT-Xent, 4 near views"]
        rows = [[way, cell(scores), "" if scores is plain else gain(scores, plain)] for way, scores in hits.items()]
        table(["objective", "kNN accuracy", "less NT-Xent, 4 near views"], rows)


def main(chosen: argparse.Namespace) -> None:
    """The one that was asked for."""
    (aligned if chosen.name == "align_uniform" else several)(chosen)
