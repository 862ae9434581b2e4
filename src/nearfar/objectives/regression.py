"""Regression of one view onto the other: no far pairs at all, so something else must prevent collapse."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Strategy
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry
from ..contrast.similarity import unit


@entry
class CosineRegression(Objective):
    """The rows of view 1 should point where the rows of view 2 point, which are targets and take no gradient.

    - form="distance": 2 - 2 cos, the squared distance of unit rows (BYOL), from 0 to 4;
    - form="cosine": -cos (SimSiam), from -1 to 1.

    Shapes: two views (N, D), predictions and targets. Rows that are unrelated give 2, or 0; all rows equal give 0, or
    -1: nothing but the target's lack of gradient (and a predictor) speaks against collapse.

    Args:
        detach: take the targets as constants.

    >>> z = torch.eye(4)
    >>> float(CosineRegression()(z, z)), float(CosineRegression(form="cosine")(z, z))
    (0.0, -1.0)
    """

    formula: ClassVar[str] = "mean_i [ 2 - 2 cos(p_i, sg t_i) ]   (form='cosine': -cos)"
    source: ClassVar[str] = "Grill et al. 2020 (BYOL), eq. 2; Chen & He 2021 (SimSiam), eq. 1"
    use: ClassVar[str] = (
        "one view predicts the other without far rows; needs a predictor or a moving copy against collapse"
    )
    compares: ClassVar[str] = "cosine"
    near: ClassVar[str] = "the item's row in view 2, the target"
    far: ClassVar[str] = "no far rows"
    cost: ClassVar[str] = "N D: each row meets one target"
    at_chance: ClassVar[str] = "2"
    equal_to: ClassVar[str] = "the alignment of AlignUniform (alpha = 2) with one side held; distance = 2 + 2 cosine"

    form: str = "distance"
    detach: bool = True

    def __post_init__(self) -> None:
        if self.form not in ("distance", "cosine"):
            raise ValueError(f"form must be 'distance' or 'cosine', got {self.form!r}")

    def _per_anchor(self, views: tuple[Tensor, ...], strategy: str | Strategy | None) -> Tensor:
        rows = check_views("CosineRegression", views)
        if len(rows) != 2 or len(rows[0]) != len(rows[1]):
            raise ValueError(f"CosineRegression needs two views of the same rows, got {[len(r) for r in rows]} rows")
        target = rows[1].detach() if self.detach else rows[1]
        with torch.autocast(target.device.type, enabled=False):
            cosine = (unit(rows[0]) * unit(target)).sum(1)
        return self.together(-cosine if self.form == "cosine" else 2 - 2 * cosine, strategy)

    def _weights(self, values: Tensor, weights: Tensor, strategy: str | Strategy | None) -> Tensor:
        """(R,) what the rows of all processes count."""
        each = self.together(weights.to(values.dtype).detach(), strategy)
        if each.shape != values.shape or bool((each < 0).any()) or not bool(each.sum() > 0):
            raise ValueError(f"CosineRegression: weights are one for each of {len(values)} rows, >= 0 and not all 0")
        return each

    def forward(self, *views: Tensor, weights: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of predictions and targets; with `weights` (N,) a weighted mean over rows."""
        return self.inspect(*views, weights=weights, strategy=strategy).total

    def inspect(
        self, *views: Tensor, weights: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value of every row, at chance and at collapse."""
        values = self._per_anchor(views, strategy)
        if weights is None:
            each, total = torch.ones_like(values), values.mean()
        else:
            each = self._weights(values, weights, strategy)
            total = (each * values).sum() / each.sum()
        distance = self.form == "distance"
        return Inspection(
            total=total,
            terms={"regression": total},
            per_anchor=values.detach(),
            weight=each,
            chance=2.0 if distance else 0.0,
            collapsed=0.0 if distance else -1.0,
        )
