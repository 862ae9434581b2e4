"""The shape of a cloud of vectors, with or without labels: collapsed, cone-shaped, or spread over the sphere.

Unit vectors are z / max(|z|, 1e-12). These are statistics of all pairs or of the whole matrix, for which resampling
items gives a biased interval (a repeated item is a pair at distance zero), so they carry none; alignment, a mean over
items, does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from nearfar.errors import DataError

from .bootstrap import bootstrap_mean
from .checks import Labels, Vectors, as_labels, as_vectors, same_width, unit
from .metric import Metric

COLLAPSED_SPREAD = 0.01  # channel std x sqrt(D) below this: all vectors are one
NARROW_SPREAD = 0.1  # below this: a narrow cone
FEW_DIRECTIONS = 0.02  # effective rank below this share of the possible rank


@dataclass(frozen=True)
class Geometry:
    """What `geometry` found.

    metrics: name -> Metric. spectrum: singular values, largest first. verdict: one sentence. healthy: no collapse seen.
    """

    metrics: dict[str, Metric]
    spectrum: np.ndarray
    verdict: str
    healthy: bool


def spectrum(vectors: Vectors) -> np.ndarray:
    """Singular values (min(N, D),) of the matrix as given, largest first (by the smaller Gram matrix, in float64)."""
    x = torch.from_numpy(as_vectors(vectors)).double()
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    values = torch.linalg.eigvalsh(gram).flip(0).numpy()
    # What is below the rounding of the largest eigenvalue is zero, not a direction.
    values[values < values[0] * len(values) * np.finfo(np.float64).eps] = 0
    return np.sqrt(values)


def effective_rank(vectors: Vectors) -> float:
    """exp of the entropy of sigma / sum(sigma): how many directions carry the vectors, 1 to min(N, D).

    Of the matrix as given, neither centred nor normalised. All zeros: 0. Source: Roy & Vetterli 2007; RankMe, Garrido
    2023.

    >>> round(effective_rank(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])), 6)
    2.892219
    """
    return _entropy_rank(spectrum(vectors))


def channel_std(vectors: Vectors) -> float:
    """Mean over channels of the standard deviation of the unit vectors: 1/sqrt(D) when uniform, 0 when collapsed.

    Source: Chen & He 2020 (SimSiam), section 4.1.
    """
    return float(unit(as_vectors(vectors)).std(axis=0).mean())


def alignment(a: Vectors, b: Vectors, alpha: float = 2.0) -> np.ndarray:
    """|a_i - b_i|^alpha of unit vectors, (N,), for rows that are two views of one item; the mean is the alignment.

    0 is best. Source: Wang & Isola 2020, equation 3.

    >>> float(alignment(np.eye(2), np.eye(2)).mean())
    0.0
    """
    first, second = as_vectors(a, "first views"), as_vectors(b, "second views")
    same_width(first, second, "the two views")
    if len(first) != len(second):
        raise DataError(f"alignment needs two views of each item: {len(first)} and {len(second)} rows")
    return np.asarray(np.linalg.norm(unit(first) - unit(second), axis=1) ** alpha)


def uniformity(vectors: Vectors, t: float = 2.0, block: int = 2048) -> float:
    """log of the mean over pairs i < j of exp(-t |z_i - z_j|^2) of unit vectors.

    0 when collapsed, lower is more uniform, about -2t for uniform vectors in many dimensions. Block by block. Source:
    Wang & Isola 2020, equation 4.

    >>> round(uniformity(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])), 6)
    -2.158455
    """
    z = torch.from_numpy(unit(as_vectors(vectors)))
    n = len(z)
    if n < 2:
        raise DataError("uniformity is over pairs: give at least two vectors")
    total = 0.0
    for i in range(0, n, block):
        for j in range(i, n, block):
            squares = (2 - 2 * (z[i : i + block] @ z[j : j + block].T)).clamp_min_(0)
            kernel = squares.mul_(-t).exp_()
            total += float(kernel.sum() if i != j else kernel.triu_(1).sum())
    # Far apart vectors and a large t can underflow to nothing.
    return math.log(total / (n * (n - 1) / 2)) if total > 0 else -math.inf


def class_cosines(vectors: Vectors, labels: Labels) -> tuple[float, float]:
    """Mean cosine over pairs i != j of the same class (the *tolerance*) and of different classes.

    NaN without such a pair. From class sums of unit vectors, so O(N D). Source: tolerance, Wang & Liu 2021, equation 6.

    >>> class_cosines(np.array([[1.0, 0], [1, 0], [0, 1], [0, 2]]), [0, 0, 1, 1])
    (1.0, 0.0)
    """
    z = unit(as_vectors(vectors))
    y = as_labels(labels, len(z))
    _, y = np.unique(y, return_inverse=True)
    sizes = np.bincount(y)
    sums = np.zeros((len(sizes), z.shape[1]))
    np.add.at(sums, y, z)
    own = float((z**2).sum())
    within = float((sums**2).sum())
    everything = float((sums.sum(axis=0) ** 2).sum())
    same_pairs = int((sizes * (sizes - 1)).sum())
    other_pairs = len(z) ** 2 - int((sizes**2).sum())
    same = (within - own) / same_pairs if same_pairs else math.nan
    other = (everything - within) / other_pairs if other_pairs else math.nan
    return same, other


def geometry(
    vectors: Vectors, labels: Labels | None = None, views: Vectors | None = None, resamples: int = 1000, seed: int = 0
) -> Geometry:
    """Every statistic of this file for one cloud of vectors, and what they mean in one sentence.

    vectors (N, D), N >= 2. labels (N,), -1 = unknown (left out of the class cosines). views (N, D): second views of the
    same items, for the alignment.
    """
    x = as_vectors(vectors)
    n, d = x.shape
    if n < 2:
        raise DataError("the geometry of one vector says nothing: give at least two")
    values = spectrum(x)
    rank, std = _entropy_rank(values), channel_std(x)
    metrics = {
        "effective_rank": Metric("effective rank", rank, n, settings={"possible": min(n, d)}),
        "channel_std": Metric("channel std", std, n, settings={"uniform": 1 / math.sqrt(d)}),
        "uniformity": Metric("uniformity", uniformity(x), n, settings={"t": 2.0}),
    }
    if views is not None:
        metrics["alignment"] = bootstrap_mean("alignment", alignment(x, views), {"alpha": 2.0}, resamples, seed)
    if labels is not None:
        y = as_labels(labels, n, unknown=True)
        known = y >= 0
        if known.any():
            same, other = class_cosines(x[known], y[known])
            count = int(known.sum())
            metrics["tolerance"] = Metric("cosine within classes", same, count)
            metrics["between_cosine"] = Metric("cosine between classes", other, count)
    verdict, healthy = _verdict(rank, min(n, d), std * math.sqrt(d))
    zeros = int((~x.any(axis=1)).sum())
    if zeros:
        verdict += f" {zeros} vectors are all zero and have no direction."
    return Geometry(metrics, values, verdict, healthy)


def _entropy_rank(values: np.ndarray) -> float:
    total = values.sum()
    if total == 0:
        return 0.0
    share = values[values > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def _verdict(rank: float, possible: int, spread: float) -> tuple[str, bool]:
    facts = f"spread {spread:.3f} of a uniform cloud's, effective rank {rank:.1f} of {possible}"
    if spread < COLLAPSED_SPREAD:
        return f"Collapsed: all vectors point the same way ({facts}).", False
    if spread < NARROW_SPREAD:
        return f"Close to collapse: the vectors lie in a narrow cone ({facts}).", False
    if possible > 1 and rank < max(1.5, FEW_DIRECTIONS * possible):
        return f"Dimensional collapse: the vectors use very few directions ({facts}).", False
    return f"No collapse ({facts}).", True
