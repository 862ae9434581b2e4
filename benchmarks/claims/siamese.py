"""`simsiam`: what stands between a network that predicts itself and one that says the same of everything?

SimSiam as it is, without the stop of gradients and without the predictor, with the norm at the end of the head and
without.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.claims.common import cell, everything, gain, learn, table
from benchmarks.little import pictures
from nearfar.data.batch import Batch
from nearfar.evaluation import channel_std, effective_rank, seeds_mean

WAYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {  # options, and what is taken away
    "SimSiam": ({}, ()),
    "no stop of gradients": ({"stop_gradient": False}, ()),
    "no predictor": ({}, ("predictor",)),
    "no last norm": ({}, ("norm",)),
    "no last norm, no stop of gradients": ({"stop_gradient": False}, ("norm",)),
    "no last norm, no predictor": ({}, ("norm", "predictor")),
}
SEEN = 1000


def taken(method: Any, parts: tuple[str, ...]) -> None:
    """Take away the norm at the end of the head, or the predictor, so that projections meet each other."""
    if "norm" in parts:
        method.head[-1] = nn.Identity()
    if "predictor" in parts:
        method.predictor = nn.Identity()


def main(chosen: argparse.Namespace) -> None:
    """A row for each way: the loss, the spread of projections of the last tenth, their rank, and accuracy."""
    sets, found = everything(), dict[str, list[tuple[float, float, float, np.ndarray]]]()
    untrained = [learn("simsiam", {}, sets, seed, 0).hits(sets) for seed in range(chosen.seeds)]
    for way, (options, gone) in WAYS.items():
        for seed in range(chosen.seeds):
            losses, spread = list[float](), list[float]()

            def watch(
                method: Any, step: int, views: list[Any], batch: Batch,
                losses: list[float] = losses, spread: list[float] = spread,
            ) -> None:  # fmt: skip
                if step >= 0.9 * chosen.steps:
                    losses.append(float(method.contrast(views, batch).loss))
                    z = views[0]["projection"]
                    spread.append(channel_std(z.numpy()) * z.shape[1] ** 0.5)

            def change(method: Any, gone: tuple[str, ...] = gone) -> None:
                taken(method, gone)

            learned = learn("simsiam", options, sets, seed, chosen.steps, change=change, watch=watch)
            with torch.no_grad():
                rank = effective_rank(learned.method.project(pictures().plain(sets.test[:SEEN]))["projection"].numpy())
            got = float(np.mean(losses)), float(np.mean(spread)), rank, learned.hits(sets)
            found.setdefault(way, []).append(got)
    base = [one[3] for one in found["SimSiam"]]
    rows = [
        [way, *(seeds_mean("", figures).short() for figures in ([one[0] for one in runs], [one[1] for one in runs])),
         f"{np.mean([one[2] for one in runs]):.1f}", cell([one[3] for one in runs]),
         "" if way == "SimSiam" else gain([one[3] for one in runs], base)]
        for way, runs in found.items()
    ]  # fmt: skip
    rows.append(["untrained", "", "", "", cell(untrained), gain(untrained, base)])
    heads = ["loss", "std of unit projections x root of D", "effective rank", "kNN accuracy", "less SimSiam"]
    table(["trained by", *heads], rows)
