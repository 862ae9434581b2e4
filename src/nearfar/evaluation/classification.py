"""Accuracy, precision, recall and F1, for each class and averaged, with intervals.

For a class: precision = TP / predicted, recall = TP / support, F1 = 2 TP / (predicted + support). **A quotient with
denominator zero is 0.** Macro averages are plain means over every class that occurs in the truth or in the predictions;
balanced accuracy is the mean recall of the classes that occur in the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.errors import DataError

from .bootstrap import interval, resample_counts, resample_draws
from .checks import Labels, as_labels
from .metric import Metric

AVERAGES = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")
RATES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Classification:
    """How well predictions match the truth.

    classes: (C,) sorted labels of truth and predictions together. confusion: (C, C) counts, row = truth, column =
    prediction (summed over draws). metrics: the names in `AVERAGES`. per_class: one dict for each class with `label`,
    `n` (rows of that class), `precision`, `recall`, `f1` (Metric). correct: (N,) or (draws, N) booleans, for
    `paired_difference`.
    """

    classes: np.ndarray
    confusion: np.ndarray
    metrics: dict[str, Metric]
    per_class: list[dict[str, Any]]
    correct: np.ndarray


def confusion_matrix(truth: Labels, predicted: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Counts (C, C), row = truth, column = prediction, and the (C,) sorted labels they stand for.

    >>> confusion_matrix([0, 0, 1, 1, 2], [0, 1, 1, 1, 0])[0].tolist()
    [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    """
    report = classify(truth, predicted, resamples=1)
    return report.confusion, report.classes


def classify(
    truth: Labels,
    predicted: Labels | np.ndarray,
    name: str = "",
    settings: dict[str, Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Classification:
    """Every classification metric of one probe, with percentile bootstrap 95 % intervals.

    truth: (N,) labels. predicted: (N,), or (draws, N) when the probe was fitted several times: values are then means
    over draws, and each resample takes draws and items with replacement (see `bootstrap_mean`). name: put before each
    metric's name ("kNN" gives "kNN accuracy").

    Raises DataError: no rows, lengths that differ, negative labels.

    >>> report = classify([0, 0, 1, 1, 2], [0, 1, 1, 1, 0])
    >>> round(report.metrics["macro_f1"].value, 6)
    0.433333
    """
    guesses = np.atleast_2d(np.asarray(predicted))
    n = guesses.shape[1]
    if n == 0:
        raise DataError("no test row to score: give at least one labelled row")
    y = as_labels(truth, n, "true labels")
    guesses = np.stack([as_labels(row, n, "predicted labels") for row in guesses])
    classes = np.unique(np.concatenate([y, guesses.ravel()]))
    y, guesses = np.searchsorted(classes, y), np.searchsorted(classes, guesses)
    tables = _Tables(y, guesses, len(classes))

    values = {
        key: value[0]
        for key, value in tables.statistics(np.ones((1, n)), np.full((1, len(guesses)), 1 / len(guesses))).items()
    }
    draws = resample_draws(len(guesses), resamples, seed)
    blocks, start = [], 0
    for counts in resample_counts(n, resamples, seed):
        blocks.append(tables.statistics(counts, draws[start : start + len(counts)]))
        start += len(counts)
    bounds = {key: interval(np.concatenate([block[key] for block in blocks])) for key in values}

    def metric(key: str, count: int, column: int | None = None) -> Metric:
        value, low, high = (part if column is None else part[column] for part in (values[key], *bounds[key]))
        return Metric(
            f"{name} {key.replace('_', ' ')}".strip(), float(value), count, float(low), float(high), settings or {}
        )

    support = np.bincount(y, minlength=len(classes))
    per_class = [
        {"label": int(label), "n": int(support[c]), **{key: metric(key, int(support[c]), c) for key in RATES}}
        for c, label in enumerate(classes)
    ]
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (np.broadcast_to(y, guesses.shape), guesses), 1)
    correct = guesses == y
    return Classification(
        classes,
        confusion,
        {key: metric(key, n) for key in AVERAGES},
        per_class,
        correct[0] if np.ndim(predicted) == 1 else correct,
    )


class _Tables:
    """Sums of item counts over truth, prediction and hit, for each class: all that the rates need."""

    def __init__(self, y: np.ndarray, guesses: np.ndarray, classes: int) -> None:
        everyone = np.arange(len(y))
        self.truth = _ClassSums(everyone, y, classes)
        self.predicted = [_ClassSums(everyone, guess, classes) for guess in guesses]
        self.hits = [_ClassSums(np.flatnonzero(guess == y), y, classes) for guess in guesses]

    def statistics(self, counts: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
        """counts (r, N) item counts, draws (r, d) weights -> averages (r,) and rates (r, C), means over draws."""
        support = self.truth(counts)
        total: dict[str, np.ndarray] = {}
        for weight, predicted, hits in zip(draws.T, self.predicted, self.hits, strict=True):
            for key, value in rates(hits(counts), support, predicted(counts)).items():
                term = value * (weight if value.ndim == 1 else weight[:, None])
                total[key] = total[key] + term if key in total else term
        return total


class _ClassSums:
    """Sums counts (r, N) of the given items by class into (r, C)."""

    def __init__(self, items: np.ndarray, group: np.ndarray, classes: int) -> None:
        self.classes = classes
        self.order = items[np.argsort(group[items], kind="stable")]
        self.present, self.starts = np.unique(group[self.order], return_index=True)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(counts), self.classes))
        if len(self.order):
            sums[:, self.present] = np.add.reduceat(counts[:, self.order], self.starts, axis=1)
        return sums


def rates(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 (..., C) and their averages (...) from counts (..., C); 0 where undefined."""
    precision, recall = _quotient(hits, predicted), _quotient(hits, support)
    f1 = _quotient(2 * hits, support + predicted)
    occurs, present = (support + predicted) > 0, support > 0

    def mean(rate: np.ndarray, among: np.ndarray) -> np.ndarray:
        return _quotient((rate * among).sum(axis=-1), among.sum(axis=-1))

    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "accuracy": _quotient(hits.sum(axis=-1), support.sum(axis=-1)),
        "balanced_accuracy": mean(recall, present),
        "macro_precision": mean(precision, occurs),
        "macro_recall": mean(recall, occurs),
        "macro_f1": mean(f1, occurs),
    }


def _quotient(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.zeros(np.shape(over)), where=under > 0)
