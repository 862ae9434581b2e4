"""What the temperature does: how penalties fall on far rows, how evenly vectors spread, and what that costs classes.

InfoNCE pushes an anchor i from the far row j by p_ij / t, of which the share

    r_ij = exp(s_ij / t) / sum_(k far) exp(s_ik / t)

is what this one gets of all that far rows get: at a small t nearly all goes to the nearest of them, which is often of
the same class. So the vectors spread more evenly (uniformity falls) and rows of a class stand farther apart (tolerance
falls). Items here are of classes, on a sphere; two views of an item are the item and noise; a network learns with every
temperature, and once more with the far rows of an anchor cut to the nearest of them (`HardContrastive`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field

from ..evaluation import Metric, alignment, class_cosines, linear_probe, uniformity
from ..models.heads import projector
from ..objectives import HardContrastive, NTXent
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds, rank_correlations
from .negatives import Classes


class TemperatureOptions(DiagnosisOptions):
    """Settings of `temperature`."""

    temperatures: tuple[float, ...] = Field((0.07, 0.2, 0.3, 0.7, 1.0), min_length=3, description="in growing order")
    hard: float = Field(0.9, ge=0, lt=1, description="share of the far rows that the hard variant leaves out")
    classes: int = Field(10, ge=2, description="classes, all as frequent")
    width: int = Field(32, ge=2, description="columns of an item")
    columns: int = Field(16, ge=2, description="columns of the vectors")
    items: int = Field(1000, ge=40, description="items to learn from, and as many to measure on")
    spread: float = Field(1.0, gt=0, description="noise of items about their class, whose length is 1")
    noise: float = Field(0.3, gt=0, description="noise of a view about its item")
    steps: int = Field(300, ge=1, description="updates by Adam")
    batch: int = Field(128, ge=4, description="items of a batch")
    lr: float = Field(0.002, gt=0, description="learning rate")


def penalties(scores: np.ndarray, temperature: float) -> np.ndarray:
    """(N, M - 1) share of the push that each far row gets, of scores (N, M) whose near one is on the diagonal.

    >>> penalties(np.array([[0.9, 0.0, 0.0], [0.0, 0.9, 0.0]]), 0.1).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    n, m = scores.shape
    far = scores[~np.eye(n, m, dtype=bool)].reshape(n, m - 1) / temperature
    push = np.exp(far - far.max(1, keepdims=True))
    shares: np.ndarray = push / push.sum(1, keepdims=True)
    return shares


def reach(shares: np.ndarray) -> float:
    """Over how many far rows the push is spread: exp of the entropy of their shares (N, M), averaged over anchors.

    >>> reach(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    1.5
    """
    safe = np.where(shares > 0, shares, 1)
    return float(np.exp(-(shares * np.log(safe)).sum(1)).mean())


def top_share(shares: np.ndarray, part: float = 0.1) -> float:
    """The share of the push that the most pushed tenth of the far rows gets, averaged over anchors.

    >>> top_share(np.array([[0.4, 0.3, 0.2, 0.1]]), 0.5)
    0.7
    """
    most = max(1, math.ceil(part * shares.shape[1] - 1e-9))
    return float(np.sort(shares, axis=1)[:, -most:].sum(1).mean())


def one_training(options: TemperatureOptions, temperature: float, hard: bool, seed: int) -> dict[str, float]:
    """A network trained with one temperature, and what its vectors are like on fresh items."""
    generator = torch.Generator().manual_seed(seed)
    world = Classes(options.classes, options.width, generator, options.spread)
    labels = world.labels(options.items)
    items = world.items(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = projector(options.width, 128, options.columns)
    loss = HardContrastive(temperature=temperature, quantile=options.hard) if hard else NTXent(temperature=temperature)
    optimiser = torch.optim.Adam(network.parameters(), options.lr)

    def view(rows: torch.Tensor) -> torch.Tensor:
        return rows + torch.randn(rows.shape, generator=generator) * options.noise / math.sqrt(options.width)

    for _ in range(options.steps):
        rows = items[torch.randint(len(items), (options.batch,), generator=generator)]
        optimiser.zero_grad()
        loss(*network(torch.cat([view(rows), view(rows)])).chunk(2)).backward()
        optimiser.step()
    network.eval()
    fresh = world.labels(options.items)
    with torch.inference_mode():
        held = world.items(fresh)
        one, two = network(view(held)), network(view(held))
        train, test = (network(part).numpy() for part in (items, held))
        one, two = (torch.nn.functional.normalize(part, dim=1).numpy() for part in (one, two))
    first = slice(0, min(options.batch, len(one)))
    shares = penalties(one[first] @ two[first].T, temperature)
    probe = linear_probe(train, labels.numpy(), test, fresh.numpy(), strength=1.0, resamples=1)
    return {
        "uniformity": uniformity(test),
        "tolerance": class_cosines(test, fresh.numpy())[0],
        "alignment": float(alignment(one, two).mean()),
        "far rows that share the push": reach(shares),
        "share of the nearest tenth": top_share(shares),
        "probe accuracy": probe.report.metrics["accuracy"].value,
    }


def measure(options: TemperatureOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    ways = [(t, False) for t in options.temperatures] + [(t, True) for t in options.temperatures]
    found = []
    for seed in options.every_seed:
        for temperature, hard in ways:
            say(f"seed {seed}, temperature {temperature:g}{', hard far rows' if hard else ''}")
            found.append(one_training(options, temperature, hard, seed))
    count = len(options.temperatures)
    seen = {key: np.array([one[key] for one in found]).reshape(options.seeds, 2, count) for key in found[0]}
    scale = np.tile(options.temperatures, (options.seeds, 1))
    plain = {key: values[:, 0] for key, values in seen.items()}
    figures: dict[str, Metric] = {
        key: rank_correlations(f"rank correlation of temperature and {key}", scale, plain[key])
        for key in ("uniformity", "tolerance", "far rows that share the push")
    }
    best = np.array(options.temperatures)[plain["probe accuracy"].argmax(1)]
    figures["best"] = over_seeds("temperature of the best probe", best)
    lowest = int(np.argmin(options.temperatures))
    figures["hard"] = over_seeds(
        f"uniformity of the hard variant less the plain one, at {max(options.temperatures):g}",
        seen["uniformity"][:, 1, -1] - seen["uniformity"][:, 0, -1],
    )
    table: list[dict[str, Cell]] = [
        {
            "temperature": f"{temperature:g}{' hard' if hard else ''}",
            **{key: over_seeds(key, values[:, int(hard), at % count]) for key, values in seen.items()},
        }
        for at, (temperature, hard) in enumerate(ways)
    ]
    rising = [key for key in ("uniformity", "tolerance", "far rows that share the push") if figures[key].low > 0]
    holds = len(rising) == 3
    verdict = (
        f"{opening(holds)}: of uniformity, tolerance and the far rows that share the push, {len(rising)} of 3 surely "
        f"rise with the temperature. "
        f"At {options.temperatures[lowest]:g} the nearest tenth of the far rows gets "
        f"{plain['share of the nearest tenth'][:, lowest].mean():.0%} of the push, at {options.temperatures[-1]:g} "
        f"{plain['share of the nearest tenth'][:, -1].mean():.0%}; the probe is best at {figures['best'].value:.2g}."
    )
    x = options.temperatures
    pictures = [
        Picture(title, "temperature", [curve(name, at, x, seen[key][:, at]) for at, name in enumerate(("all", "hard"))])
        for title, key in (
            ("Uniformity: lower is more even", "uniformity"),
            ("Tolerance: mean cosine of two rows of a class", "tolerance"),
            ("Share of the push on the nearest tenth of the far rows", "share of the nearest tenth"),
            ("Accuracy of a linear probe", "probe accuracy"),
        )
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "temperature",
    "A smaller temperature pushes on fewer, nearer far rows, so that vectors spread more evenly (lower uniformity) and "
    "rows of a class stand farther apart (lower tolerance).",
    "Wang & Liu 2021, Understanding the Behaviour of Contrastive Loss, sections 3 and 4",
    TemperatureOptions,
    measure,
)
