"""How many labelled triplets an embedding needs: test error against m / (n d).

n points of d Gaussian columns are the truth, and a triplet (anchor, nearer, farther) is labelled by their distances. An
embedding of n free points in d columns is fitted to m random triplets by the logistic loss of squared distances, and
scored by the share of fresh triplets that it orders wrongly. The theory says that about n d triplets, up to logarithms,
are needed and enough; so the error over m / (n d) should be one curve for all n and d.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..evaluation import Metric
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds


class TuplesOptions(DiagnosisOptions):
    """Settings of `tuples`."""

    points: tuple[int, ...] = Field((50, 100, 200), min_length=2, description="numbers n of points")
    columns: tuple[int, ...] = Field((2, 4), min_length=1, description="numbers d of columns")
    shares: tuple[float, ...] = Field((1.0, 2.0, 4.0, 8.0, 16.0, 32.0), min_length=3, description="m / (n d), growing")
    error: float = Field(0.1, gt=0, lt=0.5, description="test error at which curves are compared")
    steps: int = Field(200, ge=1, description="updates by Adam on all triplets at once")
    held: int = Field(5000, ge=100, description="fresh triplets")
    lr: float = Field(0.1, gt=0, description="learning rate")


def labelled(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) triplets of different points (N, D): anchor, the nearer, the farther.

    >>> line = np.array([[0.0], [1.0], [5.0]])
    >>> triplet = labelled(line, 1, np.random.default_rng(0))[0]
    >>> abs(line[triplet[0]] - line[triplet[1]]) <= abs(line[triplet[0]] - line[triplet[2]])
    array([ True])
    """
    drawn = rng.random((count, len(points))).argpartition(2, axis=1)[:, :3]
    anchor, one, two = points[drawn].transpose(1, 0, 2)
    swap = np.square(anchor - one).sum(1) > np.square(anchor - two).sum(1)
    drawn[swap, 1:] = drawn[swap, 2:0:-1]
    return drawn


def margins(points: Tensor, triplets: Tensor) -> Tensor:
    """(M,) how much farther the farther one is, in squared distance."""
    anchor, near, far = (points[triplets[:, at]] for at in range(3))
    return (anchor - far).square().sum(1) - (anchor - near).square().sum(1)


def one_fit(options: TuplesOptions, n: int, d: int, share: float, seed: int) -> float:
    """The share of fresh triplets that the fitted points order wrongly."""
    rng = np.random.default_rng([seed, n, d])
    truth = rng.normal(size=(n, d))
    fresh = torch.from_numpy(labelled(truth, options.held, rng))
    train = torch.from_numpy(labelled(truth, max(1, round(share * n * d)), rng))
    points = torch.from_numpy(rng.normal(size=(n, d))).float().requires_grad_()
    optimiser = torch.optim.Adam([points], options.lr)
    for _ in range(options.steps):
        optimiser.zero_grad()
        softplus(-margins(points, train)).mean().backward()
        optimiser.step()
    with torch.no_grad():
        return float((margins(points, fresh) <= 0).double().mean())


def crossing(shares: np.ndarray, errors: np.ndarray, level: float) -> float:
    """m / (n d) at which errors fall to the level, between looks on a logarithmic scale; NaN where they never do.

    >>> round(crossing(np.array([1.0, 4.0]), np.array([0.3, 0.1]), 0.2), 6)
    2.0
    """
    below = np.flatnonzero(errors <= level)
    if not len(below):
        return float("nan")
    at = int(below[0])
    if at == 0:
        return float(shares[0])
    part = (errors[at - 1] - level) / (errors[at - 1] - errors[at])
    return float(np.exp(np.log(shares[at - 1]) + part * np.log(shares[at] / shares[at - 1])))


def measure(options: TuplesOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    ways = [(n, d) for d in options.columns for n in options.points]
    shares = np.array(options.shares)
    errors = np.zeros((len(ways), options.seeds, len(shares)))
    for i, (n, d) in enumerate(ways):
        say(f"{n} points of {d} columns")
        for j, seed in enumerate(options.every_seed):
            errors[i, j] = [one_fit(options, n, d, share, seed) for share in options.shares]
    at = np.array([[crossing(shares, row, options.error) for row in rows] for rows in errors])
    middle = at.mean(1)
    ratio = float(middle.max() / middle.min())
    figures: dict[str, Metric] = {
        f"{n}x{d}": over_seeds(f"m / (n d) at an error of {options.error:g}, {n} points of {d} columns", at[i])
        for i, (n, d) in enumerate(ways)
    }
    figures["ratio"] = Metric("largest of these over the smallest", ratio, at.size)
    table: list[dict[str, Cell]] = [
        {
            "points": n,
            "columns": d,
            **{
                f"error at {share:g}": over_seeds("error", errors[i, :, k], (0, 1))
                for k, share in enumerate(options.shares)
            },
        }
        for i, (n, d) in enumerate(ways)
    ]
    sizes = [n * d for n, d in ways]
    holds = None if not np.isfinite(ratio) else ratio <= 2
    told = (
        f"an error of {options.error:g} takes from {middle.min():.2g} to {middle.max():.2g} times n d triplets, a "
        f"ratio of {ratio:.2f} where n d itself varies {max(sizes) / min(sizes):.0f}-fold."
    )
    verdict = f"{opening(holds)}: {told if holds is not None else 'not all errors fall so far; set larger shares.'}"
    curves = [curve(f"{n} x {d}", i, np.log2(shares), errors[i]) for i, (n, d) in enumerate(ways)]
    return verdict, holds, figures, table, [Picture("Error of fresh triplets", "log2 of m / (n d)", curves)]


DIAGNOSIS = Diagnosis(
    "tuples",
    "The error of an embedding fitted to m labelled triplets of n points in d columns follows m / (n d): the "
    "same multiple of n d, within a factor of 2, reaches an error of 0.1 for all n and d.",
    "Alon et al. 2023, Optimal Sample Complexity of Contrastive Learning (abstract)",
    TuplesOptions,
    measure,
)
