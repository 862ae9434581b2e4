"""Objectives of D x D moments: two views agree dimension by dimension and dimensions do not repeat each other.

No pairs are compared, so there are no scores; the memory is D x D. Processes that share a batch gather its rows, N x D,
which are fewer numbers than the moments in wide projections.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from ..contrast import Strategy
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry


class _Crossed(torch.autograd.Function):
    """X' Y of centred views and their sums of squares per dimension, with few passes over the rows and no copy kept."""

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means = a.mean(0), b.mean(0)
        ctx.save_for_backward(a, b, *means)
        x, y = a - means[0], b - means[1]
        return x.T @ y, torch.linalg.vecdot(x, x, dim=0), torch.linalg.vecdot(y, y, dim=0)

    @staticmethod
    @once_differentiable
    def backward(ctx, crossed: Tensor, of_a: Tensor, of_b: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        # Centred columns add up to 0, and so do these gradients: nothing has to go through the means.
        a, b, *means = ctx.saved_tensors
        x, y = a - means[0], b - means[1]
        return torch.mul(x, 2 * of_a).addmm_(y, crossed.T), y.mul_(2 * of_b).addmm_(x, crossed)


class _Scattered(torch.autograd.Function):
    """The sum of squared differences of two views, and X' X of each one centred, in the same way."""

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means = a.mean(0), b.mean(0)
        ctx.save_for_backward(a, b, *means)
        apart = torch.linalg.vector_norm(a - b).square_()
        x, y = (z - mean for z, mean in zip((a, b), means, strict=True))
        return apart, x.T @ x, y.T @ y

    @staticmethod
    @once_differentiable
    def backward(ctx, apart: Tensor, *scatter: Tensor) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
        a, b, *means = ctx.saved_tensors
        rate, made = 2 * apart, []
        for z, other, mean, g in ((a, b, means[0], scatter[0]), (b, a, means[1], scatter[1])):
            slope = g + g.T
            slope.diagonal().add_(rate)  # with the mean, rate times the rows themselves
            made.append(torch.addmm(rate * mean, z - mean, slope).addcmul_(other, rate, value=-1))
        return tuple(made)


@entry
class Moments(Objective):
    """Base of objectives made of moments: a subclass says its named `terms`, scalars that add up to the value."""

    compares: ClassVar[str] = "moments of columns; no pairs of rows"
    cost: ClassVar[str] = "moments of D x D; the rows are read twice"

    def terms(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Named scalar terms of two views (N, D)."""
        raise NotImplementedError

    def collapsed(self, width: int) -> float:
        """The value when all rows are equal."""
        raise NotImplementedError

    def _views(self, views: tuple[Tensor, ...], strategy: str | Strategy | None) -> list[Tensor]:
        name = type(self).__name__
        rows = [self.together(view, strategy) for view in check_views(name, views)]
        if len(rows) != 2 or len(rows[0]) != len(rows[1]):
            raise ValueError(f"{name} compares two views of the same rows, got {[tuple(r.shape) for r in rows]}")
        if len(rows[0]) < 2:
            raise ValueError(f"{name} needs a batch of at least 2 rows to take variances, got {len(rows[0])}")
        return rows

    def forward(self, *views: Tensor, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of two views (N, D)."""
        a, b = self._views(views, strategy)
        with torch.autocast(a.device.type, enabled=False):
            return torch.stack(list(self.terms(a, b).values())).sum()

    def inspect(self, *views: Tensor, strategy: str | Strategy | None = None) -> Inspection:
        """The value with its terms; there are no pairs and no per-anchor values."""
        a, b = self._views(views, strategy)
        with torch.autocast(a.device.type, enabled=False):
            terms = self.terms(a, b)
        return Inspection(torch.stack(list(terms.values())).sum(), terms, collapsed=self.collapsed(a.shape[1]))


@entry
class BarlowTwins(Moments):
    """Barlow Twins: the cross-correlation of two views, D x D, should be the identity.

    Each view is standardised over the batch (biased variance, eps 1e-5). Shapes: two views (N, D), raw rows. Value >=
    0; a collapsed batch gives D. Unchanged by an affine map with positive scale of any dimension of a view, up to eps.

    Args:
        off_diagonal: weight lambda of the squared off-diagonal correlations.
        scale: multiplies the value (solo-learn uses 0.1 or 0.025; 1 in the official code).

    >>> z = torch.eye(4)
    >>> float(BarlowTwins(off_diagonal=0.0)(z, z)) < 1e-6
    True
    """

    formula: ClassVar[str] = "sum_d (C_dd - 1)^2 + lambda sum_(d != e) C_de^2,  C = Z1' Z2 / N of standardised views"
    source: ClassVar[str] = "Zbontar et al. 2021, eq. 1; facebookresearch/barlowtwins main.py"
    use: ClassVar[str] = "no far pairs are wanted: dimensions of two views agree and do not repeat each other"
    near: ClassVar[str] = "the item's row in the other view"
    far: ClassVar[str] = "no far rows: dimensions are told apart"
    at_chance: ClassVar[str] = ""

    off_diagonal: float = 0.0051
    scale: float = 1.0
    eps: float = 1e-5

    def terms(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Invariance on the diagonal, redundancy off it."""
        crossed, *squares = _Crossed.apply(a, b)
        of_a, of_b = ((square / len(a) + self.eps).sqrt() for square in squares)
        c = crossed / len(a) / torch.outer(of_a, of_b)
        diagonal = c.diagonal()
        off = c.square().sum() - diagonal.square().sum()
        return {
            "invariance": self.scale * (diagonal - 1).square().sum(),
            "redundancy": self.scale * self.off_diagonal * off,
        }

    def collapsed(self, width: int) -> float:
        """D, times the scale."""
        return self.scale * width


@entry
class VICReg(Moments):
    """Variance, invariance, covariance: each view keeps its spread and decorrelates its dimensions, the two agree.

    - form="official": invariance is the mean square over N and D, the variance terms of the two views are averaged;
    - form="paper": invariance sums over D, the variance terms are added.

    Shapes: two views (N, D), raw rows, N >= 2. Value >= 0; a collapsed batch gives 24.75 ("official") or 49.5 ("paper")
    with the default weights.

    >>> round(float(VICReg()(torch.ones(4, 3), torch.ones(4, 3))), 4)
    24.75
    """

    formula: ClassVar[str] = "i mse(Z1, Z2) + v (var(Z1) + var(Z2)) / 2 + c (cov(Z1) + cov(Z2))"
    source: ClassVar[str] = "Bardes et al. 2022, eq. 6; facebookresearch/vicreg main_vicreg.py"
    use: ClassVar[str] = "as `BarlowTwins`, with three terms that are weighed one by one"
    near: ClassVar[str] = "the item's row in the other view"
    far: ClassVar[str] = "no far rows: dimensions are spread and told apart"
    at_chance: ClassVar[str] = ""

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    form: str = "official"
    eps: float = 1e-4

    def __post_init__(self) -> None:
        if self.form not in ("official", "paper"):
            raise ValueError(f"form must be 'official' or 'paper', got {self.form!r}")

    def terms(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """The three terms."""
        n, d = a.shape
        official = self.form == "official"
        apart, *scatter = _Scattered.apply(a, b)
        agree = apart / (n * d if official else n)
        spread, repeat = [], []
        for each in scatter:
            covariance = each / (n - 1)
            variances = covariance.diagonal()
            spread.append((1 - (variances + self.eps).sqrt()).relu().mean())
            repeat.append((covariance.square().sum() - variances.square().sum()) / d)
        spread_total = (spread[0] + spread[1]) * (0.5 if official else 1.0)
        return {
            "invariance": self.invariance * agree,
            "variance": self.variance * spread_total,
            "covariance": self.covariance * (repeat[0] + repeat[1]),
        }

    def collapsed(self, width: int) -> float:
        """The variance term of a constant batch."""
        return self.variance * (1 - self.eps**0.5) * (1 if self.form == "official" else 2)
