"""Whitening: rows are spread to an identity covariance first, so that views can only be pulled together."""

from __future__ import annotations

from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Strategy
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry
from ..contrast.similarity import unit


def whiten(rows: Tensor, eps: float = 0.0) -> Tensor:
    """Rows (N, D) with mean 0 and covariance the identity (N - 1 in the denominator), with gradient.

    w(z) = L^-1 (z - mean) where (1 - eps) cov + eps I = L L', by Cholesky: any lower-triangular map of the rows with
    a positive diagonal leaves the result as it is (eps = 0).

    Raises:
        ValueError: the covariance is singular, as it is for N <= D rows and eps = 0.

    >>> z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(whiten(z).T.cov(), torch.eye(3), atol=1e-5)
    True
    """
    n, d = rows.shape
    if n < 2:
        raise ValueError(f"a covariance needs at least 2 rows, got {n}")
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / (n - 1)
    mixed = (1 - eps) * covariance + eps * torch.eye(d, dtype=rows.dtype, device=rows.device)
    lower, failed = torch.linalg.cholesky_ex(mixed)
    if bool(failed) and bool(torch.isfinite(mixed).all()):
        raise ValueError(
            f"the covariance of {n} rows of width {d} is singular and cannot be whitened; take at least {2 * d} rows "
            f"together, a narrower projection, or a larger eps (now {eps:g})"
        )
    return torch.linalg.solve_triangular(lower, centred.T, upper=False).T


@entry
class WMSE(Objective):
    """Whitened views agree in direction: whitening scatters the rows, the distance pulls near ones together.

    Each view is whitened on its own, in blocks of `block` consecutive rows (all rows when None); the value is the mean
    of 2 - 2 cos over all pairs of views. Rows should number at least twice the width. Value from 0 to 4; all rows equal
    give 2.

    Args:
        block: rows that are whitened together; rows left over join the last block.
        eps: weight of the identity in the covariance. The official code has 0, which cannot whiten fewer rows than
            the width or a collapsed batch.

    Shapes: two or more views (N, D), N >= 2.

    >>> z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    >>> bool(WMSE()(z, z).abs() < 1e-5)
    True
    """

    formula: ClassVar[str] = (
        "mean over pairs of views of mean_i [ 2 - 2 cos(w(z_i), w(z'_i)) ],  w(z) = L^-1 (z - mean)"
    )
    source: ClassVar[str] = "Ermolov et al. 2021, eq. 3 and 5; htdt/self-supervised methods/w_mse.py"
    use: ClassVar[str] = (
        "as `CosineRegression`, where whitening, not a second network, is to prevent collapse; batches of at least "
        "twice the width"
    )
    compares: ClassVar[str] = "cosine of whitened rows"
    near: ClassVar[str] = "the item's rows in the other views"
    far: ClassVar[str] = "no far rows: whitening spreads the rows"
    cost: ClassVar[str] = "moments of D x D and a Cholesky factor for each block"
    at_chance: ClassVar[str] = ""
    equal_to: ClassVar[str] = "CosineRegression(detach=False) of whitened views"

    block: int | None = None
    eps: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 <= self.eps < 1:
            raise ValueError(f"eps is a share in [0, 1), got {self.eps}")
        if self.block is not None and self.block < 2:
            raise ValueError(f"a block holds at least 2 rows, got {self.block}")

    def _per_anchor(self, views: tuple[Tensor, ...], strategy: str | Strategy | None) -> Tensor:
        rows = [self.together(view, strategy) for view in check_views("WMSE", views)]
        if len(rows) < 2 or any(len(r) != len(rows[0]) for r in rows) or len(rows[0]) < 2:
            raise ValueError(f"WMSE needs two or more views of the same two or more rows, got {[len(r) for r in rows]}")
        with torch.autocast(rows[0].device.type, enabled=False):
            white = [unit(torch.cat([whiten(part, self.eps) for part in self._blocks(view)])) for view in rows]
            return torch.stack([2 - 2 * (a * b).sum(1) for a, b in combinations(white, 2)]).mean(0)

    def _blocks(self, view: Tensor) -> tuple[Tensor, ...]:
        count = max(1, len(view) // self.block) if self.block else 1
        return view.tensor_split([k * (self.block or 0) for k in range(1, count)])

    def forward(self, *views: Tensor, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of two or more views."""
        return self._per_anchor(views, strategy).mean()

    def inspect(self, *views: Tensor, strategy: str | Strategy | None = None) -> Inspection:
        """The value of every row and at collapse."""
        values = self._per_anchor(views, strategy)
        return Inspection(
            total=values.mean(),
            terms={"agreement": values.mean()},
            per_anchor=values.detach(),
            weight=torch.ones_like(values),
            collapsed=2.0,
        )
