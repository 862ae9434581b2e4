"""SimCLR with another head or objective: rewards for what is told apart already, and projections without negatives."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from benchmarks.claims.common import cell, everything, gain, learn, table
from benchmarks.claims.drawing import Shown, draw
from benchmarks.little import pictures
from nearfar.data.batch import Batch
from nearfar.evaluation import class_consistency, effective_rank, nearest, paired_difference, sparsity
from nearfar.evaluation.bootstrap import seeds_mean
from nearfar.objectives import DCL, Encouraging

BATCH, FEW = 64, 8
REWARDS: dict[str, Any] = {
    "NT-Xent": None,
    "Encouraging, limit 0.75": Encouraging(temperature=0.2, limit=0.75),
    "Encouraging, limit 1": Encouraging(temperature=0.2, limit=1.0),
    "DCL": DCL(temperature=0.2),
}


def encouraging(chosen: argparse.Namespace) -> None:
    """How the margin, near cosine less that of the nearest far row, grows."""
    sets, hits, ends, curves = everything(), dict[str, list[Any]](), dict[str, list[float]](), {}
    for way, objective in REWARDS.items():
        courses = []

        def change(method: Any, objective: Any = objective) -> None:
            method.objective = objective or method.objective

        for seed in range(chosen.seeds):
            course: list[float] = []

            def watch(method: Any, step: int, views: list[Any], batch: Batch, course: list[float] = course) -> None:
                z = normalize(torch.cat(views), dim=1)
                n, scores = len(batch.ids), z @ z.T
                near = scores.diagonal(n).repeat(2)
                same = torch.eye(n, dtype=torch.bool).repeat(2, 2)
                course.append(float((near - scores.masked_fill(same, -2).amax(1)).mean()))

            learned = learn("simclr", {}, sets, seed, chosen.steps, BATCH, change=change, watch=watch)
            hits.setdefault(way, []).append(learned.hits(sets))
            ends.setdefault(way, []).append(float(np.mean(course[-chosen.steps // 10 :])))
            courses.append(course)
        curves[way] = np.mean(courses, 0)
    rows = [
        [
            way,
            seeds_mean("", ends[way]).short(),
            cell(scores),
            "" if way == "NT-Xent" else gain(scores, hits["NT-Xent"]),
        ]
        for way, scores in hits.items()
    ]
    table(["objective", "margin at the end", "kNN accuracy", "less NT-Xent"], rows)
    if chosen.pictures:
        width = np.ones(9) / 9
        shown = [
            Shown(way, np.arange(4, len(curve) - 4), np.convolve(curve, width, "valid"), "line")
            for way, curve in curves.items()
        ]
        title = "Margin while SimCLR learns: near cosine less that of the nearest far row"
        draw(chosen.pictures / "claims-encouraging.svg", title, "step", "mean margin", shown)


def non_negative(chosen: argparse.Namespace) -> None:
    """Sparsity and class consistency of projections, and search by a few of their dimensions."""
    sets, rows = everything(), []
    few: dict[str, list[Any]] = {}
    whole: dict[str, list[Any]] = {}
    for activation in ("none", "relu", "rep_relu"):
        figures = []
        for seed in range(chosen.seeds):
            learned = learn("simclr", {"activation": activation}, sets, seed, chosen.steps, BATCH)
            with torch.no_grad():
                z = learned.method.project(pictures().plain(sets.test)).numpy()
            figures.append(
                [
                    sparsity(z),
                    class_consistency(z, sets.truth),
                    effective_rank(z),
                    float((np.abs(z) > 1e-5).any(0).sum()),
                ]
            )
            # The paper takes the dimensions of the largest mean first.
            top = np.argsort(-np.abs(z).mean(0))[:FEW]
            few.setdefault(activation, []).append(_precision(z[:, top], sets.truth))
            whole.setdefault(activation, []).append(_precision(z, sets.truth))
        means = [seeds_mean("", column).short() for column in np.array(figures).T]
        rows.append([activation, *means, cell(whole[activation]), cell(few[activation])])
    head = ["activation", "sparsity", "class consistency", "effective rank", "dimensions in use", "precision@10"]
    table([*head, f"of {FEW} dimensions"], rows)
    for name, found in (("all dimensions", whole), (f"{FEW} dimensions", few)):
        for activation in ("relu", "rep_relu"):
            less = paired_difference(np.stack(found[activation]), np.stack(found["none"]))
            print(f"{name}: {activation} less none {less.value:+.3f} [{less.low:+.3f}, {less.high:+.3f}]")


def _precision(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of the 10 test pictures nearest to each that are of its class; a row of zeros stands for itself."""
    near = nearest(rows + 1e-9, rows + 1e-9, 10, exclude=np.arange(len(truth)))
    return np.asarray((truth[near.index] == truth[:, None]).mean(1))


def main(chosen: argparse.Namespace) -> None:
    """The one that was asked for."""
    (encouraging if chosen.name == "encouraging" else non_negative)(chosen)
