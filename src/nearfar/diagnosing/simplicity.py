"""Class collapse and feature suppression: which factors of the data a contrast keeps, and which it lets go.

An item has a class (one of two), a sub-class (one of two within it), and a nuisance of `values` values that is easy:
its columns are `ease` times as large. Both views of an item share all three, and each adds noise of its own. A network
of D columns learns by SupCon on the class, by NT-Xent, or by (1 - beta) SupCon + beta NT-Xent, and linear probes on
fresh items say what is left of every factor. In the last rows the views of an item differ in the nuisance, as a better
augmentation would make them.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ..evaluation import Metric, linear_probe
from ..objectives import NTXent, SupCon
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds

FACTORS = ("class", "sub-class", "nuisance")
LOSSES = ("SupCon", "NTXent", "joint")


class SimplicityOptions(DiagnosisOptions):
    """Settings of `simplicity`."""

    columns: tuple[int, ...] = Field((2, 4, 16), min_length=2, description="columns D of the vectors, in growing order")
    beta: float = Field(0.5, ge=0, le=1, description="weight of NT-Xent in the joint loss")
    values: int = Field(8, ge=2, description="values of the nuisance")
    ease: float = Field(3.0, gt=0, description="how much larger the nuisance is than class and sub-class")
    noise: float = Field(0.5, ge=0, description="noise of a view in every column")
    steps: int = Field(300, ge=1, description="updates by Adam")
    batch: int = Field(64, ge=4, description="items of a batch")
    rows: int = Field(800, ge=40, description="items to fit a probe on, and as many to score it on")
    temperature: float = Field(0.3, gt=0, description="of all losses")
    lr: float = Field(0.01, gt=0, description="learning rate")


class Factors:
    """Items of three factors; `cells` (N, 3) are class, sub-class (0 to 3) and nuisance."""

    def __init__(self, options: SimplicityOptions, seed: int) -> None:
        self.options, self.generator = options, torch.Generator().manual_seed(seed)
        self.width = 2 + 4 + options.values

    def cells(self, n: int) -> Tensor:
        """Factors of n items, drawn evenly and independently."""
        kind, part = torch.randint(2, (2, n), generator=self.generator)
        return torch.stack([kind, 2 * kind + part, self.nuisances(n)], 1)

    def nuisances(self, n: int) -> Tensor:
        """Values of the nuisance."""
        return torch.randint(self.options.values, (n,), generator=self.generator)

    def view(self, cells: Tensor) -> Tensor:
        """(N, width) a view of each item: codes of its factors, side by side, and noise."""
        one_hot = torch.nn.functional.one_hot
        codes = [one_hot(cells[:, 0], 2), one_hot(cells[:, 1], 4), one_hot(cells[:, 2], self.options.values)]
        codes[2] = codes[2] * self.options.ease
        x = torch.cat([code.float() for code in codes], 1)
        return x + self.options.noise * torch.randn(x.shape, generator=self.generator)

    def other(self, cells: Tensor) -> Tensor:
        """The same items with another nuisance."""
        return torch.cat([cells[:, :2], self.nuisances(len(cells))[:, None]], 1)


def one_training(options: SimplicityOptions, loss: str, columns: int, augmented: bool, seed: int) -> list[float]:
    """Accuracies of linear probes of the three factors."""
    data = Factors(options, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(data.width, 64), nn.ReLU(), nn.Linear(64, columns))
    near, alone = SupCon(temperature=options.temperature), NTXent(temperature=options.temperature)
    share = {"SupCon": 0.0, "NTXent": 1.0, "joint": options.beta}[loss]
    optimiser = torch.optim.Adam(network.parameters(), options.lr)
    for _ in range(options.steps):
        cells = data.cells(options.batch)
        first, second = data.view(cells), data.view(data.other(cells) if augmented else cells)
        views = network(torch.cat([first, second])).chunk(2)
        value = torch.zeros(())
        if share < 1:
            value = value + (1 - share) * near(*views, labels=cells[:, 0])
        if share > 0:
            value = value + share * alone(*views)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    cells = data.cells(2 * options.rows)
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(network(data.view(cells)), dim=1).numpy()
    train, test, y = slice(0, options.rows), slice(options.rows, None), cells.numpy()
    return [
        linear_probe(vectors[train], y[train, at], vectors[test], y[test, at], strength=10.0, resamples=1)
        .report.metrics["accuracy"]
        .value
        for at in range(3)
    ]


def measure(options: SimplicityOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    ways = [(loss, d, augmented) for augmented in (False, True) for loss in LOSSES for d in options.columns]
    ways = [way for way in ways if not way[2] or way[0] == "NTXent"]
    seen = np.zeros((options.seeds, len(ways), 3))
    for i, seed in enumerate(options.every_seed):
        for j, way in enumerate(ways):
            say(f"seed {seed}, {way[0]}, {way[1]} columns{', nuisance augmented' if way[2] else ''}")
            seen[i, j] = one_training(options, *way, seed)

    def sub(loss: str, d: int, augmented: bool = False) -> np.ndarray:
        column: np.ndarray = seen[:, ways.index((loss, d, augmented)), 1]
        return column

    def of_loss(loss: str, factor: int) -> np.ndarray:
        return np.stack([seen[:, ways.index((loss, d, False)), factor] for d in options.columns], 1)

    few, many = options.columns[0], options.columns[-1]
    figures: dict[str, Metric] = {
        key: over_seeds(f"sub-class: {name}", values)
        for key, name, values in (
            ("collapse", f"SupCon, {many} columns, less 1/2, its class alone", sub("SupCon", many) - 0.5),
            ("joint", f"joint less SupCon, {many} columns", sub("joint", many) - sub("SupCon", many)),
            ("joint_alone", f"joint less NT-Xent, {few} columns", sub("joint", few) - sub("NTXent", few)),
            ("width", f"NT-Xent, {many} columns less {few}", sub("NTXent", many) - sub("NTXent", few)),
            ("views", f"NT-Xent, {few} columns, better views", sub("NTXent", few, True) - sub("NTXent", few)),
        )
    }
    table: list[dict[str, Cell]] = [
        {
            "loss": f"{loss}{', nuisance augmented' if augmented else ''}",
            "columns": d,
            **{name: over_seeds(name, seen[:, at, f], (0.0, 1.0)) for f, name in enumerate(FACTORS)},
        }
        for at, (loss, d, augmented) in enumerate(ways)
    ]
    # The joint loss is the measure of what could be kept: how much a probe can tell at all depends on the noise.
    claims = {
        "SupCon collapses classes": figures["joint"].low > 0,
        "the joint loss keeps at least as much as NT-Xent": figures["joint_alone"].high >= 0,
        "more columns bring the sub-class back": figures["width"].low > 0,
        "better views bring it back": figures["views"].low > 0,
    }
    holds = all(claims.values())
    failed = [name for name, good in claims.items() if not good]
    verdict = (
        f"{opening(holds)}: {len(claims) - len(failed)} of {len(claims)} parts are seen"
        f"{'' if holds else ' (not: ' + '; '.join(failed) + ')'}. The sub-class, where 1/2 is its class alone: SupCon "
        f"{sub('SupCon', many).mean():.3f} and joint {sub('joint', many).mean():.3f} at {many} columns; NT-Xent "
        f"{sub('NTXent', few).mean():.3f} at {few}, {sub('NTXent', few, True).mean():.3f} there with better views."
    )
    pictures = [
        Picture(
            f"Accuracy of a linear probe: {name}",
            "columns of the vectors",
            [curve(loss, i, options.columns, of_loss(loss, f)) for i, loss in enumerate(LOSSES)],
        )
        for f, name in enumerate(FACTORS)
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "simplicity",
    "Supervised contrast loses sub-classes (class collapse); contrast without labels keeps easy irrelevant features "
    "and loses relevant ones where columns are few (suppression); more columns, better views and a joint loss help.",
    "Xue et al. 2023, Which Features are Learnt by Contrastive Learning? (abstract; the data are of our own making)",
    SimplicityOptions,
    measure,
)
