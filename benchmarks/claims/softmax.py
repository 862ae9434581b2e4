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
from nearfar.evaluation import class_consistency, effective_rank, nearest, sparsity
from nearfar.evaluation.bootstrap import seeds_mean
from nearfar.objectives import DCL, Encouraging

BATCH = 64
ACTIVATIONS, COUNTS = ("none", "relu", "rep_relu"), (8, 16, 32, 64, 128)
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
    """Sparsity and class consistency of projections, and search by their first dimensions."""
    sets, rows, found = everything(), [], dict[tuple[str, int], list[Any]]()
    for activation in ACTIVATIONS:
        figures = []
        for seed in range(chosen.seeds):
            learned = learn("simclr", {"activation": activation}, sets, seed, chosen.steps, BATCH)
            with torch.no_grad():
                z = learned.method.project(pictures().plain(sets.test)).numpy()
            shuffled = np.random.default_rng(seed).permutation(sets.truth)
            figures.append(
                [
                    sparsity(z),
                    class_consistency(z, sets.truth),
                    class_consistency(z, shuffled),
                    class_consistency(z - np.quantile(z, 0.9, axis=0), sets.truth),
                    effective_rank(z),
                    float((np.abs(z) > 1e-5).any(0).sum()),
                ]
            )
            # The paper takes the dimensions of the largest mean first.
            order = np.argsort(-np.abs(z).mean(0))
            for count in COUNTS:
                found.setdefault((activation, count), []).append(_precision(z[:, order[:count]], sets.truth))
        rows.append([activation, *(seeds_mean("", column).short() for column in np.array(figures).T)])
    head = ["activation", "sparsity", "class consistency", "shuffled classes", "highest tenth alone", "effective rank"]
    table([*head, "dimensions in use"], rows)
    rows = [
        [str(count), *(cell(found[name, count]) for name in ACTIVATIONS)]
        + [gain(found[name, count], found["none", count]) for name in ACTIVATIONS[1:]]
        for count in COUNTS
    ]
    table(["dimensions", *ACTIVATIONS, *(f"{name} less none" for name in ACTIVATIONS[1:])], rows)
    if chosen.pictures:
        shown = [
            Shown(name, np.array(COUNTS), np.array([np.mean(found[name, count]) for count in COUNTS]), "line")
            for name in ACTIVATIONS
        ]
        title = "Search by the first dimensions of a projection, by activation"
        draw(chosen.pictures / "claims-ncl.svg", title, "dimensions", "precision@10", shown, logs=True)


def _precision(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of the 10 test pictures nearest to each that are of its class; a row of zeros stands for itself."""
    near = nearest(rows + 1e-9, rows + 1e-9, 10, exclude=np.arange(len(truth)))
    return np.asarray((truth[near.index] == truth[:, None]).mean(1))


def main(chosen: argparse.Namespace) -> None:
    """The one that was asked for."""
    (encouraging if chosen.name == "encouraging" else non_negative)(chosen)
