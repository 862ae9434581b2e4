"""Poly-view contrast: many views of each item, each near one told from the far ones alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn.functional import softplus

from ..contrast import Composition, Count, LearnedTemperature, LogSumExp, Mean, Scores, entry
from ..contrast.objective import Terms


@entry
class PolyView(Composition):
    """Every other view of an item must be told from all views of the other items, the remaining ones left aside.

    l_ip = exp(s_ip / t) / (exp(s_ip / t) + sum_(j far) exp(s_ij / t)) for a near row p: the other near rows do not
    stand in the denominator, so that the views of an item never compete. Three readings of "many views" are here:

    - "geometric": the mean of log l_ip over the near rows;
    - "arithmetic": the logarithm of the mean of l_ip; its value is never above "geometric";
    - "sufficient": one l_ip whose near row is the mean of the item's other unit rows, the sufficient statistics of the
      paper. Written down from its description and not compared with published code, so unverified; that its value is
      never above "geometric" follows by Jensen.

    Shapes: two or more views (N, D), or one (R, D) with ids. Value >= 0; at chance log(1 + far rows), log(2 N - 1) for
    two views.

    >>> z = torch.eye(4)
    >>> round(float(PolyView(temperature=0.5)(z, z, z)), 6)                    # log(e^2 + 9) - 2
    0.796614
    """

    formula: ClassVar[str] = "mean_i mean_(p near) log(1 + sum_(j far) exp((s_ij - s_ip) / t))   (average='geometric')"
    source: ClassVar[str] = (
        "Shidani et al. 2024, Poly-View Contrastive Learning; pakoromilas/Multi-View-CL for 'geometric'"
    )
    use: ClassVar[str] = (
        'four or more views of each item, none of which should compete with the others; `average` is "geometric", '
        '"arithmetic" or "sufficient"'
    )
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "NTXent for two views; 'geometric' is SupCon(average='exclusive') with ids for labels"

    temperature: float | LearnedTemperature = 0.1
    average: str = "geometric"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average not in ("geometric", "arithmetic", "sufficient"):
            raise ValueError(f"average must be 'geometric', 'arithmetic' or 'sufficient', got {self.average!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """As the chosen reading says."""
        if self.average == "sufficient":
            # The mean of unit rows scores the mean of their scores.
            far, near = scores.reduce(LogSumExp("far"), Mean("near"))
            return {"contrast": softplus(far - near)}
        (far,) = scores.reduce(LogSumExp("far"))
        if self.average == "geometric":
            (value,) = scores.reduce(Mean("near", of=lambda s, t: softplus(t - s), given=(far,)))
            return {"contrast": value}
        total, weight = scores.reduce(LogSumExp("near", of=lambda s, t: -softplus(t - s), given=(far,)), Count("near"))
        return {"contrast": torch.where(weight > 0, weight, 1).log() - total}
