"""What the cells of a feature map can tell about the pixels below them: a linear classifier per cell.

A multinomial logistic regression on standardised cells is fitted on masks brought down to the size of the map (the most
frequent class below a cell, ignored pixels apart). On test pictures its scores are enlarged bilinearly to the size of
the mask, and each pixel gets the class of the highest one. A linear map and a bilinear one may change places, so this
is the classifier applied to the enlarged map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.errors import ConfigError, DataError

from .logistic import SELECTION_ROWS, STRENGTHS, Standardise, choose, fit
from .segmentation import IGNORE, Segmentation, score_masks

Maps = Callable[[slice], Tensor]
BATCH = 64  # pictures whose maps are held at once


@dataclass(frozen=True)
class DenseResult:
    """What `dense_probe` found: the scored masks, the predictions (N, H, W) uint8, and whether the fit converged."""

    report: Segmentation
    predictions: np.ndarray
    converged: bool


def dense_probe(
    train_maps: Maps,
    train_masks: np.ndarray,
    test_maps: Maps,
    test_masks: np.ndarray,
    cells: int = 20_000,
    strength: float | None = None,
    max_iterations: int = 300,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DenseResult:
    """Fit a linear classifier on the cells of training maps and score its masks of the test pictures.

    train_maps, test_maps: give the maps (B, C, h, w) of a slice of pictures, such as `maps.__getitem__` of a tensor;
    they are asked for block by block. Masks: (N, H, W) class numbers, 0 the background, `IGNORE` (255) left out. cells:
    at most so many training cells, drawn by seed, the same number from every picture. strength: C, chosen when None by
    validation on the cells of a fifth of the training pictures (whole pictures, since neighbouring cells are near
    copies of one another). progress: called with (pictures done, of).

    Raises DataError: no masks, a single class in the training masks, or maps with NaN.

    >>> masks = np.zeros((4, 8, 8), dtype=np.uint8)
    >>> masks[:, 2:6, 4:] = 1
    >>> maps = torch.from_numpy(masks[:, None, ::2, ::2] * 2.0 - 1)
    >>> dense_probe(maps.__getitem__, masks, maps.__getitem__, masks, strength=1.0).report.metrics["corloc"].value
    1.0
    """
    if cells < 1:
        raise ConfigError(f"cells must be at least 1, got {cells}")
    for what, masks in (("train", train_masks), ("test", test_masks)):
        if masks.ndim != 3 or 0 in masks.shape:
            raise DataError(f"{what} masks must be (N, H, W) with at least one picture, got {masks.shape}")
    total = len(train_masks) + len(test_masks)
    tell = progress or (lambda done, of: None)
    classes = 1 + max(_largest(train_masks), _largest(test_masks), 1)
    generator = np.random.default_rng([seed, 4])
    each = max(1, cells // len(train_masks))
    rows, labels, pictures = [], [], []
    for part in _parts(len(train_masks)):
        features, below, picture = _cells(train_maps(part), train_masks[part], classes, each, generator)
        rows.append(features)
        labels.append(below)
        pictures.append(part.start + picture)
        tell(part.stop, total)
    x, y = np.concatenate(rows), np.concatenate(labels)
    if len(x) and not np.isfinite(x).all():
        raise DataError("the feature maps hold NaN or infinity; look at the encoder")
    if len(np.unique(y)) < 2:
        raise DataError(
            f"the training masks show {'one class' if len(y) else 'no class'} at the resolution of the feature map; "
            "two are needed: 0 for the background, 1, 2, ... for what stands before it (255 is ignored)"
        )
    scale = Standardise(x)
    chosen = strength
    if chosen is None:
        folds = _folds(y, np.concatenate(pictures), seed)
        chosen, _ = choose(scale(x), y, STRENGTHS, max_iterations, seed, folds)
    model = fit(scale(x), y, chosen, max_iterations=max_iterations)
    shown = np.unique(y)
    predictions = np.empty(test_masks.shape, dtype=np.uint8)
    for part in _parts(len(test_masks)):
        maps = test_maps(part).float().cpu()
        b, c, h, w = maps.shape
        scores = model.scores(scale(maps.permute(0, 2, 3, 1).reshape(-1, c).numpy()))
        grid = torch.from_numpy(np.asarray(scores, dtype=np.float32)).reshape(b, h, w, len(shown)).permute(0, 3, 1, 2)
        predictions[part] = shown[enlarge(grid, test_masks.shape[1:]).argmax(dim=1).numpy()]
        tell(len(train_masks) + part.stop, total)
    settings = {
        "cells": len(x),
        "train": len(train_masks),
        "C": chosen,
        "chosen_C": strength is None,
        "map": [c, h, w],
        "mask": list(test_masks.shape[1:]),
        "converged": model.converged,
    }
    report = score_masks(test_masks, predictions, classes, settings, resamples, seed)
    return DenseResult(report, predictions, model.converged)


def shrink_masks(masks: np.ndarray, size: tuple[int, int], classes: int) -> np.ndarray:
    """(N, h, w) the most frequent class of the pixels below each cell, of a tie the lower; `IGNORE` where all are.

    >>> shrink_masks(np.array([[[0, 0, 1, 2], [1, 0, 2, 255]]], dtype=np.uint8), (1, 2), classes=3).tolist()
    [[[0, 2]]]
    """
    truth = torch.from_numpy(masks.astype(np.int64))
    counted = truth != IGNORE
    layers = F.one_hot(truth.where(counted, 0), classes) * counted[..., None]
    shares = F.adaptive_avg_pool2d(layers.permute(0, 3, 1, 2).double(), size)
    found = shares.argmax(dim=1).where(shares.sum(dim=1) > 0, IGNORE)
    return found.numpy().astype(np.uint8)


def enlarge(scores: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear, cells taken for the pixels around their middle."""
    return scores if scores.shape[2:] == tuple(size) else F.interpolate(scores, tuple(size), mode="bilinear")


def _cells(
    maps: Tensor, masks: np.ndarray, classes: int, each: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, C) cells of a block of pictures, at most `each` from one, their (n,) classes and their pictures."""
    b, c, h, w = maps.shape
    below = shrink_masks(masks, (h, w), classes).reshape(b, h * w)
    # The first of a random order, unlabelled cells put last.
    order = np.where(below == IGNORE, 2.0, generator.random(below.shape)).argsort(axis=1)[:, :each]
    labels = np.take_along_axis(below, order, axis=1)
    cells = maps.float().cpu().reshape(b, c, h * w).numpy()
    features = np.take_along_axis(cells, order[:, None, :], axis=2).transpose(0, 2, 1)
    counted = labels != IGNORE
    return features[counted], labels[counted], np.nonzero(counted)[0]


def _folds(y: np.ndarray, pictures: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cells to fit on and cells of other pictures to validate on; none where that cannot be had."""
    generator = np.random.default_rng([seed, 7])
    order = generator.permutation(np.unique(pictures))
    held = np.isin(pictures, order[: len(order) // 5])
    some = np.zeros(len(y), dtype=bool)
    some[generator.permutation(len(y))[:SELECTION_ROWS]] = True
    fitted = np.flatnonzero(some & ~held)
    scored = np.flatnonzero(some & held & np.isin(y, y[fitted]))
    return [(fitted, scored)] if len(np.unique(y[fitted])) > 1 and len(scored) else []


def _parts(n: int) -> Iterator[slice]:
    for start in range(0, n, BATCH):
        yield slice(start, min(start + BATCH, n))


def _largest(masks: np.ndarray) -> int:
    counted = masks[masks != IGNORE]
    return int(counted.max()) if counted.size else 0
