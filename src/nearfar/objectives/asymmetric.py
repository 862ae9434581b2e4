"""Decisions pair by pair in which near and far pairs are focused differently, and many far pairs are easy."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Scores, Softplus, Sum, WeightRelation, current, entry
from ..contrast.objective import Terms
from .pairs import Logistic


def to_classes(targets: Tensor) -> WeightRelation:
    """Rows (N,) against C classes by multi-hot targets (N, C): 1 near, 0 far, -1 unknown and ignored.

    >>> counts = to_classes(torch.tensor([[1, 0, 1], [0, -1, 0]])).counts()
    >>> counts.near.tolist(), counts.far.tolist()
    ([2, 0], [1, 2])
    """
    if targets.ndim != 2:
        raise ValueError(f"targets are a matrix (N, C) of 1, 0 and -1, got {tuple(targets.shape)}")

    def weight(rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        said = rows[:, classes]
        return said > 0, said == 0

    return WeightRelation(weight, targets, torch.arange(targets.shape[1], device=targets.device))


@entry
class Asymmetric(Logistic):
    """Logistic decisions for every pair, in which easy far pairs count little and very easy ones not at all (ASL).

    p = sigmoid(s / t + b) says "near". Of a near pair -log p is weighted by (1 - p)^near_focus; of a far pair the
    probability is first lowered by `shift`, q = max(p - shift, 0), and -log(1 - q) weighted by q^far_focus. A far pair
    below the shift has no gradient, and one that is near by mistake loses some of its weight.

    Shapes: two views (N, D); rows and class vectors with `relation=to_classes(targets)`; the value is a mean over
    anchors of a sum over candidates. Value >= 0. Published values are sums over all pairs, N times this one.

    Args:
        near_focus, far_focus: exponents, 0 or at least 1; 0 for no focus.
        shift: in [0, 1).
        detach: take the weights as constants, as the official code does by default.

    >>> z = torch.eye(2)
    >>> plain = Asymmetric(near_focus=0.0, far_focus=0.0, shift=0.0)
    >>> round(float(plain(z, z)), 4)                            # Logistic: log(1 + 1/e) + log 2
    1.0064
    """

    formula: ClassVar[str] = (
        "mean_i [ -sum_(p near) (1 - p_ip)^a log p_ip - sum_(j far) q_ij^b log(1 - q_ij) ],  q = max(p - shift, 0)"
    )
    source: ClassVar[str] = "Ben-Baruch et al. 2020, eq. 7; Alibaba-MIIL/ASL src/loss_functions/losses.py"
    use: ClassVar[str] = "several classes per row, or as `Logistic` where nearly all pairs are far and easy"
    at_chance: ClassVar[str] = "log(2) / 2 - (N - 1) * 0.45 ** 4 * log(0.55)"
    equal_to: ClassVar[str] = "Logistic without focus and shift"

    near_focus: float = 1.0
    far_focus: float = 4.0
    shift: float = 0.05
    detach: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.shift < 1:
            raise ValueError(f"shift is a probability in [0, 1), got {self.shift}")
        for name, focus in (("near_focus", self.near_focus), ("far_focus", self.far_focus)):
            if not (focus == 0 or focus >= 1):
                raise ValueError(f"{name} must be 0 or at least 1, got {focus}: its slope at 0 would be infinite")

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and repulsion, pair by pair."""
        bias = torch.as_tensor(current(self.bias), dtype=scores.u.dtype, device=scores.u.device)
        near, far = scores.reduce(
            Sum("near", of=lambda s, b: self._near(s + b), given=(bias,)),
            Sum("far", of=lambda s, b: self._far(s + b), given=(bias,)),
        )
        return {"attract": near, "repel": far}

    def _near(self, x: Tensor) -> Tensor:
        return self._weight((-x).sigmoid(), self.near_focus) * Softplus()(-x)

    def _far(self, x: Tensor) -> Tensor:
        q = (x.sigmoid() - self.shift).relu()
        # 1 - q = min(sigmoid(-x) + shift, 1); without a shift it may be 0 to rounding, but its logarithm is known.
        cost = -((-x).sigmoid() + self.shift).clamp_max(1).log() if self.shift else Softplus()(x)
        return self._weight(q, self.far_focus) * cost

    def _weight(self, p: Tensor, focus: float) -> Tensor:
        return (p.detach() if self.detach else p) ** focus
