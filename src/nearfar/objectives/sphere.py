"""Objectives on the hypersphere: alignment and uniformity, and the spectral objective."""

from __future__ import annotations

import math
from dataclasses import field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contrast import (
    Composition,
    Dot,
    LogSumExp,
    Mean,
    NegativeSquaredEuclidean,
    Scores,
    Similarity,
    Strategy,
    entry,
    same_key,
)
from ..contrast.arrange import Arrangement, check_views
from ..contrast.objective import Inspection, Objective, Terms
from ..contrast.ring import arranged, scored
from ..contrast.similarity import unit


def energies(rows: Tensor, everyone: int, rate: float, strategy: Strategy) -> Tensor:
    """log sum_(j != i) exp(-rate |z_i - z_j|^2) of rows as they are, for each of the rows of all processes."""
    relation = same_key(torch.arange(everyone, device=rows.device))
    made = arranged(strategy, "energies", "joint", (rows,), relation=relation)
    scores = scored(NegativeSquaredEuclidean(normalize=False), made, 1 / rate, strategy)
    return scores.reduce(LogSumExp("any"))[0]


def uniformity(rows: Tensor, everyone: int, rate: float, strategy: Strategy) -> Tensor:
    """log mean_(i<j) exp(-rate |z_i - z_j|^2) of rows as they are, `everyone` of them over all processes."""
    return energies(rows, everyone, rate, strategy).logsumexp(0) - math.log(everyone * (everyone - 1))


def uniformity_of_items(rows: Tensor, keys: Tensor, rate: float, strategy: Strategy) -> Tensor:
    """The same over pairs of rows of different items, by `keys` of the rows of all processes; 0 where there are none.

    >>> z = torch.eye(2)[[0, 1, 0, 1]]                                       # two views of two items
    >>> float(uniformity_of_items(z, torch.tensor([0, 1, 0, 1]), 0.25, Strategy()))            # squared distances of 2
    -0.5
    """
    relation = same_key(keys)
    pairs = int(relation.counts().far.sum())
    if not pairs:
        return rows.sum() * 0
    made = arranged(strategy, "uniformity_of_items", "joint", (rows,), relation=relation)
    scores = scored(NegativeSquaredEuclidean(normalize=False), made, 1 / rate, strategy)
    return scores.reduce(LogSumExp("far"))[0].logsumexp(0) - math.log(pairs)


@entry
class AlignUniform(Objective):
    """Alignment of two views plus uniformity of each, on the unit sphere.

    align = mean_i |z_i - z'_i|^alpha;  uniform(Z) = log mean_(i<j) exp(-t |z_i - z_j|^2);
    value = align_weight * align + uniform_weight * (uniform(Z) + uniform(Z')) / 2.

    Shapes: two views (N, D), N >= 2. The best uniformity on the sphere of D dimensions tends to -2t for large D; when
    all rows are equal both terms are 0. With `ids` (N,) rows of one item are not spread.

    >>> z = torch.eye(4)
    >>> round(float(AlignUniform()(z, z)), 4)                   # aligned; squared distances 2, so -2t
    -4.0
    """

    formula: ClassVar[str] = "a mean_i |z_i - z'_i|^alpha + u (log mean_(i<j) e^(-t d_ij^2) over both views) / 2"
    source: ClassVar[str] = "Wang & Isola 2020, eq. 4 and 5; SsnL/align_uniform"
    use: ClassVar[str] = "the pull and the spread should be weighed against each other directly"
    compares: ClassVar[str] = "distance of unit rows"
    near: ClassVar[str] = "the item's row in the other view"
    far: ClassVar[str] = "all rows of the same view"
    cost: ClassVar[str] = "all pairs of each view, by tiles"
    at_chance: ClassVar[str] = ""

    alpha: float = 2.0
    t: float = 2.0
    align_weight: float = 1.0
    uniform_weight: float = 1.0

    def _parts(
        self, views: tuple[Tensor, ...], ids: Tensor | None, strategy: str | Strategy | None
    ) -> tuple[Tensor, ...]:
        """Alignment per row, and the uniformity of each view."""
        rows = check_views("AlignUniform", views)
        if len(rows) != 2 or len(rows[0]) != len(rows[1]):
            raise ValueError(f"AlignUniform needs two views of the same rows, got {[len(r) for r in rows]}")
        with torch.autocast(rows[0].device.type, enabled=False):
            return self._measured(rows[0], rows[1], ids, self.chosen(strategy))

    def _measured(self, a: Tensor, b: Tensor, ids: Tensor | None, strategy: Strategy) -> tuple[Tensor, ...]:
        a, b = unit(a), unit(b)
        distance = (a - b).square().sum(1)
        if self.alpha != 2:
            # The root has no slope at 0; rows that agree exactly are left at 0.
            distance = torch.where(distance > 0, torch.where(distance > 0, distance, 1) ** (self.alpha / 2), 0)
        distance = self.together(distance, strategy)
        n = len(distance)
        if n < 2:
            raise ValueError(f"AlignUniform needs at least 2 rows, to compare a row with another, got {n}")
        if ids is None:
            return distance, *(uniformity(z, n, self.t, strategy) for z in (a, b))
        keys = self.together(ids, strategy)
        return distance, *(uniformity_of_items(z, keys, self.t, strategy) for z in (a, b))

    def forward(self, *views: Tensor, ids: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value."""
        align, *uniform = self._parts(views, ids, strategy)
        return self.align_weight * align.mean() + self.uniform_weight * torch.stack(uniform).mean()

    def inspect(self, *views: Tensor, ids: Tensor | None = None, strategy: str | Strategy | None = None) -> Inspection:
        """The value with its two terms; per-anchor values are the alignment of each row and the shared uniformity."""
        align, *uniform = self._parts(views, ids, strategy)
        spread = self.uniform_weight * torch.stack(uniform).mean()
        pull = self.align_weight * align
        return Inspection(
            total=pull.mean() + spread,
            terms={"align": pull.mean(), "uniform": spread},
            per_anchor=(pull + spread).detach(),
            weight=torch.ones_like(pull),
            collapsed=0.0,
        )


@entry
class Spectral(Composition):
    """Spectral contrast: quadratic in the scores; its minimiser spans the top eigenvectors of the graph of views.

    Rows longer than sqrt(mu) are shortened to that length; products are raw. Far candidates are the other items of view
    2.
    Shapes: two views (N, D), N >= 2. Value >= -2 on unit rows; at chance (products 0) 0.

    Args:
        mu: squared radius of the ball, 1 for CIFAR and 10 for ImageNet in the paper.

    >>> z = torch.eye(4)
    >>> round(float(Spectral()(z, z)), 4)
    -2.0
    """

    formula: ClassVar[str] = "[ -2 mean_i z_i z'_i + mean_(i, j far) (z_i z'_j)^2 ] / mu"
    source: ClassVar[str] = "HaoChen et al. 2021, eq. 6; jhaochenz96/spectral_contrastive_learning"
    use: ClassVar[str] = "the theory of the graph of views matters; raw rows, no temperature"
    at_chance: ClassVar[str] = "0"
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "both"

    similarity: Similarity = field(default_factory=Dot)
    mu: float = 1.0

    def _arrange(self, *how: Any) -> Arrangement:
        radius = self.mu**0.5

        def shorten(z: Tensor) -> Tensor:
            norm = z.norm(dim=1, keepdim=True)
            return torch.where(norm >= radius, z * (radius / norm.clamp_min(1e-12)), z)

        made = super()._arrange(*how)
        anchors = shorten(made.anchors)
        same = made.candidates is made.anchors
        return replace(made, anchors=anchors, candidates=anchors if same else shorten(made.candidates))

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction, linear, and repulsion, quadratic."""
        near, far = scores.reduce(Mean("near"), Mean("far", of=torch.square))
        return {"attract": -2 * near / self.mu, "repel": far / self.mu}
