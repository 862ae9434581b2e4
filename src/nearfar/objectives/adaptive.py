"""Margins that the rows set themselves: a positive leads a negative by less, the more alike both are."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import Dot, Mean, Strategy, entry
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective
from ..contrast.ring import scored
from ..contrast.similarity import unit
from .lists import all_pairs

ERRORS = ("l2", "l1", "soft")
TARGETS = ("distributed", "adaptive", "in_batch", "static")


@entry
class AdaptiveMargin(Objective):
    """A positive should lead a negative by a margin that the rows set themselves: less, the more alike both are.

    The target of positive i and negative j is (1 + cos(p_i, n_j)) / 2, in [0, 1], with gradient: no teacher is needed.

    - "distributed", best in the paper: the margin of row j, cos(q_j, p_j) - cos(q_j, n_j), against the targets with the
      positives of all rows;
    - "adaptive": against that with its own positive alone;
    - "in_batch": the margins of row i to the negatives of all rows, each against its target. The released code takes
      the positive of row j in place of that of row i;
    - "static": against a number.

    Shapes: three views (N, D), queries, positives and negatives. Value >= 0; at chance 1/4 for "l2".

    Args:
        target: "distributed", "adaptive", "in_batch" or "static".
        error: of margin - target: "l2" its square, "l1" its size, "soft" log(1 + e^-x).
        margin: the target of "static".

    >>> q, p, n = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.6, 0.8, 0]]), torch.tensor([[0, 0, 1.0]])
    >>> round(float(AdaptiveMargin()(q, p, n)), 4)                             # (.6 - 0 - 1/2)^2
    0.01
    """

    formula: ClassVar[str] = "mean_(i, j) e(cos(q_j, p_j) - cos(q_j, n_j) - (1 + cos(p_i, n_j)) / 2),  e(x) = x^2"
    source: ClassVar[str] = "Gienapp et al. 2024 (ARM); webis-de/adaptive-relevance-margin-loss src/loss.py"
    use: ClassVar[str] = "triples for search, when there is no teacher and no margin is known"
    compares: ClassVar[str] = "cosine"
    near: ClassVar[str] = "the item's row in view 2"
    far: ClassVar[str] = "the item's row in view 3, or those of all"
    at_chance: ClassVar[str] = "1/4"
    cost: ClassVar[str] = (
        "one sweep over the tiles: N x N in time, N D and a tile in memory; N D for 'adaptive', 'static'"
    )

    target: str = "distributed"
    error: str = "l2"
    margin: float = 0.2

    def __post_init__(self) -> None:
        if self.target not in TARGETS or self.error not in ERRORS:
            raise ValueError(f"target is one of {TARGETS} and error of {ERRORS}, got {self.target!r}, {self.error!r}")

    def _err(self, x: Tensor) -> Tensor:
        return {"l2": torch.square, "l1": torch.abs, "soft": lambda x: softplus(-x)}[self.error](x)

    def _per_anchor(self, views: tuple[Tensor, ...], strategy: str | Strategy | None) -> Tensor:
        rows = check_views("AdaptiveMargin", views)
        if len(rows) != 3 or any(len(r) != len(rows[0]) for r in rows):
            raise ValueError(
                "AdaptiveMargin needs queries, positives and negatives, not two views, with the same rows, got "
                f"{[len(r) for r in rows]} rows"
            )
        with torch.autocast(rows[0].device.type, enabled=False):
            q, p, n = (unit(r) for r in rows)
            lead, chosen = (q * p).sum(1) - (q * n).sum(1), self.chosen(strategy)
            if self.target == "static":
                return self.together(self._err(lead - self.margin), strategy)
            if self.target == "adaptive":
                return self.together(self._err(lead - (1 + (p * n).sum(1)) / 2), strategy)
            # A mean over all i of the error against the targets of one j, or over all j for one i.
            if self.target == "distributed":
                scores = scored(Dot(), all_pairs(n / 2, p, chosen), 1.0, chosen)
                given = self.together(lead - 0.5, strategy)
            else:
                scores = scored(Dot(), all_pairs(q + p / 2, n, chosen), 1.0, chosen)
                given = self.together((q * p).sum(1) - 0.5, strategy)
            every = scores.reduce(Mean("any", of=lambda s, x: self._err(x - s), given=(given,)))
        return every[0]

    def forward(self, *views: Tensor, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of queries, positives and negatives."""
        return self._per_anchor(views, strategy).mean()

    def inspect(self, *views: Tensor, strategy: str | Strategy | None = None) -> Inspection:
        """The value of every row, at chance and at collapse."""
        values = self._per_anchor(views, strategy)
        static = self.target == "static"
        chance, collapsed = (
            float(self._err(torch.tensor(-self.margin if static else -target, dtype=torch.float64)))
            for target in (0.5, 1.0)
        )
        total = values.mean()
        return Inspection(
            total, {"margin": total}, values.detach(), torch.ones_like(values), chance=chance, collapsed=collapsed
        )
