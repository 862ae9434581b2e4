"""Multinomial logistic regression (scikit-learn, L-BFGS) and the choice of its one setting C.

loss(W, b) = sum of cross-entropy(x W + b, y) + |W|^2 / (2 C)          larger C is less regularisation
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.errors import ConfigError

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
DEFAULT_STRENGTH = 0.1  # for one row per class, which leaves nothing to validate on
FOLDS = 5
SMALL = 1000  # up to this many rows every fold is used, above it the first alone
SELECTION_ROWS = 5000  # C is chosen on at most this many rows
SMALL_MATRIX = 20_000_000  # numbers in a training matrix below which one thread fits it


class Standardise:
    """Subtract the mean and divide by the standard deviation of each feature; a constant feature is only centred."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.mean = vectors.mean(axis=0, dtype=np.float64)
        std = np.sqrt(vectors.var(axis=0, dtype=np.float64))
        self.std = np.where(std > 1e-6 * std.max(), std, 1.0)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """(N, D) float32."""
        return np.asarray((vectors - self.mean) / self.std, dtype=np.float32)


@dataclass(frozen=True)
class Logistic:
    """A fitted model. strength: C. converged: L-BFGS stopped by itself. tried: the C looked at, with their losses."""

    model: Any
    basis: np.ndarray | None
    strength: float
    converged: bool
    iterations: int
    tried: list[dict[str, float]]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N,) the most probable class of each row."""
        return np.asarray(self.model.predict(x if self.basis is None else x @ self.basis))

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(N, C) what the softmax is taken of: linear in x, so that it may be interpolated between rows."""
        found = np.asarray(self.model.decision_function(x if self.basis is None else x @ self.basis))
        return found if found.ndim == 2 else np.stack([np.zeros_like(found), found], axis=1)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(N, C) probability of each class."""
        return np.asarray(self.model.predict_proba(x if self.basis is None else x @ self.basis))


def fit(
    x: np.ndarray,
    y: np.ndarray,
    strength: float | None = None,
    strengths: Sequence[float] = STRENGTHS,
    max_iterations: int = 300,
    seed: int = 0,
) -> Logistic:
    """The model at the given C, or at the C of `strengths` that validation on these very rows prefers."""
    tried: list[dict[str, float]] = []
    basis = None
    with one_thread(min(len(x), SELECTION_ROWS) * x.shape[1] < SMALL_MATRIX):
        if len(x) < x.shape[1]:
            # The best weights lie in the span of the rows: a fit in an orthonormal basis of it is the same, smaller.
            basis = np.linalg.qr(x.T.astype(np.float64))[0]
            x = x @ basis
        if strength is None:
            strength, tried = choose(x, y, strengths, max_iterations, seed)
    model = _unfitted(strength, max_iterations)
    with one_thread(x.size < SMALL_MATRIX):
        converged = _fit(model, x, y)
    return Logistic(model, basis, strength, converged, int(model.n_iter_.max()), tried)


def choose(
    x: np.ndarray,
    y: np.ndarray,
    strengths: Sequence[float],
    max_iterations: int,
    seed: int,
    folds: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[float, list[dict[str, float]]]:
    """The C with the least validation cross-entropy, which is smooth where accuracy on few rows is not.

    folds: (fit, held) rows; those of `splits` when None.

    From the smallest C upwards, each fit starting at the one before; the search ends at the first rise, since the
    large C that follow are the slow ones and fit the training rows ever closer.
    """
    if not strengths:
        raise ConfigError("give at least one C to choose from")
    folds = splits(y, seed) if folds is None else folds
    if not folds:
        return DEFAULT_STRENGTH, []
    models = [_unfitted(min(strengths), max_iterations) for _ in folds]
    tried: list[dict[str, float]] = []
    for strength in sorted(strengths):
        losses, hits = [], []
        for model, (rows, held) in zip(models, folds, strict=True):
            _fit(model.set_params(C=strength), x[rows], y[rows])
            probability = model.predict_proba(x[held])
            column = np.searchsorted(model.classes_, y[held])
            right = probability[np.arange(len(held)), column].astype(np.float64)
            losses.append(-np.log(np.maximum(right, np.finfo(np.float32).tiny)))
            hits.append(probability.argmax(axis=1) == column)
        loss, accuracy = (float(np.concatenate(parts).mean()) for parts in (losses, hits))
        tried.append({"C": strength, "validation_loss": loss, "validation_accuracy": accuracy})
        if len(tried) > 1 and loss > tried[-2]["validation_loss"]:
            break
    return min(tried, key=lambda entry: entry["validation_loss"])["C"], tried


def splits(y: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified (fit, held) rows: every class is dealt over the folds in turn, after a shuffle.

    A class with a single row always stays on the fitting side, so every held class is also fitted. At most
    `SELECTION_ROWS` rows take part; above `SMALL` rows there is one split. None when no class has two rows.
    """
    generator = np.random.default_rng([seed, 2])
    order = generator.permutation(len(y))[:SELECTION_ROWS]
    fold = np.full(len(y), -1)
    for label in np.unique(y[order]):
        rows = order[y[order] == label]
        if len(rows) > 1:
            fold[rows] = (np.arange(len(rows)) + generator.integers(FOLDS)) % min(FOLDS, len(rows))
    order = np.sort(order)
    found = []
    for number in range(FOLDS if len(order) <= SMALL else 1):
        held = order[fold[order] == number]
        if len(held):
            found.append((order[fold[order] != number], held))
    return found


def _unfitted(strength: float, max_iterations: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    if strength <= 0:
        raise ConfigError(f"C must be above 0, got {strength}; larger means less regularisation")
    return LogisticRegression(C=strength, max_iter=max_iterations, warm_start=True)


def _fit(model: Any, x: np.ndarray, y: np.ndarray) -> bool:
    """Fit in place; whether L-BFGS converged."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def one_thread(wanted: bool) -> AbstractContextManager[Any]:
    """Thousands of small products lose more to waking threads than they gain, most of all on a busy machine."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1) if wanted else nullcontext()
