"""What a linear classifier on frozen vectors can tell: on all labels, and on a few labels of each class.

Multinomial logistic regression on standardised features. Unless given, its C is chosen from a log-spaced list by
stratified validation on the training labels; test labels are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError

from .checks import Labels, Vectors, as_labels, as_vectors, same_width
from .classification import Classification, classify
from .logistic import STRENGTHS, Standardise, fit


@dataclass(frozen=True)
class ProbeResult:
    """What a linear probe found.

    report: accuracy, macro precision, recall, F1, confusion. predictions: (N,) labels. converged: L-BFGS stopped by
    itself. strength: C. tried: one dict {"C", "validation_loss", "validation_accuracy"} for each C looked at.
    """

    report: Classification
    predictions: np.ndarray
    strength: float
    converged: bool
    iterations: int
    tried: list[dict[str, float]]


@dataclass(frozen=True)
class FewShotResult:
    """What a few-label probe found.

    report: means over draws. predictions: (draws, N). draws: one dict for each draw with its rows, C and scores.
    """

    report: Classification
    predictions: np.ndarray
    draws: list[dict[str, Any]]


def linear_probe(
    train: Vectors,
    train_labels: Labels,
    test: Vectors,
    test_labels: Labels,
    strength: float | None = None,
    strengths: Sequence[float] = STRENGTHS,
    max_iterations: int = 300,
    resamples: int = 1000,
    seed: int = 0,
    name: str = "linear",
) -> ProbeResult:
    """Logistic regression on all training labels, scored on the test rows.

    train (N, D), test (M, D), labels >= 0. strength: C, chosen from `strengths` when not given. A test label that never
    occurs in training cannot be predicted and counts as an error.

    Raises DataError: fewer than two classes, widths that differ, a bad row or label.

    >>> x = np.eye(3).repeat(4, axis=0)
    >>> linear_probe(x, np.arange(12) // 4, x, np.arange(12) // 4).report.metrics["accuracy"].value
    1.0
    """
    x, y, z, truth = _inputs(train, train_labels, test, test_labels)
    scale = Standardise(x)
    model = fit(scale(x), y, strength, strengths, max_iterations, seed)
    predictions = model.predict(scale(z))
    settings = {
        "C": model.strength,
        "chosen_C": strength is None,
        "standardised": True,
        "train": len(x),
        "converged": model.converged,
    }
    report = classify(truth, predictions, name, settings, resamples, seed)
    return ProbeResult(report, predictions, model.strength, model.converged, model.iterations, model.tried)


def few_shot_probe(
    train: Vectors,
    train_labels: Labels,
    test: Vectors,
    test_labels: Labels,
    per_class: int = 10,
    draws: int = 5,
    strength: float | None = None,
    strengths: Sequence[float] = STRENGTHS,
    max_iterations: int = 300,
    resamples: int = 1000,
    seed: int = 0,
    name: str | None = None,
) -> FewShotResult:
    """Logistic regression on `per_class` labels of each class, averaged over several seeded draws of them.

    Features are standardised by all training vectors (which needs no label). C is chosen by validation among the drawn
    labels of each draw alone. The interval covers draws and test items.

    Raises DataError when a class has fewer than `per_class` rows, naming it.
    """
    if per_class < 1 or draws < 1:
        raise ConfigError(f"per_class and draws must be at least 1, got {per_class} and {draws}")
    x, y, z, truth = _inputs(train, train_labels, test, test_labels)
    classes, sizes = np.unique(y, return_counts=True)
    small = int(sizes.argmin())
    if sizes[small] < per_class:
        raise DataError(
            f"class {classes[small]} has {sizes[small]} training rows, {per_class} are needed for the few-label probe; "
            f"label more of it, or choose per_class={sizes[small]} or less"
        )
    scale = Standardise(x)
    features, queries = scale(x), scale(z)
    predictions, models, drawn = [], [], []
    for draw in range(draws):
        rows = draw_rows(y, per_class, seed + draw)
        model = fit(features[rows], y[rows], strength, strengths, max_iterations, seed + draw)
        predictions.append(model.predict(queries))
        models.append(model)
        drawn.append(rows)
    settings = {
        "per_class": per_class,
        "draws": draws,
        "C": [model.strength for model in models],
        "chosen_C": strength is None,
        "standardised": True,
        "converged": all(model.converged for model in models),
    }
    table = np.stack(predictions)
    label = f"{per_class} {'label' if per_class == 1 else 'labels'} per class" if name is None else name
    report = classify(truth, table, label, settings, resamples, seed)
    listed = []
    for draw, (model, rows, guess) in enumerate(zip(models, drawn, predictions, strict=True)):
        alone = classify(truth, guess, resamples=1).metrics
        listed.append(
            {
                "seed": seed + draw,
                "rows": rows.tolist(),
                "C": model.strength,
                "converged": model.converged,
                "accuracy": alone["accuracy"].value,
                "macro_f1": alone["macro_f1"].value,
            }
        )
    return FewShotResult(report, table, listed)


def draw_rows(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Sorted rows of a seeded draw of `per_class` rows of every class, without replacement.

    >>> draw_rows(np.array([0, 0, 1, 1]), per_class=2, seed=0).tolist()
    [0, 1, 2, 3]
    """
    generator = np.random.default_rng(seed)
    rows = [generator.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in np.unique(labels)]
    return np.sort(np.concatenate(rows))


def _inputs(
    train: Vectors, train_labels: Labels, test: Vectors, test_labels: Labels
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, z = as_vectors(train, "train vectors"), as_vectors(test, "test vectors")
    same_width(x, z, "train and test vectors")
    y = as_labels(train_labels, len(x), "train labels")
    truth = as_labels(test_labels, len(z), "test labels")
    if (y == y[0]).all():
        raise DataError(f"all train labels are {y[0]}; a probe needs at least two classes")
    return x, y, z, truth
