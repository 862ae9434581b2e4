"""How unlike all normal items a row is, and how well that tells anomalies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nearfar.errors import DataError

from .bootstrap import bootstrap_statistic
from .checks import Labels, Vectors, as_labels, as_vectors, same_width, unit
from .metric import Metric
from .neighbours import nearest


def anomaly_scores(normal: Vectors, rows: Vectors, k: int = 2) -> np.ndarray:
    """(Q,) for each row (Q, D) the sum of squared distances to its k nearest normal rows (M, D), all of unit length.

    Larger is more unlike; from 0 to 4 k. Source: Reiss & Hoshen 2021, section 4; k = 2 there.

    Raises DataError: widths differ, or there are fewer than k normal rows.

    >>> anomaly_scores(np.eye(3)[:2], np.eye(3), k=1).round(6).tolist()
    [0.0, 0.0, 2.0]
    """
    bank, queries = as_vectors(normal, "normal vectors"), as_vectors(rows)
    same_width(queries, bank, "vectors and normal vectors")
    cosines = nearest(unit(queries), unit(bank), k).scores
    return np.maximum(2 - 2 * cosines, 0).sum(1)


def auroc(scores: Vectors, anomalous: Labels) -> float:
    """Area under the ROC curve: how often an anomaly (1) scores above a normal row (0), ties counting half.

    1/2 at chance, 1 when all anomalies are above all normal rows; rows of -1 do not count.

    Raises DataError: there are no anomalies, or no normal rows.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), [0, 0, 1, 1])
    0.75
    """
    values = as_vectors(np.asarray(scores)[:, None], "scores")[:, 0]
    known = as_labels(anomalous, len(values), "anomalous", unknown=True)
    above, below = np.sort(values[known > 0]), np.sort(values[known == 0])
    if not len(above) or not len(below):
        raise DataError(f"the area needs anomalies and normal rows, got {len(above)} and {len(below)}")
    under = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
    return float(under.sum() / (2 * len(above) * len(below)))


def counted_auroc(scores: np.ndarray, anomalous: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """`auroc` where rows count several times or not at all: counts (r, N) -> (r,).

    Within each resample of `nearfar.evaluation.bootstrap.bootstrap_statistic` rows of both kinds must be left.

    >>> counted_auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))(np.array([[1, 1, 1, 1], [0, 1, 1, 0]]))
    array([0.75, 0.  ])
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # the first of equal scores
    odd = anomalous[order] > 0

    def area(counts: np.ndarray) -> np.ndarray:
        placed = counts[:, order]
        above, below = (np.add.reduceat(placed * kind, starts, axis=1) for kind in (odd, ~odd))
        under = np.cumsum(below, axis=1) - below / 2
        found: np.ndarray = (above * under).sum(1) / (above.sum(1) * below.sum(1))
        return found

    return area


def auroc_quality(scores: Vectors, anomalous: Labels, resamples: int = 1000, seed: int = 0) -> Metric:
    """`auroc` with a 95 % interval that resamples anomalies and normal rows, each among themselves.

    Raises DataError: there are no anomalies, or no normal rows.

    >>> print(auroc_quality(np.array([0.1, 0.2, 0.8, 0.9]), [0, 0, 1, 1]))
    AUROC 1.000 [1.000, 1.000] n=4
    """
    auroc(scores, anomalous)  # refuses what has no area
    values, odd = np.asarray(scores, dtype=np.float64), as_labels(anomalous, len(scores), "anomalous", unknown=True)
    values, odd = values[odd >= 0], odd[odd >= 0] > 0
    return bootstrap_statistic(
        "AUROC", counted_auroc(values, odd), len(odd), {"anomalies": int(odd.sum())}, resamples, seed, groups=odd
    )
