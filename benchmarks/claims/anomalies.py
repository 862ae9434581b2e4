"""`msc`: one kind of clothes is normal; does training about the mean of its features keep what is unlike it apart?

SimCLR learns five classes, and of the five others each is the normal one in turn; then the other way round. Features
go on learning from the normal pictures alone, by their embeddings without a head, and are looked at after some epochs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.claims.common import Sets, everything, learn, table, views_of
from benchmarks.little import pictures
from nearfar.contrast import Objective, ShiftedCosine
from nearfar.evaluation import anomaly_scores
from nearfar.evaluation.anomaly import counted_auroc
from nearfar.evaluation.bootstrap import bootstrap_statistic
from nearfar.objectives import MeanShifted, NTXent

HALVES = ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))
NAMES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
RATE, BATCH, TEMPERATURE = 1e-4, 64, 0.25
SETTINGS = {"follow the batch": (False, (1, 5, 20)), "are held": (True, (1, 5))}  # batch norms, and epochs looked at
PLAIN, PIXELS = "plain features", "pixels"
Scores = dict[int, list[np.ndarray]]  # of the test pictures of a half, by normal class; one row for each seed


def seen(net: nn.Module, rows: Tensor) -> Tensor:
    """Embeddings as they are used."""
    net.eval()
    with torch.no_grad():
        found: Tensor = net(pictures().plain(rows))
    return found


def tuned(
    net: nn.Module, objective: Objective, normal: Tensor, test: Tensor, seed: int, held: bool, epochs: Sequence[int]
) -> list[Any]:
    """Scores of test pictures after some epochs of training on normal ones; `held` keeps batch norms as they are."""
    net, views, drawn = deepcopy(net), views_of(), torch.Generator().manual_seed(seed)
    optimiser, found = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2), []
    for epoch in range(1, max(epochs) + 1):
        net.train(not held)
        for ids in torch.randperm(len(normal), generator=drawn)[: len(normal) // BATCH * BATCH].split(BATCH):
            optimiser.zero_grad()
            objective(*(net(view) for view in views(normal[ids], drawn))).backward()
            optimiser.step()
        if epoch in epochs:
            found.append(anomaly_scores(seen(net, normal).numpy(), seen(net, test).numpy()))
    return found


def ways(centred: ShiftedCosine) -> dict[str, Objective]:
    """What is compared."""
    return {
        "mean-shifted": MeanShifted(similarity=centred, temperature=TEMPERATURE),
        "mean-shifted, pull 2": MeanShifted(similarity=centred, temperature=TEMPERATURE, pull=2.0),
        "NT-Xent": NTXent(temperature=TEMPERATURE),
    }


def measured(sets: Sets, seeds: int, steps: int, held: bool, epochs: Sequence[int]) -> dict[tuple[str, int], Scores]:
    """Scores of test pictures by way and epoch."""
    found: dict[tuple[str, int], Scores] = {}
    for seed in range(seeds):
        for half, other in zip(HALVES, reversed(HALVES), strict=True):
            known = sets.some(np.flatnonzero(np.isin(sets.labels, other)))
            net = learn("simclr", {}, known, seed, steps).method.encoder
            test = sets.test[torch.from_numpy(np.isin(sets.truth, half))]
            for kind in half:
                normal = sets.images[torch.from_numpy(sets.labels == kind)]
                features = seen(net, normal)
                scores = anomaly_scores(features.numpy(), seen(net, test).numpy())
                found.setdefault((PLAIN, 0), {}).setdefault(kind, []).append(scores)
                flat = anomaly_scores(normal.flatten(1).numpy(), test.flatten(1).numpy())
                found.setdefault((PIXELS, 0), {}).setdefault(kind, []).append(flat)
                for way, objective in ways(ShiftedCosine.around(features)).items():
                    after = tuned(net, objective, normal, test, seed, held, epochs)
                    for epoch, scores in zip(epochs, after, strict=True):
                        found.setdefault((way, epoch), {}).setdefault(kind, []).append(scores)
    return found


def area(scores: Scores, truth: np.ndarray, kinds: Sequence[int], less: Scores | None = None) -> str:
    """Mean AUROC over normal classes and seeds, or how much above that of others; resampled within each class."""
    parts = []
    for sign, some in ((1.0, scores), (-1.0, less or {})):
        for kind in kinds:
            inside = np.isin(truth, HALVES[kind % 2])
            odd = truth[inside] != kind
            parts += [(sign, inside, counted_auroc(one, odd), len(some[kind])) for one in some.get(kind, ())]

    def mean(counts: np.ndarray) -> np.ndarray:
        return np.sum([sign * at(counts[:, rows]) / n for sign, rows, at, n in parts], axis=0) / len(kinds)

    got = bootstrap_statistic("", mean, len(truth), groups=truth, resamples=400)
    return got.short() if less is None else f"{got.value:+.3f} [{got.low:+.3f}, {got.high:+.3f}]"


def main(chosen: argparse.Namespace) -> None:
    """All classes by epoch, in both settings, then each class after the last one."""
    sets = everything()
    for norms, (held, epochs) in SETTINGS.items():
        found = measured(sets, chosen.seeds, chosen.steps, held, epochs)
        plain, every = found[PLAIN, 0], range(10)
        table(
            [f"batch norms {norms}", "epochs", "AUROC", f"less {PLAIN}"],
            [
                [way, str(epoch), area(scores, sets.truth, every),
                 "" if way == PLAIN else area(scores, sets.truth, every, plain)]
                for (way, epoch), scores in found.items()
            ],
        )  # fmt: skip
        after = {way: found[way, max(epochs)] for way in ("mean-shifted", "NT-Xent")}
        table(
            ["normal class", PLAIN, *(f"{way} less this" for way in after)],
            [
                [NAMES[kind], area(plain, sets.truth, [kind]),
                 *(area(scores, sets.truth, [kind], plain) for scores in after.values())]
                for kind in every
            ],
        )  # fmt: skip
