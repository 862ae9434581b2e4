"""Latent classes and the mean classifier: what a loss without labels says of a classifier made of class means.

With classes drawn by their frequency p_c, l(v) = log2(1 + e^-v), m_c the mean vector of a class, and rho = sum_c p_c^2
the chance that a negative is of the anchor's class (a collision),

    L_un  = mean of l(f(x)' (f(x+) - f(x-)))          x, x+ of one class, x- of any
    L_sup = mean of l(f(x)' (m_c - m_c'))             x of class c, over pairs of different classes
    L_sup <= (L_un - rho) / (1 - rho)

by Jensen's inequality and l(0) = 1. Here L_un is the mean over all triples of the rows, x+ = x among them, for which
the inequality is exact on any rows. Within a class vectors deviate by s(f) = mean_c sqrt(largest eigenvalue of the
class's covariance) mean |f(x)|, which is what collisions cost.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field

from ..errors import DataError
from ..evaluation import Metric, linear_probe
from ..mining.vectors import open_vectors
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds
from .negatives import Classes, tuple_losses


class MeanClassifierOptions(DiagnosisOptions):
    """Settings of `mean-classifier`."""

    data: str | None = Field(None, description="an .npz of nearfar embed with labels, told as it is; a toy when unset")
    ks: tuple[int, ...] = Field((1, 4, 16, 64), min_length=2, description="numbers of negatives to train with")
    classes: int = Field(5, ge=2, description="classes of the toy")
    width: int = Field(32, ge=2, description="columns of an item of the toy")
    columns: int = Field(8, ge=1, description="columns of the linear representation")
    spread: float = Field(2.0, gt=0, description="noise of items about their class, whose length is 1")
    norm: float = Field(8.0, gt=0, description="the largest Frobenius norm of the weights")
    steps: int = Field(200, ge=1, description="updates by Adam, each on fresh tuples")
    batch: int = Field(64, ge=2, description="tuples of an update")
    rows: int = Field(400, ge=20, description="rows that are told; of data, as many at most, drawn by the seed")
    lr: float = Field(0.02, gt=0, description="learning rate")


def told_of(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """L_un, rho, the bound, L_sup, s(f) and the accuracy of the mean classifier of labelled rows (N, D), exactly.

    Raises DataError: fewer than two classes.
    """
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError("the mean classifier needs rows of two classes at least")
    f, share = vectors.astype(np.float64), np.bincount(y) / len(y)
    means = np.stack([f[y == c].mean(0) for c in range(len(classes))])
    scores, by_mean = f @ f.T, f @ means.T
    total = 0.0
    for i in range(len(f)):
        total += _loss(scores[i, y == y[i]][:, None] - scores[i]).mean()
    rho = float(np.square(share).sum())
    gaps = by_mean[np.arange(len(f)), y][:, None] - by_mean
    weights = share * (np.arange(len(classes)) != y[:, None])
    deviations = [
        math.sqrt(max(np.linalg.eigvalsh(np.cov(f[y == c].T, bias=True).reshape(f.shape[1], -1))[-1], 0.0))
        * np.linalg.norm(f[y == c], axis=1).mean()
        for c in range(len(classes))
    ]
    unsupervised = total / len(f)
    return {
        "L_un": unsupervised,
        "collisions": rho,
        "bound": (unsupervised - rho) / (1 - rho),
        "L_sup": float((_loss(gaps) * weights).sum() / weights.sum()),
        "s(f)": float(share @ np.array(deviations)),
        "mean classifier": float((by_mean.argmax(1) == y).mean()),
    }


def _loss(margins: np.ndarray) -> np.ndarray:
    losses: np.ndarray = np.logaddexp(0, -margins) / math.log(2)
    return losses


def _apart(world: Classes, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tuples whose negatives are of other classes than the anchor."""
    own, count = world.labels(n), len(world.means)
    other = (own[:, None] + torch.randint(1, count, (n, k), generator=world.generator)) % count
    return world.items(own), world.items(own), world.items(other)


def one_training(options: MeanClassifierOptions, k: int, collide: bool, seed: int) -> dict[str, float]:
    """A linear representation trained with k negatives, and what is told of fresh rows."""
    generator = torch.Generator().manual_seed(seed)
    world = Classes(options.classes, options.width, generator, options.spread)
    weight = torch.randn(options.columns, options.width, generator=generator)
    weight = (weight * options.norm / (4 * weight.norm())).requires_grad_()
    optimiser = torch.optim.Adam([weight], options.lr)
    for _ in range(options.steps):
        tuples = world.tuples(options.batch, k) if collide else _apart(world, options.batch, k)
        optimiser.zero_grad()
        tuple_losses(weight, *tuples).mean().backward()
        optimiser.step()
        with torch.no_grad():
            weight.mul_((options.norm / weight.norm()).clamp_max(1.0))
    labels = world.labels(2 * options.rows)
    with torch.no_grad():
        vectors = (world.items(labels) @ weight.T).numpy()
    half, y = options.rows, labels.numpy()
    probe = linear_probe(vectors[half:], y[half:], vectors[:half], y[:half], strength=1.0, resamples=1)
    found = told_of(vectors[:half], y[:half])
    found["collisions"] = 1 - (1 - found["collisions"]) ** k if collide else 0.0
    return {**found, "linear probe": probe.report.metrics["accuracy"].value}


def _of_data(options: MeanClassifierOptions) -> dict[str, list[float]]:
    path = str(options.data)
    vectors = np.asarray(open_vectors(path))
    with np.load(path, allow_pickle=False) as archive:
        if "labels" not in archive:
            raise DataError(f"{path} has no labels; embed labelled data, and write an .npz")
        labels = archive["labels"]
    known = np.flatnonzero(labels >= 0)
    drawn = [np.random.default_rng(seed).permutation(known)[: options.rows] for seed in options.every_seed]
    rows = [told_of(vectors[part], labels[part]) for part in drawn]
    return {key: [row[key] for row in rows] for key in rows[0]}


def measure(options: MeanClassifierOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    if options.data is not None:
        say(options.data)
        values = _of_data(options)
        figures = {key: over_seeds(key, column) for key, column in values.items()}
        holds = bool((np.array(values["L_sup"]) <= np.array(values["bound"]) + 1e-9).all())
        vacuous = figures["bound"].value >= 1
        verdict = (
            f"{opening(holds)}: L_sup is {figures['L_sup'].short()} and the bound {figures['bound'].short()}, which "
            f"{'says nothing, since 1 is chance' if vacuous else 'is below 1, the value at chance'}. The mean "
            f"classifier is right on {figures['mean classifier'].short()}."
        )
        return verdict, holds, figures, [dict(figures)], []
    ways = [(k, collide) for collide in (True, False) for k in options.ks]
    found = []
    for seed in options.every_seed:
        for k, collide in ways:
            say(f"seed {seed}, {k} negatives{'' if collide else ' without collisions'}")
            found.append(one_training(options, k, collide, seed))
    count = len(options.ks)
    seen = {key: np.array([one[key] for one in found]).reshape(options.seeds, 2, count) for key in found[0]}
    right = seen["mean classifier"]
    figures = {
        "slack": Metric(
            "least of bound - L_sup, over all trainings", float((seen["bound"] - seen["L_sup"]).min()), right.size
        ),
        "more": over_seeds(
            f"mean classifier at {options.ks[-1]} negatives less at {options.ks[0]}", right[:, 0, -1] - right[:, 0, 0]
        ),
        "clean": over_seeds("the same without collisions", right[:, 1, -1] - right[:, 1, 0]),
        "deviation": over_seeds(
            f"s(f) with collisions less without, at {options.ks[-1]}", seen["s(f)"][:, 0, -1] - seen["s(f)"][:, 1, -1]
        ),
    }
    table: list[dict[str, Cell]] = [
        {
            "negatives": f"{k}{'' if collide else ' of other classes'}",
            **{key: over_seeds(key, values[:, int(at >= count), at % count]) for key, values in seen.items()},
        }
        for at, (k, collide) in enumerate(ways)
    ]
    holds = figures["slack"].value >= -1e-9
    more = figures["more"]
    trend = "help" if more.low > 0 else "hurt" if more.high < 0 else "neither surely help nor hurt"
    verdict = (
        f"{opening(holds)}: L_sup is below its bound in every training (by {figures['slack'].value:.3f} at least). "
        f"With {options.classes} classes, more negatives {trend} the mean classifier ({more.short()}); without "
        f"collisions the change is {figures['clean'].short()}."
    )
    x = np.log2(options.ks)
    pictures = [
        Picture(
            title,
            "log2 of the number of negatives",
            [curve(name, at, x, seen[key][:, at]) for at, name in enumerate(("any", "other classes"))],
        )
        for title, key in (("Accuracy of the mean classifier", "mean classifier"), ("Deviation s(f)", "s(f)"))
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "mean-classifier",
    "A loss without labels bounds that of the classifier made of class means, up to collisions of negatives; with few "
    "classes, more negatives collide more.",
    "Arora et al. 2019, A Theoretical Analysis of Contrastive Unsupervised Representation Learning (reconstructed)",
    MeanClassifierOptions,
    measure,
)
