"""The gap between training and test loss against the number of negatives.

Items are of C classes: x = m_c + noise, scaled to length 1; a positive is another item of the class, negatives are
items of any. A linear representation f(x) = W x with |W| (Frobenius) at most a bound learns from n tuples of an anchor,
a positive and k negatives of their own,

    loss = mean log(1 + sum_j exp(f(x)' (f(x_j-) - f(x+))))

whose gap to the loss of fresh tuples is what bounds speak of. n is fixed and k varies. The curve of the gap is fitted
by a + b log k and by a + b log k + c (log k)^2; c > 0 would be growth faster than log k. A power k^p is fitted as well:
p = 1 is the linear growth of earlier bounds, p = 1/2 that of their refinements.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..evaluation import Metric, linear_probe
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds


class NegativesOptions(DiagnosisOptions):
    """Settings of `negatives`."""

    ks: tuple[int, ...] = Field(
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), min_length=4, description="numbers of negatives"
    )
    tuples: int = Field(200, ge=8, description="tuples to learn from, the same number for every k")
    held: int = Field(1000, ge=50, description="fresh tuples that the test loss is a mean of")
    classes: int = Field(20, ge=2, description="classes, all as frequent")
    width: int = Field(32, ge=2, description="columns of an item")
    columns: int = Field(16, ge=1, description="columns of the representation")
    norm: float = Field(12.0, gt=0, description="the largest Frobenius norm of the weights")
    steps: int = Field(300, ge=10, description="updates by Adam on all tuples at once")
    lr: float = Field(0.05, gt=0, description="learning rate")


class Classes:
    """Items of classes as frequent as each other, of length 1: (n, D) rows by (n,) classes."""

    def __init__(self, classes: int, width: int, generator: torch.Generator, noise: float = 1.0) -> None:
        self.means = torch.nn.functional.normalize(torch.randn(classes, width, generator=generator), dim=1)
        self.generator, self.noise = generator, noise

    def labels(self, *shape: int) -> Tensor:
        """Classes drawn evenly."""
        return torch.randint(len(self.means), shape, generator=self.generator)

    def items(self, labels: Tensor) -> Tensor:
        """An item of each class, (..., D)."""
        width = self.means.shape[1]
        spread = torch.randn(*labels.shape, width, generator=self.generator) * self.noise / math.sqrt(width)
        return torch.nn.functional.normalize(self.means[labels] + spread, dim=-1)

    def tuples(self, n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors (n, D), positives (n, D) and negatives (n, k, D)."""
        own = self.labels(n)
        return self.items(own), self.items(own), self.items(self.labels(n, k))


def tuple_losses(weight: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """(n,) log(1 + sum_j exp(f(x)' (f(x_j-) - f(x+)))) for f(x) = W x, W (d, D).

    >>> one = torch.eye(2)
    >>> tuple_losses(torch.eye(2), one[:1], one[:1], one[None, 1:]).item()            # log(1 + e^-1)
    0.31326165795326233
    """
    asked = (anchors @ weight.T) @ weight
    gaps = torch.einsum("nd,nkd->nk", asked, negatives) - (asked * positives).sum(1, keepdim=True)
    return torch.nn.functional.pad(gaps, (1, 0)).logsumexp(1)


def one_seed(options: NegativesOptions, k: int, seed: int) -> tuple[float, float, float]:
    """Training loss, test loss and accuracy of a linear probe for one k."""
    generator = torch.Generator().manual_seed(seed)
    world = Classes(options.classes, options.width, generator)
    weight = torch.randn(options.columns, options.width, generator=generator)
    weight = (weight * options.norm / (2 * weight.norm())).requires_grad_()
    train = world.tuples(options.tuples, k)
    optimiser = torch.optim.Adam([weight], options.lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    for _ in range(options.steps):
        optimiser.zero_grad()
        tuple_losses(weight, *train).mean().backward()
        optimiser.step()
        slower.step()
        with torch.no_grad():
            weight.mul_((options.norm / weight.norm()).clamp_max(1.0))
    with torch.no_grad():
        losses, left = [], options.held
        while left:
            part = min(left, max(1, 20_000 // k))
            losses.append(tuple_losses(weight, *world.tuples(part, k)))
            left -= part
        labels = world.labels(40 * options.classes)
        vectors = (world.items(labels) @ weight.T).numpy()
        half = len(labels) // 2
        probe = linear_probe(
            vectors[:half], labels[:half].numpy(), vectors[half:], labels[half:].numpy(), strength=1.0, resamples=1
        )
        train_loss = float(tuple_losses(weight, *train).mean())
    return train_loss, float(torch.cat(losses).mean()), probe.report.metrics["accuracy"].value


def growth(ks: np.ndarray, gaps: np.ndarray) -> tuple[float, float, float]:
    """Slope per unit of log k, the bend c of a + b log k + c (log k)^2, and the power p of k^p, by least squares.

    p is NaN where a gap is not above 0.

    >>> [round(v, 6) for v in growth(np.array([1, 2, 4, 8]), 3 + 2 * np.log([1.0, 2, 4, 8]))[:2]]
    [2.0, 0.0]
    """
    logs = np.log(ks)
    power = float(np.polyfit(logs, np.log(gaps), 1)[0]) if (gaps > 0).all() else math.nan
    return float(np.polyfit(logs, gaps, 1)[0]), float(np.polyfit(logs, gaps, 2)[0]), power


def measure(options: NegativesOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    found = np.zeros((options.seeds, len(options.ks), 3))
    for i, seed in enumerate(options.every_seed):
        for j, k in enumerate(options.ks):
            say(f"seed {seed}, {k} negatives")
            found[i, j] = one_seed(options, k, seed)
    gaps = found[:, :, 1] - found[:, :, 0]
    fits = np.array([growth(np.array(options.ks), row) for row in gaps])
    slope, bend, power = (
        over_seeds(name, fits[:, at])
        for at, name in enumerate(
            ("slope of the gap per unit of log k", "bend of the gap over log k", "power p of k^p")
        )
    )
    figures: dict[str, Metric] = {"slope": slope, "bend": bend, "power": power}
    table: list[dict[str, Cell]] = [
        {
            "negatives": k,
            "training loss": over_seeds("training loss", found[:, at, 0]),
            "test loss": over_seeds("test loss", found[:, at, 1]),
            "gap": over_seeds("gap", gaps[:, at]),
            "probe accuracy": over_seeds("probe accuracy", found[:, at, 2], (0.0, 1.0)),
        }
        for at, k in enumerate(options.ks)
    ]
    # A gap that is flat, or falls, has no power to speak of; it does not grow faster than log k.
    faster = bend.low > 0
    linear_out = power.high < 1 or slope.high <= 0
    holds = None if not faster and not linear_out else not faster
    verdict = (
        f"{opening(holds)}: with {options.tuples} tuples the gap "
        f"{'grows faster than log k' if faster else 'grows by ' + slope.short() + ' per unit of log k, and no faster'} "
        f"(bend {bend.short()}); growth in proportion to k is {'excluded' if linear_out else 'not excluded'} "
        f"(k^p with p = {power.short()})."
    )
    logs = np.log2(options.ks)
    pictures = [
        Picture("Test loss less training loss", "log2 of the number of negatives", [curve("gap", 0, logs, gaps)]),
        Picture("Linear probe", "log2 of the number of negatives", [curve("accuracy", 1, logs, found[:, :, 2])]),
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "negatives",
    "With n tuples fixed, the gap between test and training loss grows with the number k of negatives at most like "
    "log k.",
    "Lei et al. 2023, Generalization Analysis for Contrastive Representation Learning (abstract)",
    NegativesOptions,
    measure,
)
