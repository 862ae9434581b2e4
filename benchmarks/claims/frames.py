"""Objectives that are frames for others: I-Con's two distributions, and decoupled uniformity with a prior of the items.

`icon`: a grid of who is near (p) and how scores become a distribution (q). `decoupled_uniformity`: with what pixels or
another model say of the items, where views are weak and where they are strong.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.claims.common import LIGHT, Sets, cell, everything, gain, learn, table, views_of
from nearfar.contrast import NegativeSquaredEuclidean
from nearfar.data.batch import Batch
from nearfar.methods.method import Contrast
from nearfar.objectives import DecoupledUniformity, ICon, nearest_neighbours, perplexity_neighbours

Judge = Callable[[list[Tensor], Batch], Tensor]
SCORED: dict[str, dict[str, Any]] = {
    "cosine, t = 0.2": {"temperature": 0.2},
    "Gaussian": {"temperature": 1.0, "similarity": NegativeSquaredEuclidean(normalize=False)},
    "Student's t": {"temperature": 1.0, "similarity": NegativeSquaredEuclidean(normalize=False), "df": 1.0},
}
KINDS = (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)  # of the clothes: tops, trousers, dresses, shoes, bags
NEAR = ("views", "views, alpha = 0.3", "5 nearest in pixels", "Gaussian of pixels", "classes")


def by(judge: Judge | None) -> Callable[[Any], None]:
    """The method learns by this; by its own objective where there is none."""

    def change(method: Any) -> None:
        if judge is not None:
            method.contrast = lambda views, batch: Contrast(judge(views, batch))

    return change


def judged(near: str, scored: str, sets: Sets) -> Judge:
    """I-Con of one p and one q."""
    objective = ICon(alpha=0.3 if "alpha" in near else 0.0, **SCORED[scored])
    classes = torch.as_tensor(sets.labels).long()

    def judge(views: list[Tensor], batch: Batch) -> Tensor:
        if near.startswith("views"):
            return objective(*views, ids=batch.ids)
        if near == "classes":
            return objective(*views, labels=classes[batch.ids])
        pixels = torch.cat(batch.views).flatten(1)
        relation = nearest_neighbours(pixels, 5) if "nearest" in near else perplexity_neighbours(pixels, 10.0)
        return objective(torch.cat(views), relation=relation)

    return judge


def grid(chosen: argparse.Namespace) -> None:
    """kNN accuracy of every p with every q."""
    sets, hits = everything(), dict[tuple[str, str], list[Any]]()
    for near in NEAR:
        for scored in SCORED:
            change = by(judged(near, scored, sets))
            hits[near, scored] = [
                learn("simclr", {}, sets, seed, chosen.steps, change=change).hits(sets) for seed in range(chosen.seeds)
            ]
    table(["near (p)", *SCORED], [[near, *(cell(hits[near, scored]) for scored in SCORED)] for near in NEAR])
    base = hits["views", "cosine, t = 0.2"]
    less = [
        [near, *("" if hits[near, scored] is base else gain(hits[near, scored], base) for scored in SCORED)]
        for near in NEAR
    ]
    table(["less views, cosine (NT-Xent)", *SCORED], less)


def known(kind: str, sets: Sets, seed: int, steps: int) -> Tensor:
    """What is known of every picture, (N, P), with distances of 1 between items on the mean square."""
    if kind == "pixels":
        rows = sets.images.flatten(1).float()
    else:
        rows = torch.as_tensor(learn("simclr", {}, sets, seed + 100, steps).vectors(sets.images))
    rows = rows - rows.mean(0)
    return rows / (2 * rows.square().sum(1).mean()).sqrt()


def with_prior(chosen: argparse.Namespace) -> None:
    """Decoupled uniformity by prior, at views of two strengths."""
    sets, hits = everything(), dict[tuple[float, str], list[Any]]()
    for seed in range(chosen.seeds):
        priors = {kind: known(kind, sets, seed, chosen.steps) for kind in ("pixels", "another run")}
        kinds = torch.tensor(KINDS)[torch.as_tensor(sets.labels).long()]
        ways: dict[str, Judge | None] = {
            "none": lambda views, batch: DecoupledUniformity()(*views),
            "five kinds": lambda views, batch, kinds=kinds: DecoupledUniformity()(*views, prior=kinds[batch.ids]),
            **{
                f"{kind}, width {width:g}": (
                    lambda views, batch, rows=rows, width=width: DecoupledUniformity(width=width)(
                        *views, prior=rows[batch.ids]
                    )
                )
                for kind, rows in priors.items()
                for width in (0.2, 0.5)
            },
            "NT-Xent": None,
        }
        for strength in (0.1, 1.0):
            views = views_of(recipe=LIGHT.at(strength))
            for way, judge in ways.items():
                made = learn("simclr", {}, sets, seed, chosen.steps, views=views, change=by(judge))
                hits.setdefault((strength, way), []).append(made.hits(sets))
    rows = [
        [f"{0.6 * strength:.2f}", way, cell(scores), "" if way == "none" else gain(scores, hits[strength, "none"])]
        for (strength, way), scores in hits.items()
    ]
    table(["strength of views", "prior", "kNN accuracy", "less none"], rows)


def main(chosen: argparse.Namespace) -> None:
    """The one that was asked for."""
    (grid if chosen.name == "icon" else with_prior)(chosen)
