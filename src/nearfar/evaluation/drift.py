"""How far the vectors of the same rows have moved from one encoder to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearfar.errors import DataError

from .bootstrap import bootstrap_mean
from .checks import Vectors, as_vectors
from .metric import Metric
from .neighbours import nearest


@dataclass(frozen=True)
class Movement:
    """What `movement` found.

    Attributes:
        metrics: `neighbour_overlap`, `cosine` and `aligned_cosine` (means over rows with intervals), `cka`.
        cosines: (N,) cosine between the two vectors of each row, in the same coordinates.
        overlaps: (N,) share of each row's neighbours that stayed.
    """

    metrics: dict[str, Metric]
    cosines: np.ndarray
    overlaps: np.ndarray

    def farthest(self, count: int = 10) -> np.ndarray:
        """The rows that moved most, by cosine; of equal ones the lower row first."""
        return np.argsort(self.cosines, kind="stable")[:count]


def movement(before: Vectors, after: Vectors, k: int = 10, resamples: int = 1000, seed: int = 0) -> Movement:
    """Compare two sets of vectors of the same N rows, (N, D) and (N, D).

    - neighbour overlap: the share of a row's k nearest other rows, by cosine, that are the same in both; chance is
      k / (N - 1).
    - cosine: between the two vectors of a row as they are, which tells something where one encoder grew out of the
      other.
    - aligned cosine: the same after the rotation or reflection of all centred vectors that brings them closest
      (orthogonal Procrustes); it forgives what does not change any distance. It is flattering when N is not much
      above D, so it is given only for N > D.
    - CKA: linear centred kernel alignment, see `cka`.

    Raises:
        DataError: other numbers of rows or widths, fewer than four rows, or k is not below the number of rows.

    >>> found = movement(np.eye(5), 2 * np.eye(5), k=2)
    >>> found.metrics["neighbour_overlap"].value, found.metrics["cosine"].value
    (1.0, 1.0)
    """
    x, y = as_vectors(before, "vectors before"), as_vectors(after, "vectors after")
    if x.shape != y.shape:
        raise DataError(
            f"the two encoders gave {x.shape} and {y.shape} numbers; give vectors of the same rows and width"
        )
    n, width = x.shape
    if n < 4:
        raise DataError(f"drift needs at least 4 rows, got {n}")
    if not 1 <= k < n:
        raise DataError(f"k={k} neighbours asked of {n} rows; choose k between 1 and {n - 1}")
    own = np.arange(n)
    first, second = (nearest(rows, rows, k, exclude=own).index for rows in (x, y))
    overlaps = (first[:, :, None] == second[:, None, :]).any(axis=2).mean(axis=1)
    cosines = _cosines(x.astype(np.float64), y.astype(np.float64))
    metrics = {
        "neighbour_overlap": bootstrap_mean(
            f"overlap of {k} neighbours", overlaps, {"k": k, "chance": k / (n - 1)}, resamples, seed
        ),
        "cka": Metric("linear CKA", cka(x, y), n, settings={"debiased": True}),
        "cosine": bootstrap_mean("cosine", cosines, {}, resamples, seed),
    }
    if n > width:
        metrics["aligned_cosine"] = bootstrap_mean("aligned cosine", _aligned(x, y), {}, resamples, seed)
    return Movement(metrics, cosines, overlaps)


def cka(x: Vectors, y: Vectors) -> float:
    """Linear centred kernel alignment of two sets of vectors of the same N rows, debiased; 1 means the same geometry.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) for K = X X^T and L = Y Y^T, with the unbiased estimator of HSIC, so that
    unrelated vectors give about 0 also when they are wider than there are rows (it can be a little below). No N x N
    matrix is made. The same for any rotation and any scale of either side; NaN when all rows of one side are equal.
    Source: Kornblith et al. 2019; Song et al. 2012, equation 5, for the estimator.

    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> round(cka(x, 3 * x[:, ::-1]), 6)
    1.0
    """
    a, b = (as_vectors(side, "vectors").astype(np.float64) for side in (x, y))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)  # changes nothing in exact numbers and keeps digits in floats
    own = _hsic(a, a) * _hsic(b, b)
    return float(_hsic(a, b) / np.sqrt(own)) if own > 0 else float("nan")


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimator for two linear kernels whose diagonals are set to zero."""
    n = len(x)
    squares = (x * x).sum(axis=1), (y * y).sum(axis=1)
    sums = x @ x.sum(axis=0) - squares[0], y @ y.sum(axis=0) - squares[1]  # of each row of the kernels
    trace = float(((x.T @ y) ** 2).sum() - squares[0] @ squares[1])
    both = float(sums[0].sum() * sums[1].sum()) / ((n - 1) * (n - 2))
    return (trace + both - 2 * float(sums[0] @ sums[1]) / (n - 2)) / (n * (n - 3))


def _aligned(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) cosines of centred rows after the orthogonal map of x that brings it closest to y."""
    a, b = (side.astype(np.float64) - side.mean(axis=0, dtype=np.float64) for side in (x, y))
    left, _, right = np.linalg.svd(a.T @ b)
    return _cosines(a @ (left @ right), b)


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(axis=1) / np.maximum(lengths, 1e-12))
