"""Multinomial logistic regression by L-BFGS on the whole batch, and the choice of its one setting.

    loss(W, b) = mean cross-entropy(x W + b, y) + |W|^2 / (2 C n)

so C means what it means in scikit-learn (larger is less regularisation). In float32 torch: several times faster than
scikit-learn's on 10,000 x 512 features, with the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional as F

from nearfar.errors import ConfigError

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
DEFAULT_STRENGTH = 0.1  # for one row per class, which leaves nothing to validate on
FOLDS = 5
SMALL = 1000  # up to this many rows every fold is used, above it the first alone
SMALL_MATRIX = 4_000_000  # numbers in a training matrix below which one thread fits it
SELECTION_ROWS = 5000  # C is chosen on at most this many rows


class LogisticRegression:
    """Softmax regression by L-BFGS; `fit` may start from an earlier solution of the same shape."""

    def __init__(self, strength: float = 1.0, max_iterations: int = 300) -> None:
        if strength <= 0:
            raise ConfigError(f"C must be above 0, got {strength}; larger means less regularisation")
        self.strength = strength
        self.max_iterations = max_iterations
        self.weight = torch.empty(0)
        self.bias = torch.empty(0)
        self.iterations = 0
        self.converged = False

    def fit(
        self, x: torch.Tensor, y: torch.Tensor, classes: int, start: LogisticRegression | None = None
    ) -> LogisticRegression:
        """x (N, D) float, y (N,) class numbers 0 .. classes-1."""
        self.weight = x.new_zeros(x.shape[1], classes) if start is None else start.weight.clone()
        self.bias = x.new_zeros(classes) if start is None else start.bias.clone()
        parameters = [self.weight.requires_grad_(), self.bias.requires_grad_()]
        optimiser = torch.optim.LBFGS(
            parameters,
            max_iter=self.max_iterations,
            max_eval=25 * self.max_iterations,  # so that only the number of iterations can end it early
            history_size=10,
            tolerance_grad=1e-5,
            tolerance_change=1e-7,
            line_search_fn="strong_wolfe",
        )
        penalty = 1 / (2 * self.strength * len(x))

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            loss = F.cross_entropy(x @ self.weight + self.bias, y) + penalty * self.weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimiser.step(closure)
        self.weight, self.bias = self.weight.detach(), self.bias.detach()
        self.iterations = int(optimiser.state[parameters[0]]["n_iter"])
        self.converged = self.iterations < self.max_iterations
        return self

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes)."""
        return x @ self.weight + self.bias


class Standardise:
    """Subtract the mean and divide by the standard deviation of each feature; a constant feature is only centred."""

    def __init__(self, vectors: np.ndarray) -> None:
        rows = torch.from_numpy(vectors)
        self.mean = rows.mean(dim=0)
        std = rows.std(dim=0, correction=0)
        self.std = torch.where(std > 1e-6 * std.max(), std, 1.0)

    def __call__(self, vectors: np.ndarray) -> torch.Tensor:
        """(N, D) float32."""
        return ((torch.from_numpy(vectors) - self.mean) / self.std).float()


def fit(
    x: torch.Tensor,
    y: torch.Tensor,
    classes: int,
    strength: float | None,
    strengths: Sequence[float],
    max_iterations: int,
    seed: int,
) -> tuple[LogisticRegression, list[dict[str, float]]]:
    """The model at the given C, or at one chosen by validation on these rows, and what was tried on the way."""
    tried: list[dict[str, float]] = []
    basis = None
    if len(x) < x.shape[1]:
        # The best weights lie in the span of the rows: fitting in an orthonormal basis of it is the same and smaller.
        basis = torch.linalg.qr(x.double().T).Q.float()
        x = x @ basis
    if strength is None:
        with _one_thread(min(len(x), SELECTION_ROWS) * x.shape[1] < SMALL_MATRIX):
            strength, tried = choose(x, y, classes, strengths, max_iterations, seed)
    with _one_thread(x.numel() < SMALL_MATRIX):
        model = LogisticRegression(strength, max_iterations).fit(x, y, classes)
    if basis is not None:
        model.weight = basis @ model.weight
    return model, tried


@contextmanager
def _one_thread(wanted: bool) -> Iterator[None]:
    """Thousands of products of small matrices lose more to waking threads than they gain, most of all on a busy machine."""
    threads = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose(
    x: torch.Tensor, y: torch.Tensor, classes: int, strengths: Sequence[float], max_iterations: int, seed: int
) -> tuple[float, list[dict[str, float]]]:
    """The C with the least validation cross-entropy, which is smooth where accuracy on few rows is not.

    From the smallest C upwards, each fit starting at the one before; the search ends at the first rise, since the large
    C that follow are the slow ones and fit the training rows ever closer.
    """
    if not strengths:
        raise ConfigError("give at least one C to choose from")
    splits = _splits(y.numpy(), seed)
    if not splits:
        return DEFAULT_STRENGTH, []
    models: list[LogisticRegression | None] = [None] * len(splits)
    tried: list[dict[str, float]] = []
    for strength in sorted(strengths):
        losses, hits, rows = 0.0, 0, 0
        for number, (fit, held) in enumerate(splits):
            model = LogisticRegression(strength, max_iterations).fit(x[fit], y[fit], classes, models[number])
            models[number] = model
            logits = model.scores(x[held])
            losses += float(F.cross_entropy(logits, y[held], reduction="sum"))
            hits += int((logits.argmax(dim=1) == y[held]).sum())
            rows += len(held)
        tried.append({"C": strength, "validation_loss": losses / rows, "validation_accuracy": hits / rows})
        if len(tried) > 1 and tried[-1]["validation_loss"] > tried[-2]["validation_loss"]:
            break
    return min(tried, key=lambda entry: entry["validation_loss"])["C"], tried


def _splits(y: np.ndarray, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Stratified (fit, held) rows: every class is dealt over the folds in turn, after a shuffle.

    A class with a single row always stays on the fitting side. No split when no class has two rows.
    """
    generator = np.random.default_rng([seed, 2])
    order = generator.permutation(len(y))[:SELECTION_ROWS]
    fold = np.full(len(y), -1)
    for c in np.unique(y[order]):
        rows = order[y[order] == c]
        if len(rows) > 1:
            fold[rows] = (np.arange(len(rows)) + generator.integers(FOLDS)) % min(FOLDS, len(rows))
    used = np.zeros(len(y), dtype=bool)
    used[order] = True
    count = FOLDS if len(order) <= SMALL else 1
    splits = []
    for number in range(count):
        held = np.flatnonzero(used & (fold == number))
        if len(held):
            splits.append((torch.from_numpy(np.flatnonzero(used & (fold != number))), torch.from_numpy(held)))
    return splits
