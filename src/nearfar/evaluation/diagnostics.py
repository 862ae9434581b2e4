"""What can be wrong with a space though its figures look fine: a cone, hubs, and scores that follow length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearfar.errors import DataError

from .checks import Vectors, as_vectors, unit
from .neighbours import Similarity, nearest


def anisotropy(vectors: Vectors) -> float:
    """Mean cosine of two different rows of (N, D), of all pairs: (|sum of unit rows|^2 - N) / (N (N - 1)).

    About 0 where directions are spread evenly, 1 where all rows point the same way: the space is a narrow cone.

    >>> anisotropy(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])).__round__(6)
    0.333333
    """
    z = unit(as_vectors(vectors))
    n = len(z)
    if n < 2:
        raise DataError("a mean over pairs needs two rows at least")
    total = z.sum(axis=0)
    return float((total @ total - np.square(z).sum()) / (n * (n - 1)))


def hubness(vectors: Vectors, k: int = 10, metric: Similarity = "cosine") -> float:
    """Skewness of how often each row of (N, D) is among the k nearest of another one.

    About 0 where all rows are found alike; large where a few (hubs) are near to many. Source: Radovanovic 2010.

    Raises DataError: fewer than k + 1 rows.

    >>> hubness(np.array([[0.0], [1.0], [-1.1], [2.3]]), k=1, metric="euclidean").__round__(4)
    0.0
    """
    z = as_vectors(vectors)
    if len(z) <= k:
        raise DataError(f"{k} neighbours of each row need {k + 1} rows at least, there are {len(z)}")
    found = nearest(z, z, k, metric, exclude=np.arange(len(z))).index
    counts = np.bincount(found.ravel(), minlength=len(z)).astype(np.float64)
    apart = counts - counts.mean()
    spread = float(np.square(apart).mean())
    return float((apart**3).mean() / spread**1.5) if spread else 0.0


def length_bias(
    scores: Vectors | Sequence[float],
    first_lengths: Vectors | Sequence[float],
    second_lengths: Vectors | Sequence[float],
    content: Vectors | Sequence[float] | None = None,
) -> float:
    """Spearman's correlation of scores of pairs with how alike in length the two are, -|a - b|.

    All (N,). content: a score of the same pairs that knows no length, such as the share of words in common; what it
    explains is then taken out: (r_ab - r_ac r_bc) / sqrt((1 - r_ac^2) (1 - r_bc^2)). About 0 where length does not
    matter; above, where texts of one length look alike. NaN where one of them is constant.

    >>> length_bias([0.9, 0.5, 0.1], [5, 5, 5], [5, 7, 9])
    1.0
    """
    from scipy.stats import rankdata

    a, first, second = (np.asarray(values, dtype=np.float64) for values in (scores, first_lengths, second_lengths))
    columns = [a, -np.abs(first - second)] + ([] if content is None else [np.asarray(content, dtype=np.float64)])
    if any(column.shape != a.shape or not np.ptp(column) for column in columns):
        if any(column.shape != a.shape for column in columns):
            raise DataError(f"lengths and scores must be (N,) each, got {[column.shape for column in columns]}")
        return float("nan")
    r = np.corrcoef([rankdata(column) for column in columns])
    if content is None:
        return float(r[0, 1])
    spread = np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    return float((r[0, 1] - r[0, 2] * r[1, 2]) / spread) if spread > 1e-12 else float("nan")
