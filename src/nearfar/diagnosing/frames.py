"""Class means of supervised contrast: an orthogonal frame where projections have no negative numbers.

Every item of some classes of very different size has a free vector, of which the projection is the unit vector; SupCon
moves them. Where vectors have no negative numbers, which is the theory's model of a network that ends in a ReLU, class
means should end at right angles however uneven the classes are, delta = |G / |G| - I / |I|| near 0 for the Gram matrix
G of the means, and classes should be points. Learning is on all items at once, on batches that never share an item, and
on the same with one item of every class in all of them (batch binding), without which every batch may end in an
arrangement of its own.

Numbers are kept from being negative by cutting them off at 0 after every update. A ReLU of a free vector is not the
same thing, since a number below 0 has no gradient and never comes back; it is measured beside.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn.functional import normalize, relu

from ..data.sampling import one_of_each
from ..evaluation import Metric, orthogonality_gap, within_class_collapse
from ..objectives import SupCon
from ..report.comparison_parts import Point
from ..report.findings import Picture, dot
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds

Signs = Literal["not negative", "any sign", "free ReLU"]
Batches = Literal["all at once", "disjoint", "bound"]
WAYS: tuple[tuple[Signs, Batches], ...] = (
    ("not negative", "all at once"),
    ("not negative", "disjoint"),
    ("not negative", "bound"),
    ("any sign", "all at once"),
    ("any sign", "disjoint"),
    ("any sign", "bound"),
    ("free ReLU", "all at once"),
)


class FramesOptions(DiagnosisOptions):
    """Settings of `frames`."""

    sizes: tuple[int, ...] = Field((40, 12, 4), min_length=2, description="items of each class")
    columns: int = Field(8, ge=2, description="columns of a projection, as many as classes at least")
    batches: int = Field(2, ge=2, description="batches that share no item")
    temperature: float = Field(0.3, gt=0, description="of SupCon")
    steps: int = Field(300, ge=1, description="passes over all items, each batch an update by Adam")
    lr: float = Field(0.05, gt=0, description="learning rate")

    @model_validator(mode="after")
    def _fits(self) -> FramesOptions:
        if self.columns < len(self.sizes):
            raise ValueError(f"{len(self.sizes)} class means at right angles need as many columns, not {self.columns}")
        if min(self.sizes) < 2 * self.batches:
            raise ValueError(
                f"two items of every class in each of {self.batches} batches need sizes of {2 * self.batches} at least"
            )
        return self


def dealt(labels: torch.Tensor, options: FramesOptions, batches: Batches, seed: int) -> list[torch.Tensor]:
    """Row numbers of each batch; labels (N,) in order of the classes, so that every batch has its share of all.

    >>> found = dealt(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), FramesOptions(), "disjoint", seed=0)
    >>> [rows.tolist() for rows in found]
    [[0, 2, 4, 6], [1, 3, 5, 7]]
    """
    rows = torch.arange(len(labels))
    if batches == "all at once":
        return [rows]
    parts = [rows[start :: options.batches] for start in range(options.batches)]
    if batches == "disjoint":
        return parts
    bound = torch.from_numpy(one_of_each(labels.numpy(), seed))
    return [torch.cat([part, bound]).unique() for part in parts]


def one_training(options: FramesOptions, signs: Signs, batches: Batches, seed: int) -> tuple[float, float]:
    """Distance of the class means from an orthogonal frame, and scatter within classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(options.sizes)), torch.tensor(options.sizes))
    free = torch.randn(len(labels), options.columns, generator=generator)
    free = (free.abs() if signs == "not negative" else free).requires_grad_()
    parts = dealt(labels, options, batches, seed)
    loss, optimiser = SupCon(temperature=options.temperature), torch.optim.Adam([free], options.lr)
    for step in range(options.steps * len(parts)):
        part = parts[step % len(parts)]
        rows = relu(free[part]) if signs == "free ReLU" else free[part]
        optimiser.zero_grad()
        loss(normalize(rows, dim=1), labels=labels[part]).backward()
        optimiser.step()
        if signs == "not negative":
            with torch.no_grad():
                free.clamp_(min=0)
    ended = normalize(relu(free) if signs == "free ReLU" else free, dim=1).detach().double().numpy()
    return orthogonality_gap(ended, labels.numpy()), within_class_collapse(ended, labels.numpy())


def measure(options: FramesOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    seen = np.zeros((options.seeds, len(WAYS), 2))
    for i, seed in enumerate(options.every_seed):
        for j, (signs, batches) in enumerate(WAYS):
            say(f"seed {seed}, {signs}, {batches}")
            seen[i, j] = one_training(options, signs, batches, seed)
    deltas = {way: seen[:, at, 0] for at, way in enumerate(WAYS)}
    apart = deltas["not negative", "disjoint"] - deltas["not negative", "bound"]
    figures: dict[str, Metric] = {
        "frame": over_seeds("delta, not negative, all at once", deltas["not negative", "all at once"], (0, 2)),
        "plain": over_seeds("delta, any sign, all at once", deltas["any sign", "all at once"], (0, 2)),
        "relu": over_seeds("delta, ReLU of free vectors, all at once", deltas["free ReLU", "all at once"], (0, 2)),
        "binding": over_seeds("delta, not negative, disjoint less bound", apart),
    }
    table: list[dict[str, Cell]] = [
        {
            "projections": signs,
            "batches": batches,
            "delta": over_seeds("delta", seen[:, at, 0], (0, 2)),
            "scatter within classes": over_seeds("scatter", seen[:, at, 1], (0, np.inf)),
        }
        for at, (signs, batches) in enumerate(WAYS)
    ]
    binds = figures["binding"].low > 0
    holds = figures["frame"].high < 0.05 and figures["plain"].low > 0.3 and binds
    verdict = (
        f"{opening(holds)}: for classes of {', '.join(map(str, options.sizes))} items, delta is "
        f"{figures['frame'].short()} without negative numbers and {figures['plain'].short()} with them. Where batches "
        f"share no item, binding {'lowers' if binds else 'does not surely lower'} it, by {figures['binding'].short()}. "
        f"A ReLU of free vectors, of which cut numbers never come back, ends at {figures['relu'].short()}."
    )
    looks: dict[Signs, int] = {"not negative": 0, "any sign": 1, "free ReLU": 2}
    dots: list[Point] = [
        dot(f"{signs}, {batches}", looks[signs], at + 1, seen[:, at, 0], f"{signs}, {batches}")
        for at, (signs, batches) in enumerate(WAYS)
    ]
    return verdict, holds, figures, table, [Picture("Delta to an orthogonal frame", "line of the table", dots=dots)]


DIAGNOSIS = Diagnosis(
    "frames",
    "Class means of supervised contrast end at right angles, however uneven the classes, if projections have no "
    "negative numbers; batches that share no item must be bound for that.",
    "Behnia et al. 2023, Symmetric Neural-Collapse Representations with Supervised Contrastive Loss (reconstructed)",
    FramesOptions,
    measure,
)
