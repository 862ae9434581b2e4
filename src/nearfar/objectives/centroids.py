"""Contrast of items rather than rows: the views of an item meet in their mean, and only means are told apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Strategy
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry
from ..contrast.similarity import unit
from .priors import check_kernel, smooth
from .sphere import uniformity


@entry
class DecoupledUniformity(Objective):
    """Spread of the items' centroids, the means of the unit rows of their views; alignment follows of itself.

    A centroid is the longer the better the views of its item agree, and long centroids can be farther apart. With a
    `prior` (N, P) of the items, such as attributes or the features of another model, a centroid is estimated from all
    items that are alike by it, (K + ridge I)^-1 K of their centroids, so that weak views suffice; classes (N,), which
    are integers with -1 for unknown, are a prior too.

    Args:
        t: multiplies the squared distances.
        kernel: of the prior, see `kernel_matrix`; "precomputed" takes the kernel (N, N) itself.
        width: of the kernel.
        ridge: lambda of the inverse.

    Shapes: two or more views (N, D), N >= 2. Value from -2 t N / (N - 1) (identical views on a regular simplex) to 0
    (all rows equal); rows that are all unrelated give -2 t / views. With a prior of numbers a dense solve takes O(N^3)
    steps and N^2 numbers, and more than 8192 items are refused; classes cost O(N D).

    >>> z = torch.eye(4)
    >>> round(float(DecoupledUniformity()(z, z)), 4)                # squared distances of 2
    -4.0
    """

    formula: ClassVar[str] = (
        "log mean_(i<j) exp(-t |m_i - m_j|^2),  m_i = mean_v z_iv / |z_iv|   (prior: (K + r I)^-1 K m for m)"
    )
    source: ClassVar[str] = (
        "Dufumier et al. 2022, Integrating Prior Knowledge in Contrastive Learning with Kernel, and its code"
    )
    use: ClassVar[str] = (
        "something is known of the items (`prior=`: attributes, another model's features, classes), or views are weak"
    )
    compares: ClassVar[str] = "squared distance of mean views"
    near: ClassVar[str] = "the item's rows in all views, through their mean"
    far: ClassVar[str] = "the means of all other items"
    at_chance: ClassVar[str] = "-2"
    cost: ClassVar[str] = "all pairs of items, by tiles; a prior of numbers N^3 steps and N^2 numbers, classes N D"

    t: float = 2.0
    kernel: str = "rbf"
    width: float = 1.0
    ridge: float = 0.01

    def __post_init__(self) -> None:
        check_kernel(self.kernel, self.width, self.ridge)

    def forward(self, *views: Tensor, prior: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of two or more views, with what is known of the items."""
        rows = check_views("DecoupledUniformity", views)
        if len(rows) < 2 or any(len(r) != len(rows[0]) for r in rows):
            raise ValueError(
                f"DecoupledUniformity needs two or more views of the same rows, got {[len(r) for r in rows]} rows"
            )
        chosen = self.chosen(strategy)
        with torch.autocast(rows[0].device.type, enabled=False):
            centroids = torch.stack([unit(r) for r in rows]).mean(0)
            n = len(self.together(centroids.detach()[:, 0], strategy))
            if n < 2:
                raise ValueError(f"DecoupledUniformity needs at least 2 items, to compare one with another, got {n}")
            if prior is None:
                return uniformity(centroids, n, self.t, chosen)
            everyone, known = self.together(centroids, strategy), self.together(prior, strategy)
            estimated = smooth(everyone, known.to(everyone.device), self.kernel, self.width, self.ridge)
            # Each process has estimated the centroids of all.
            return uniformity(estimated, n, self.t, Strategy() if chosen.spread else chosen)

    def inspect(
        self, *views: Tensor, prior: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value, and without a prior that at chance and at collapse; it is of all items together, not of each."""
        value = self(*views, prior=prior, strategy=strategy)
        plain = prior is None
        return Inspection(
            total=value,
            terms={"uniform": value},
            chance=-2 * self.t / len(views) if plain else None,
            collapsed=0.0 if plain else None,
        )
