"""SimCLR whose far term is corrected for rows of the anchor's class, and SimCLR whose temperature follows alignment."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from benchmarks.claims.common import Learned, Sets, cell, everything, gain, learn, table, views_of
from nearfar.data.batch import Batch
from nearfar.evaluation.bootstrap import seeds_mean
from nearfar.objectives import MACL, Debiased, NTXent

TEMPERATURE, TAUS = 0.5, (0.0, 0.05, 0.1, 0.2)
BATCH = 256
WAYS: dict[str, Any] = {
    "MACL, t from 0.1": MACL(temperature=0.1),
    **{f"NT-Xent, t = {t}": NTXent(temperature=t) for t in (0.1, 0.2, 0.5)},
}


def debiased(chosen: argparse.Namespace) -> None:
    """For every tau, how far the corrected far term is from that over rows of other classes, and kNN accuracy."""
    sets, hits, off = everything(), dict[float, list[Any]](), dict[float, list[float]]()
    for seed in range(chosen.seeds):
        for tau in TAUS:
            objective = Debiased(temperature=TEMPERATURE, tau=tau)
            learned = learn("simclr", {}, sets, seed, chosen.steps, change=_taking(objective))
            hits.setdefault(tau, []).append(learned.hits(sets))
            if not tau:
                for other, share in _off(learned, sets).items():
                    off.setdefault(other, []).append(share)
    rows = [
        [f"{tau:g}", seeds_mean("", off[tau]).short(), cell(scores), gain(scores, hits[0.0]) if tau else ""]
        for tau, scores in hits.items()
    ]
    table(["tau", "far term over that of other classes", "kNN accuracy", "less tau = 0"], rows)


def _off(learned: Learned, sets: Sets) -> dict[float, float]:
    """The mean corrected far term of test pictures over the mean of the true one, on the same projections."""
    views = views_of()(sets.test[:1000], torch.Generator().manual_seed(0))
    truth = torch.as_tensor(sets.truth[:1000])
    with torch.no_grad():
        one, two = (normalize(learned.method.project(view), dim=1) for view in views)
    exponentials = (one @ two.T / TEMPERATURE).exp()
    own, alike = exponentials.diagonal(), truth[:, None] == truth
    every = (exponentials.sum(1) - own) / (len(own) - 1)
    right = (exponentials * ~alike).sum(1) / (~alike).sum(1)
    return {tau: float(((every - tau * own) / (1 - tau)).mean() / right.mean()) for tau in TAUS}


def macl(chosen: argparse.Namespace) -> None:
    """kNN accuracy beside fixed temperatures, and the course of the one that follows."""
    sets, hits, courses = everything(), dict[str, list[Any]](), []
    for seed in range(chosen.seeds):
        for way, objective in WAYS.items():
            course: list[float] = []

            def watch(method: Any, step: int, views: list[Any], batch: Batch, course: list[float] = course) -> None:
                aligned = (normalize(views[0], dim=1) * normalize(views[1], dim=1)).sum(1).mean()
                course.append(0.1 * (1 + 0.5 * float(aligned)))

            learned = learn("simclr", {}, sets, seed, chosen.steps, BATCH, change=_taking(objective), watch=watch)
            hits.setdefault(way, []).append(learned.hits(sets))
            if isinstance(objective, MACL):
                courses.append(course)
    first = next(iter(hits))
    rows = [[way, cell(scores), "" if way == first else gain(hits[first], scores)] for way, scores in hits.items()]
    table(["objective", "kNN accuracy", "MACL less this"], rows)
    mean = np.mean(courses, 0)
    places = [0, len(mean) // 10, len(mean) // 2, len(mean) - 1]
    print("temperature after", ", ".join(f"{place} steps: {mean[place]:.4f}" for place in places))


def _taking(objective: Any) -> Any:
    """A change of a method: another objective."""

    def change(method: Any) -> None:
        method.objective = objective

    return change


def main(chosen: argparse.Namespace) -> None:
    """The one that was asked for."""
    (debiased if chosen.name == "debiased" else macl)(chosen)
