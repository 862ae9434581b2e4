"""Rows that are Gaussians, compared by their divergence, which is a plain product of longer rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .similarity import Similarity


@dataclass(frozen=True)
class NegativeGaussianKL(Similarity):
    """Minus the Kullback-Leibler divergence of the candidate from the anchor, both Gaussians without correlations.

    A row (2 k,) has k means and k logarithms of variances. At most 0, and 0 for a row and itself; a candidate that is
    unsure everywhere is never far, and the two sides differ. The value is a product of rows of 2 k + 2 numbers, so it
    streams as cosines do, and an index of inner products finds the nearest candidates: what `prepare` gives are its
    queries and its entries. The paper's equations 10, 13 and 14 put a product over dimensions where the trace is a sum;
    here it is the sum. Where means are large beside deviations, float32 loses digits: centre the means.

    Args:
        floor: smallest variance; below it there is no gradient.

    Source: Zamani & Bendersky 2023, Multivariate Representation Learning for Information Retrieval, with that
    correction.

    >>> q, d = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])          # N(0, 1) and N(2, 1)
    >>> u, v = NegativeGaussianKL().prepare(q, d, 1.0)
    >>> float(u @ v.T)
    -2.0
    """

    floor: float = 1e-4
    formula: ClassVar[str] = "s_ij = -KL(N(m_i, diag v_i), N(m_j, diag v_j))"
    symmetric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.floor <= 0:
            raise ValueError(f"the smallest variance is above 0, got {self.floor}")

    @property
    def unrelated(self) -> float | None:
        """None: it depends on the variances."""
        return None

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if rows.shape[1] % 2:
            raise ValueError(
                f"NegativeGaussianKL: a row is means and as many log variances, got {rows.shape[1]} columns"
            )
        mean, log_variance = rows.chunk(2, 1)
        return mean, log_variance.clamp_min(math.log(self.floor))

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Rows (., 2 k + 2) whose products are the scores; the anchors divided by the temperature.

        Raises:
            ValueError: the width is odd.
        """
        m, log_v = self._parts(anchors)
        own = m.shape[1] + log_v.sum(1, keepdim=True)
        left = torch.cat([torch.ones_like(own), own, log_v.exp() + m.square(), m], 1) / 2
        m, log_v = self._parts(candidates)
        sure = (-log_v).exp()
        offset = -(log_v + m.square() * sure).sum(1, keepdim=True)
        right = torch.cat([offset, torch.ones_like(offset), -sure, 2 * m * sure], 1)
        return left / temperature, right
