"""How unlike all normal items a row is, and how well that tells anomalies."""

from __future__ import annotations

import numpy as np

from nearfar.errors import DataError

from .checks import Labels, Vectors, as_labels, as_vectors, same_width, unit
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
