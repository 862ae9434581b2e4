"""Whether learning by a margin collapses: how large the cloud of rows is beside the margin, and how far classes lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nearfar.errors import DataError
from nearfar.training.margins import by_margin

from .checks import Labels, Vectors, as_labels, as_vectors, unit


@dataclass(frozen=True)
class MarginState:
    """Distances of unit rows: the largest, the means of near and far pairs, the share of triplets that violate.

    `collapsed`: the diameter is below a tenth of the margin, so that no triplet can be told by it.
    """

    diameter: float
    near: float
    far: float
    violating: float
    collapsed: bool


def margin_state(vectors: Vectors, labels: Labels, margin: float = 0.2) -> MarginState:
    """Where the rows (N, D) of one batch or sample stand, for a triplet objective with this margin; holds (N, N).

    A triplet of an anchor, another row of its class and a row of another class violates when the far row is not
    farther than the near one by the margin. Hard mining with wrong labels or large margins may draw all rows together;
    watch the diameter over steps. Source: Xu et al. 2022, Mathematical Justification of Hard Negative Mining via
    Isometric Approximation Theorem, by its abstract.

    Raises DataError: no class has two rows, or there is a single class.

    >>> state = margin_state(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), [0, 0, 1, 1])
    >>> round(state.diameter, 3), state.violating, state.collapsed
    (1.414, 0.0, False)
    """
    rows = unit(as_vectors(vectors))
    known = as_labels(labels, len(rows), unknown=True)
    found = by_margin(torch.from_numpy(rows), torch.from_numpy(known.astype(np.int64)), margin)
    if not found:
        raise DataError("triplets need two rows of one class and a row of another")
    diameter = found["diameter"]
    return MarginState(
        diameter, found["near_distance"], found["far_distance"], found["violating"], diameter < 0.1 * margin
    )
