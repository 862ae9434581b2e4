"""Contrast amplifies what differs between items: growth of a linear network along the covariance of augmentation means.

A view of an item is its mean m and noise e, and a linear network f(x) = W x is scored by -|f(x) - f(y)|^2 of rows
as they are. Under `ExactCovariance` at a temperature t far above these scores all far rows weigh 1 / (2 t), and descent
along the gradient is

    dW / dtime = W (2 / t) Cov(m)

since what two views of an item differ by, Cov(e), cancels. So |W v_k| grows by exp(2 lambda_k time / t) along the k-th
eigenvector v_k of Cov(m), of eigenvalue lambda_k. Here noise is largest where items differ least, so that Cov(m) and
the covariance of all rows, Cov(m) + Cov(e), order the directions the other way round. `ExactCovariance` at a sharp
temperature (weights that follow distances, an alpha-CL rule) and NT-Xent are measured beside it.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from ..contrast import NegativeSquaredEuclidean, Objective
from ..evaluation import Metric
from ..objectives import ExactCovariance, NTXent
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds, rank_correlations


class GrowthOptions(DiagnosisOptions):
    """Settings of `growth`."""

    width: int = Field(6, ge=3, description="columns of an item, and of what the network gives")
    steps: int = Field(150, ge=2, description="updates by gradient descent, each on a fresh batch")
    batch: int = Field(256, ge=4, description="items of a batch")
    temperature: float = Field(20.0, gt=0, description="at which all far rows weigh alike")
    sharp: float = Field(0.5, gt=0, description="at which they do not, and of NT-Xent")
    start: float = Field(0.05, gt=0, description="size of the first weights")


def spectra(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (D,) of Cov(m), largest first, and of Cov(e), smallest first, in the same directions.

    >>> means, noise = spectra(3)
    >>> means.tolist(), (means + noise).tolist()
    ([1.0, 0.55, 0.1], [1.1, 1.65, 2.2])
    """
    means = np.linspace(1.0, 0.1, width)
    return means, np.linspace(1.1, 2.2, width) - means


def rates(objective: Objective, scale: float, options: GrowthOptions, seed: int) -> np.ndarray:
    """(D,) growth of log |W v_k| per unit of time, along the directions of `spectra`; time ends at `scale`."""
    rng = np.random.default_rng(seed)
    means, noise = spectra(options.width)
    basis = np.linalg.qr(rng.normal(size=(options.width, options.width)))[0]
    weight = torch.from_numpy(options.start * np.linalg.qr(rng.normal(size=(options.width, options.width)))[0])
    weight.requires_grad_()
    pace = scale / options.steps
    for _ in range(options.steps):
        item, one, two = rng.normal(size=(3, options.batch, options.width))
        views = (item * np.sqrt(means) + part * np.sqrt(noise) for part in (one, two))
        (slope,) = torch.autograd.grad(objective(*(torch.from_numpy(v @ basis.T) @ weight.T for v in views)), weight)
        with torch.no_grad():
            weight -= pace * slope
    end = np.linalg.norm(weight.detach().numpy() @ basis, axis=0)
    grown: np.ndarray = np.log(end / options.start) / scale
    return grown


def measure(options: GrowthOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    similarity = NegativeSquaredEuclidean(normalize=False)
    flat, sharp = options.temperature, options.sharp
    # Long enough that the fastest direction grows by a factor of e^0.5: distances stay far below the temperature.
    ways: dict[str, tuple[Objective, float]] = {
        "exact covariance": (ExactCovariance(similarity=similarity, temperature=flat), flat / 4),
        "exact covariance, sharp": (ExactCovariance(similarity=similarity, temperature=sharp), sharp),
        "NT-Xent": (NTXent(similarity=similarity, temperature=sharp), sharp / 8),
    }
    means, noise = spectra(options.width)
    found: dict[str, np.ndarray] = {}
    for name, (objective, scale) in ways.items():
        say(name)
        found[name] = np.stack([rates(objective, scale, options, seed) for seed in options.every_seed])
    exact = found["exact covariance"] * flat / 2
    fits = np.stack([np.polyfit(means, row, 1) for row in exact])
    each = np.tile(means, (options.seeds, 1))
    figures: dict[str, Metric] = {
        "slope": over_seeds("slope of t / 2 times the rate over the eigenvalue; 1 is expected", fits[:, 0]),
        "offset": over_seeds("its offset; 0 is expected", fits[:, 1]),
        **{
            name: rank_correlations(f"rank correlation of rate and eigenvalue, {name}", rows, each)
            for name, rows in found.items()
        },
    }
    table: list[dict[str, Cell]] = [
        {
            "eigenvalue of Cov(m)": float(means[at]),
            "of all rows": float(means[at] + noise[at]),
            "t / 2 times the rate": over_seeds("rate", exact[:, at]),
            **{
                f"{name}, of the fastest": over_seeds(name, rows[:, at] / rows.max(1))
                for name, rows in found.items()
                if name != "exact covariance"
            },
        }
        for at in range(options.width)
    ]
    close = abs(figures["slope"].value - 1) < 0.1 and abs(figures["offset"].value) < 0.1
    others = {name: figures[name].low > 0.8 for name in found}
    holds = close and others["exact covariance"]
    also = [name for name, good in others.items() if good and name != "exact covariance"]
    verdict = (
        f"{opening(holds)}: under exact covariance the growth of a direction rises {figures['slope'].short()} times as "
        f"fast as its eigenvalue of Cov(m), though the covariance of all rows orders them the other way round. "
        f"The order is the same under {' and '.join(also) or 'none of the other two losses'}."
    )
    pictures = [
        Picture(
            "Growth of a direction, relative to the fastest",
            "eigenvalue of the covariance of augmentation means",
            [
                curve(name, at, means, rows / rows.max(1, keepdims=True))
                for at, (name, rows) in enumerate(found.items())
            ],
        )
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "growth",
    "A linear network grows along the covariance of augmentation means, at rates that follow its eigenvalues; what "
    "differs between two views of an item cancels.",
    "Tian et al. 2020, Understanding Self-supervised Learning with Dual Deep Networks (the linear case, derived here)",
    GrowthOptions,
    measure,
)
