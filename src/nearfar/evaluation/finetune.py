"""What an encoder reaches when all of it learns from the labels: a copy of it and a linear head, trained together.

The copy starts from the encoder's weights, the head from zero, on embeddings standardised once by what the encoder gave
before the first step; cross-entropy, AdamW, linear warm-up and half a cosine. Training sees a random view of a row or
the plain row, scoring the plain row. The encoder itself is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
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
from .logistic import Standardise
from .probes import draw_rows

WARMUP = 0.1  # share of the steps
BLOCK = 256  # rows embedded at a time where nothing is learnt
STANDARDISED_BY = 2000  # training rows at most; their labels are not used

Rows = Callable[[np.ndarray], Tensor]  # positions -> raw rows, such as `Source.rows`


class Views(Protocol):
    """Random views for training and plain rows for scoring, as every modality makes them."""

    def __call__(self, rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Random views; only the first is used."""
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
    view_share: float = 0.5,
    per_class: int | None = None,
    draws: int = 1,
    resamples: int = 1000,
    seed: int = 0,
    name: str = "fine-tuned",
    progress: Callable[[int, int], None] | None = None,
) -> FinetuneResult:
    """Train a copy of `encoder` with a linear head on the training rows, score it on the test rows.

    encoder: inputs -> (B, D). train, test: give raw rows of some positions; a row with label -1 is left out.
    view_share: how often training shows a random view in place of the plain row; views made for learning without labels
    are often too strong to be all that it sees. per_class: how many labels of each class, all when None; draws: how
    often they are drawn (or, of all labels, how many orders and sets of views), from seed, seed + 1, ... progress:
    called with (step, steps) over all draws.

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
    if not (min(steps, draws, batch_size - 1) >= 1 and lr > 0 and weight_decay >= 0 and 0 <= view_share <= 1):
        raise ConfigError(
            "fine-tuning needs steps and draws of at least 1, batch_size of at least 2, lr above 0, weight_decay of at "
            f"least 0 and view_share in 0 .. 1, got {steps}, {draws}, {batch_size}, {lr:g}, {weight_decay:g} and "
            f"{view_share:g}"
        )
    if per_class is not None and per_class < 1:
        raise ConfigError(f"per_class must be at least 1, or None for all labels, got {per_class}")
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
        with preserved():
            seed_all(seed + draw)
            net = _Net(encoder, views, train, len(y), len(classes), seed + draw)
            batches = _batches(len(rows), min(batch_size, len(rows)), steps, seed + draw)
            losses = []
            for step, loss in enumerate(
                _train(net, _mixed(views, train, view_share, seed + draw), batches, rows, targets, lr, weight_decay)
            ):
                losses.append(loss)
                tell(draw * steps + step + 1, draws * steps)
            guesses = [scores.argmax(dim=1).numpy() for scores in _plainly(net, net, views, test, scored)]
            predictions.append(classes[np.concatenate(guesses)])
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
        "view_share": view_share,
        "per_class": per_class,
        "draws": draws,
        "train": listed[0]["train"],
    }
    table = predictions[0] if draws == 1 else np.stack(predictions)
    return FinetuneResult(classify(truth[scored], table, name, settings, resamples, seed), table, listed)


class _Net(nn.Module):
    """A copy of an encoder, all of which learns, and a linear head on its standardised embedding."""

    def __init__(self, encoder: nn.Module, views: Views, rows: Rows, count: int, classes: int, seed: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(True)
        self.device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
        some = np.sort(np.random.default_rng([seed, 6]).permutation(count)[:STANDARDISED_BY])
        embeddings = np.concatenate([block.numpy() for block in _plainly(self, self.encoder, views, rows, some)])
        scale = Standardise(embeddings)
        self.register_buffer("mean", torch.as_tensor(scale.mean, dtype=torch.float32, device=self.device))
        self.register_buffer("std", torch.as_tensor(scale.std, dtype=torch.float32, device=self.device))
        self.head = nn.Linear(embeddings.shape[1], classes, device=self.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C) scores of the classes."""
        scores: Tensor = self.head((self.encoder(inputs).float() - self.mean) / self.std)
        return scores


def _plainly(net: _Net, part: nn.Module, views: Views, rows: Rows, positions: np.ndarray) -> Iterator[Tensor]:
    """What a part of the net gives for plain rows, block by block, without learning."""
    net.eval()
    for start in range(0, len(positions), BLOCK):
        with torch.no_grad():  # what an encoder keeps of an inference could not be learnt through later
            yield part(views.plain(rows(positions[start : start + BLOCK]).to(net.device))).float().cpu()


def _mixed(views: Views, raw: Rows, share: float, seed: int) -> Callable[[int, np.ndarray, torch.device], Tensor]:
    """Inputs of a step: of each row a random view or the plain row, by chance."""

    def inputs(step: int, positions: np.ndarray, device: torch.device) -> Tensor:
        generator = step_generator(seed, step)
        rows = raw(positions).to(device)
        viewed = torch.rand(len(rows), generator=generator) < share
        if viewed.all():
            return views(rows, generator)[0]
        made = views.plain(rows).clone()
        if viewed.any():
            made[viewed.to(device)] = views(rows[viewed.to(device)], generator)[0]
        return made

    return inputs


def _train(
    net: _Net,
    inputs: Callable[[int, np.ndarray, torch.device], Tensor],
    batches: list[np.ndarray],
    rows: np.ndarray,
    targets: Tensor,
    lr: float,
    weight_decay: float,
) -> Iterator[float]:
    """Train in place, giving the loss of each step."""
    update = optimiser("adamw", parameter_groups(net), lr, weight_decay)
    net.train()
    for step, chosen in enumerate(batches):
        for group in update.param_groups:
            group["lr"] = learning_rate(step, len(batches), lr, round(WARMUP * len(batches)))
        loss = F.cross_entropy(
            net(inputs(step, rows[chosen], net.device)), targets[torch.from_numpy(chosen)].to(net.device)
        )
        if not torch.isfinite(loss):
            raise DataError(
                f"the loss of fine-tuning is not finite at step {step + 1}; choose a smaller lr than {lr:g}"
            )
        update.zero_grad()
        loss.backward()
        update.step()
        yield loss.item()


def _batches(n: int, size: int, steps: int, seed: int) -> list[np.ndarray]:
    """Positions of each step: one order of all rows after another, cut into batches of one size."""
    generator = np.random.default_rng([seed, 5])
    passes = -(-steps * size // n)
    order = np.concatenate([generator.permutation(n) for _ in range(passes)])
    return [order[step * size : (step + 1) * size] for step in range(steps)]
