"""Cells of feature maps beside whole views: segmentation by a probe, and how the cells lie when it is good.

Pictures with masks are read from a folder (`--data`); the encoder `small` learns from the training pictures without
masks, and a linear classifier of its cells is fitted on masks and scored on the test pictures (`dense_probe`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from benchmarks.claims.common import cell, gain, table
from nearfar.data.batch import Batch
from nearfar.evaluation import CellGeometry, cell_geometry, dense_probe, feature_map
from nearfar.methods import find
from nearfar.modalities.images.encoders import encoder
from nearfar.modalities.images.masks import Masked, read_masked
from nearfar.modalities.images.recipes import resolve
from nearfar.modalities.images.views import ImageViews

SIDE, BATCH, CHECKPOINTS = 48, 32, 3  # pixels of a side; pictures of a batch
FITTED, SEEN = 500, 48  # training pictures whose masks the probe fits; test pictures whose cells are looked at
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "SimCLR": ("simclr", {}),
    "DenseCL": ("densecl", {"queue": 512}),
    "DenseCL, cells of other items": ("densecl", {"queue": 512, "far_cells": "batch"}),
    "PixPro": ("pixpro", {}),
}
SCORES = ("picture_iou", "corloc")


@dataclass(frozen=True)
class Scenes:
    """Pictures with masks to learn from and to score on, and their views."""

    train: Masked
    test: Masked
    views: ImageViews

    def maps(self, net: nn.Module, rows: Tensor) -> Tensor:
        """The feature maps of pictures as they are."""
        return torch.cat([feature_map(net, self.views.plain(block)) for block in rows.split(128)])

    def probe(self, net: nn.Module) -> dict[str, np.ndarray]:
        """The overlap of each test picture's foreground, and whether its box was found."""
        train, test = self.maps(net, _rows(self.train)[:FITTED]), self.maps(net, _rows(self.test))
        masks = self.train.masks[:FITTED], self.test.masks
        found = dense_probe(train.__getitem__, masks[0], test.__getitem__, masks[1], cells=4000, resamples=1)
        return {name: found.report.scores[name] for name in SCORES}

    def geometry(self, net: nn.Module) -> CellGeometry:
        """How the cells of two views of some test pictures lie, the same views for every encoder."""
        made, boxes = self.views.with_boxes(_rows(self.test)[:SEEN], torch.Generator().manual_seed(0))
        assert boxes is not None
        one, other = (feature_map(net, view) for view in made)
        return cell_geometry(one, other, *boxes)


@dataclass(frozen=True)
class Point:
    """A checkpoint: what the probe says of it, how its cells lie, and the CPU milliseconds of a step so far."""

    scores: dict[str, np.ndarray]
    lies: CellGeometry
    cost: float


def _rows(part: Masked) -> Tensor:
    return part.source.rows(np.arange(len(part.masks)))


def fresh(seed: int) -> nn.Module:
    """The encoder with the first weights of a seed."""
    torch.manual_seed(seed)
    return encoder("small", 3, SIDE)


def learn(way: str, scenes: Scenes, seed: int, steps: int) -> Iterator[tuple[nn.Module, float]]:
    """Train by AdamW at 1e-3, a cosine; gives the encoder some times on the way, and the CPU milliseconds of a step."""
    name, options = WAYS[way]
    kind = find(name)
    method: Any = kind(fresh(seed), kind.Options(**options))
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3, weight_decay=1e-2)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn, rows, spent = torch.Generator().manual_seed(seed), _rows(scenes.train), 0.0
    stops = {steps * (k + 1) // CHECKPOINTS for k in range(CHECKPOINTS)}
    for step in range(steps):
        begun = time.process_time()
        ids = torch.randperm(len(rows), generator=drawn)[:BATCH]
        made, boxes = scenes.views.with_boxes(rows[ids], drawn)
        optimiser.zero_grad()
        method.contrast([method.project(view) for view in made], Batch(made, ids, boxes=boxes)).loss.backward()
        optimiser.step()
        slower.step()
        method.after_step(step, steps)
        spent += time.process_time() - begun
        if step + 1 in stops:
            yield method.encoder, 1e3 * spent / (step + 1)


def main(chosen: argparse.Namespace) -> None:
    """Both tables, seed by seed."""
    if chosen.data is None:
        raise SystemExit("dense needs --data FOLDER, pictures with masks (docs/evaluation.md says how to make some)")
    train, test = read_masked(chosen.data, size=SIDE)
    scenes = Scenes(train, test, ImageViews(size=SIDE, channels=3, recipe=resolve("auto", SIDE, 3)))
    rows, lies = [], []
    for seed in range(chosen.seeds):
        found = {
            way: [trained(net, scenes, cost) for net, cost in learn(way, scenes, seed, chosen.steps)] for way in WAYS
        }
        base, start = found["SimCLR"][-1], scenes.probe(fresh(seed))
        rows.append([str(seed), "untrained", *beside(start, base.scores), ""])
        for way, points in found.items():
            last = points[-1]
            rows.append([str(seed), way, *beside(last.scores, base.scores), f"{last.cost:.0f}"])
        lies.append([str(seed), *correlations([point for points in found.values() for point in points])])
    table(["seed", "trained by", "picture IoU", "less SimCLR", "CorLoc", "less SimCLR", "ms of a step"], rows)
    head = ["seed", "checkpoints", "alignment", "uniformity"]
    table([*head, *(f"{name} with IoU" for name in ("alignment", "uniformity", "their sum"))], lies)


def trained(net: nn.Module, scenes: Scenes, cost: float) -> Point:
    """An encoder as it is now."""
    return Point(scenes.probe(net), scenes.geometry(net), cost)


def beside(scores: dict[str, np.ndarray], base: dict[str, np.ndarray]) -> Iterator[str]:
    """Both figures with their intervals over test pictures, and with what is gained over SimCLR."""
    for name in SCORES:
        yield cell([scores[name]])
        yield "" if scores is base else gain([scores[name]], [base[name]])


def correlations(points: list[Point]) -> list[str]:
    """How alignment, uniformity and the probe go together over checkpoints."""
    iou = [float(point.scores["picture_iou"].mean()) for point in points]
    near, spread = ([getattr(point.lies, name) for point in points] for name in ("alignment", "uniformity"))
    ends = [f"{min(values):.2f} to {max(values):.2f}" for values in (near, spread)]
    sums = [a + b for a, b in zip(near, spread, strict=True)]
    return [str(len(points)), *ends, *(together(values, iou) for values in (near, spread, sums))]


def together(values: list[float], scores: list[float]) -> str:
    """Correlations of a figure that is best low with minus itself: Pearson's with its interval, and Spearman's."""
    found = pearsonr(-np.array(values), scores)
    low, high = found.confidence_interval()
    return f"{found.statistic:+.2f} [{low:+.2f}, {high:+.2f}], {spearmanr(-np.array(values), scores).statistic:+.2f}"
