"""How well predicted masks match true ones: pixels, intersection over union, and the box around the object.

Masks hold a class number per pixel, 0 is the background, `IGNORE` is left out everywhere. Counts are pooled over all
pixels of all pictures before a quotient is taken, except where a figure is called *per picture*.

- pixel accuracy  right pixels / pixels
- IoU of a class  pixels of the class in both / pixels of it in either; not defined for a class in neither
- mean IoU        plain mean over the classes for which it is defined, background included
- foreground IoU  the same quotient for "any class but 0"
- picture IoU     foreground IoU of each picture alone, averaged; 0 where one side has no foreground
- box IoU         of the box around the largest connected piece (8 neighbours, of a tie the upper one) of the predicted
                  foreground with the box around all of the true foreground; 0 where nothing is predicted
- CorLoc          share of pictures with a box IoU of at least 0.5 (correct localisation)

Pictures without true foreground have no picture IoU and no box; they are left out of those three and counted. All
intervals are percentile bootstraps over pictures, since pixels of one picture are far from independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.errors import DataError

from .bootstrap import bootstrap_mean, interval, resample_counts
from .metric import Metric

IGNORE = 255
LOCALISED = 0.5  # box IoU from which an object counts as found

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Segmentation:
    """What `score_masks` found.

    metrics: "pixel_accuracy", "mean_iou", "foreground_iou", "picture_iou", "box_iou", "corloc" -> Metric. per_class:
    one dict for each class that occurs, with `label`, `n` (true pixels) and `iou` (Metric). confusion: (C, C) pixels,
    row = truth. scores: per-picture scores of the last three. empty: pictures without true foreground.
    """

    metrics: dict[str, Metric]
    per_class: list[dict[str, Any]]
    confusion: np.ndarray
    scores: dict[str, np.ndarray]
    empty: int


def score_masks(
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    settings: dict[str, Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Segmentation:
    """Compare predicted masks with true ones.

    truth (N, H, W) class numbers below `classes` or `IGNORE`; predicted (N, H, W) class numbers below `classes`.

    Raises DataError: shapes that differ, a number that is no class, or nothing but ignored pixels.

    >>> truth = np.array([[[0, 1, 1, 255]]])
    >>> found = score_masks(truth, np.array([[[0, 1, 0, 0]]]), classes=2, resamples=1)
    >>> found.metrics["foreground_iou"].value, round(found.metrics["pixel_accuracy"].value, 6)
    (0.5, 0.666667)
    """
    t, p = np.asarray(truth), np.asarray(predicted)
    if t.shape != p.shape or t.ndim != 3 or 0 in t.shape:
        raise DataError(f"masks must be (N, H, W), the same for truth and prediction, got {t.shape} and {p.shape}")
    for what, masks in (("true", t[t != IGNORE]), ("predicted", p)):
        if masks.size and (masks.min() < 0 or masks.max() >= classes):
            raise DataError(f"{what} masks hold {masks.min()} to {masks.max()}, but the classes are 0 to {classes - 1}")
    tables = np.stack([_table(one, other, classes) for one, other in zip(t, p, strict=True)])  # (N, C, C)
    n = len(tables)
    if not tables.any():
        raise DataError("every pixel of the test masks is ignored (255); nothing can be scored")
    values = {key: value[0] for key, value in _quotients(tables.sum(axis=0)[None]).items()}
    flat = tables.reshape(n, -1).astype(np.float64)
    blocks = [
        _quotients((counts @ flat).reshape(-1, classes, classes)) for counts in resample_counts(n, resamples, seed)
    ]
    samples = {key: np.concatenate([block[key] for block in blocks]) for key in values}

    def metric(key: str, name: str, column: int | None = None) -> Metric:
        value, drawn = (values[key], samples[key]) if column is None else (values[key][column], samples[key][:, column])
        drawn = drawn[np.isfinite(drawn)]  # a resample may hold no pixel of a rare class
        low, high = interval(drawn) if len(drawn) else (np.nan, np.nan)
        return Metric(name, float(value), n, float(low), float(high), settings or {})

    metrics = {key: metric(key, name) for key, name in _POOLED.items()}
    scores = _per_picture(t, p)
    if len(scores["picture_iou"]):
        for key, name in _SINGLE.items():
            metrics[key] = bootstrap_mean(name, scores[key], settings, resamples, seed)
    true_pixels = tables.sum(axis=(0, 2))
    per_class = [
        {"label": c, "n": int(true_pixels[c]), "iou": metric("iou", "IoU", c)}
        for c in range(classes)
        if np.isfinite(values["iou"][c])
    ]
    return Segmentation(metrics, per_class, tables.sum(axis=0), scores, n - len(scores["picture_iou"]))


_POOLED = {"pixel_accuracy": "pixel accuracy", "mean_iou": "mean IoU", "foreground_iou": "foreground IoU"}
_SINGLE = {"picture_iou": "picture IoU", "box_iou": "box IoU", "corloc": "CorLoc"}


def largest_box(mask: np.ndarray) -> Box | None:
    """(top, left, bottom, right), ends excluded, of the largest connected piece of a boolean mask; None when empty.

    >>> largest_box(np.array([[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], bool))
    (1, 2, 3, 4)
    """
    from scipy import ndimage

    pieces, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=int))
    if not count:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    return whole_box(pieces == 1 + int(sizes.argmax()))


def whole_box(mask: np.ndarray) -> Box | None:
    """(top, left, bottom, right), ends excluded, of everything in a boolean mask; None when empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def box_iou(a: Box, b: Box) -> float:
    """Area that two boxes share, divided by the area that they cover.

    >>> box_iou((0, 0, 2, 2), (0, 1, 2, 3))
    0.3333333333333333
    """
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _table(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) pixels of one picture, row = truth."""
    counted = truth != IGNORE
    pairs = truth[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _quotients(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Pooled figures (r,), and IoU (r, C), from pixel counts (r, C, C); NaN where not defined."""
    right = np.diagonal(tables, axis1=1, axis2=2)
    total = tables.sum(axis=(1, 2))
    shared = tables[:, 1:, 1:].sum(axis=(1, 2))
    iou = _quotient(right, tables.sum(axis=1) + tables.sum(axis=2) - right)
    defined = np.isfinite(iou)
    return {
        "pixel_accuracy": _quotient(right.sum(axis=1), total),
        "mean_iou": _quotient(np.where(defined, iou, 0).sum(axis=1), defined.sum(axis=1)),
        "foreground_iou": _quotient(shared, total - tables[:, 0, 0]),
        "iou": iou,
    }


def _quotient(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)


def _per_picture(truth: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    overlaps, boxes = [], []
    for one, other in zip(truth, predicted, strict=True):
        counted = one != IGNORE
        true, guess = (one > 0) & counted, (other > 0) & counted
        around = whole_box(true)
        if around is None:
            continue
        found = largest_box(guess)
        overlaps.append((true & guess).sum() / (true | guess).sum())
        boxes.append(0.0 if found is None else box_iou(found, around))
    per_box = np.array(boxes, dtype=np.float64)
    return {
        "picture_iou": np.array(overlaps, dtype=np.float64),
        "box_iou": per_box,
        "corloc": (per_box >= LOCALISED).astype(np.float64),
    }
