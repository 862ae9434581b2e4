"""What an encoder reaches when all of it learns from the labels: a copy of it and a linear head, trained together.

The copy starts from the encoder's weights, the head from zero; cross-entropy, AdamW, linear warm-up and half a cosine.
Training sees one random view of each row, scoring the plain row. The encoder itself is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.errors import ConfigError, DataError
from nearfar.training.optimisers import optimiser, parameter_groups
from nearfar.training.rng import preserved, seed_all, step_generator
from nearfar.training.schedules import learning_rate

from .checks import Labels, as_labels
from .classification import Classification, classify
from .probes import draw_rows

WARMUP = 0.1  # share of the steps
SCORED = 256  # rows scored at a time

Rows = Callable[[np.ndarray], Tensor]  # positions -> raw rows, such as `Source.rows`


class Views(Protocol):
    """Random views for training and plain rows for scoring, as every modality makes them."""

    def __call__(self, rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Random views; the first is trained on."""
        ...

    def plain(self, rows: Tensor) -> Tensor:
        """Rows without randomness."""
        ...


@dataclass(frozen=True)
class FinetuneResult:
    """What `finetune_probe` found: scores, predictions (N,) or (draws, N), and one dict for each draw."""

    report: Classification
    predictions: np.ndarray
    draws: list[dict[str, Any]]


def finetune_probe(
    encoder: nn.Module,
    views: Views,
    train: Rows,
    train_labels: Labels,
    test: Rows,
    test_labels: Labels,
    steps: int = 300,
    lr: float = 1e-3,
    batch_size: int = 64,
    weight_decay: float = 1e-2,
    per_class: int | None = None,
    draws: int = 1,
    resamples: int = 1000,
    seed: int = 0,
    name: str = "fine-tuned",
    progress: Callable[[int, int], None] | None = None,
) -> FinetuneResult:
    """Train a copy of `encoder` with a linear head on the training rows, score it on the test rows.

    encoder: inputs -> (B, D). train, test: give raw rows of some positions; a row with label -1 is left out.
    per_class: how many labels of each class, all when None; draws: how often they are drawn (or, of all labels, how
    many orders and sets of views), from seed, seed + 1, ... progress: called with (step, steps) over all draws.

    Same arguments, same result on the same machine; the caller's random generators are left as they were.

    Raises DataError: fewer than two classes, a class with fewer than `per_class` rows, or a loss that is not finite;
    ConfigError: impossible settings.

    >>> x = torch.eye(2).repeat(8, 1)
    >>> class Same:
    ...     def __call__(self, rows, generator): return [rows]
    ...     def plain(self, rows): return rows
    >>> rows, y = (lambda index: x[index]), np.arange(16) % 2
    >>> finetune_probe(nn.Linear(2, 4), Same(), rows, y, rows, y, steps=20).report.metrics["accuracy"].value
    1.0
    """
    if (
        min(steps, draws, batch_size - 1) < 1
        or lr <= 0
        or weight_decay < 0
        or (per_class is not None and per_class < 1)
    ):
        raise ConfigError(
            "fine-tuning needs steps, draws and per_class of at least 1, batch_size of at least 2, lr above 0 and "
            f"weight_decay of at least 0, got {steps}, {draws}, {per_class}, {batch_size}, {lr:g} and {weight_decay:g}"
        )
    y = as_labels(train_labels, len(train_labels), "train labels", unknown=True)
    truth = as_labels(test_labels, len(test_labels), "test labels", unknown=True)
    known, scored = np.flatnonzero(y >= 0), np.flatnonzero(truth >= 0)
    classes, sizes = np.unique(y[known], return_counts=True)
    if len(classes) < 2 or not len(scored):
        raise DataError("fine-tuning needs labels of two classes or more to train on, and labelled rows to score")
    if per_class is not None and sizes.min() < per_class:
        raise DataError(
            f"class {classes[sizes.argmin()]} has {sizes.min()} training rows, {per_class} are needed to fine-tune; "
            f"choose {sizes.min()} or less"
        )
    tell = progress or (lambda done, of: None)
    predictions, listed = [], []
    for draw in range(draws):
        rows = known if per_class is None else known[draw_rows(y[known], per_class, seed + draw)]
        targets = torch.from_numpy(np.searchsorted(classes, y[rows]))

        def told(step: int, before: int = draw * steps) -> None:
            tell(before + step, draws * steps)

        with preserved():
            seed_all(seed + draw)
            net = _net(encoder, views, train(rows[:1]), len(classes))
            losses = _train(net, views, train, rows, targets, steps, lr, batch_size, weight_decay, seed + draw, told)
            predictions.append(classes[_predict(net, views, test, scored)])
        alone = classify(truth[scored], predictions[-1], resamples=1).metrics
        listed.append(
            {
                "seed": seed + draw,
                "train": len(rows),
                "first_loss": losses[0],
                "last_loss": float(np.mean(losses[-10:])),
                "accuracy": alone["accuracy"].value,
                "macro_f1": alone["macro_f1"].value,
            }
        )
    settings = {
        "steps": steps,
        "batch_size": min(batch_size, listed[0]["train"]),
        "lr": lr,
        "weight_decay": weight_decay,
        "per_class": per_class,
        "draws": draws,
        "train": listed[0]["train"],
    }
    table = predictions[0] if draws == 1 else np.stack(predictions)
    return FinetuneResult(classify(truth[scored], table, name, settings, resamples, seed), table, listed)


class _Net(nn.Module):
    """A copy of an encoder, all of which learns, and a linear head that starts from zero."""

    def __init__(self, encoder: nn.Module, width: int, classes: int, device: torch.device) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(True)
        self.head = nn.Linear(width, classes, device=device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.device = device

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C) scores of the classes."""
        scores: Tensor = self.head(self.encoder(inputs).float())
        return scores


def _net(encoder: nn.Module, views: Views, row: Tensor, classes: int) -> _Net:
    """The net to train; how wide the embedding is shows on one row."""
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            width = encoder(views.plain(row.to(device))).shape[1]
    finally:
        encoder.train(was_training)
    return _Net(encoder, width, classes, device)


def _train(
    net: _Net,
    views: Views,
    raw: Rows,
    rows: np.ndarray,
    targets: Tensor,
    steps: int,
    lr: float,
    batch_size: int,
    weight_decay: float,
    seed: int,
    tell: Callable[[int], None],
) -> list[float]:
    """Train in place; the loss of each step."""
    update = optimiser("adamw", parameter_groups(net), lr, weight_decay)
    net.train()
    losses: list[float] = []
    for step, chosen in enumerate(_batches(len(rows), min(batch_size, len(rows)), steps, seed)):
        for group in update.param_groups:
            group["lr"] = learning_rate(step, steps, lr, round(WARMUP * steps))
        inputs = views(raw(rows[chosen]).to(net.device), step_generator(seed, step))[0]
        loss = F.cross_entropy(net(inputs), targets[torch.from_numpy(chosen)].to(net.device))
        if not torch.isfinite(loss):
            raise DataError(
                f"the loss of fine-tuning is not finite at step {step + 1}; choose a smaller lr than {lr:g}"
            )
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
        tell(step + 1)
    return losses


def _batches(n: int, size: int, steps: int, seed: int) -> list[np.ndarray]:
    """Positions of each step: one order of all rows after another, cut into batches of one size."""
    generator = np.random.default_rng([seed, 5])
    passes = -(-steps * size // n)
    order = np.concatenate([generator.permutation(n) for _ in range(passes)])
    return [order[step * size : (step + 1) * size] for step in range(steps)]


def _predict(net: _Net, views: Views, rows: Rows, positions: np.ndarray) -> np.ndarray:
    net.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(positions), SCORED):
            inputs = views.plain(rows(positions[start : start + SCORED]).to(net.device))
            found.append(net(inputs).argmax(dim=1).cpu().numpy())
    return np.concatenate(found)
