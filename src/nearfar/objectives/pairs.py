"""Pairwise objectives: every pair is judged by itself, without a softmax over its neighbours."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import (
    Composition,
    Count,
    Hinge,
    LearnedBias,
    LearnedTemperature,
    NegativeEuclidean,
    Scores,
    Similarity,
    Softplus,
    Sum,
    current,
    entry,
)
from ..contrast.objective import Terms


def _violations(excess: Tensor) -> Tensor:
    return excess.clamp(max=1).ceil()  # 1 above 0; not a number stays what it is, to be seen in the value


def _share(total: Tensor, weight: Tensor) -> Tensor:
    """The mean per anchor; 0 over nothing."""
    return total / torch.where(weight > 0, weight, 1)


@entry
class ContrastiveMargin(Composition):
    """Pull near pairs to distance 0, push far pairs beyond a margin.

    - average="violations" (pytorch-metric-learning): mean over violating near pairs of (d - near_margin), plus mean
      over violating far pairs of (margin - d);
    - average="pairs" (Hadsell): mean over all pairs of d^2 / 2 and (margin - d)_+^2 / 2.

    Distances are Euclidean between unit rows. Shapes: (R, D) with labels or ids, or views (N, D). Value >= 0; when all
    rows are equal it is `margin` ("violations"). Gradients at distance 0 are 0.

    >>> z = torch.eye(2)
    >>> float(ContrastiveMargin()(z, z)) < 1e-3      # near at 0, far at sqrt(2) > 1, but for rounding
    True
    """

    formula: ClassVar[str] = "mean+_(near) [d - near_margin]_+ + mean+_(far) [margin - d]_+"
    source: ClassVar[str] = "Hadsell, Chopra & LeCun 2006, eq. 4; pytorch-metric-learning for 'violations'"
    use: ClassVar[str] = "pairs are known one by one and a distance with a margin is wanted, such as for verification"
    at_chance: ClassVar[str] = "sqrt(2)"
    needs: ClassVar[str] = "any"

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    margin: float = 1.0
    near_margin: float = 0.0
    average: str = "violations"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average not in ("violations", "pairs"):
            raise ValueError(f"average must be 'violations' or 'pairs', got {self.average!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and repulsion, averaged over pairs rather than anchors."""

        if self.average == "pairs":
            near, far, near_weight, far_weight = scores.reduce(
                Sum("near", of=Hinge(-self.near_margin, -1.0, squared=True)),
                Sum("far", of=Hinge(self.margin, squared=True)),
                Count("near"),
                Count("far"),
            )
            pairs = near_weight + far_weight
            return {"attract": (_share(near, pairs), pairs), "repel": (_share(far, pairs), pairs)}
        too_far, too_near = Hinge(-self.near_margin, -1.0), Hinge(self.margin)
        near, far, *counts = scores.reduce(
            Sum("near", of=too_far),
            Sum("far", of=too_near),
            Sum("near", of=lambda s: _violations(too_far(s))),
            Sum("far", of=lambda s: _violations(too_near(s))),
        )
        near_count, far_count = (count.detach() for count in counts)
        return {
            "attract": (_share(near, near_count), near_count),
            "repel": (_share(far, far_count), far_count),
        }


@entry
class Logistic(Composition):
    """ "Same or different" as a binary decision for every pair, by the logistic loss of score + bias.

    Shapes: two views (N, D); the value is a mean over anchors of a sum over candidates. At chance (scores 0, bias 0) N
    log 2.

    Args:
        bias: added to every score after the temperature; a number or a `LearnedBias`.

    >>> z = torch.eye(2)
    >>> round(float(Logistic()(z, z)), 4)                       # log(1 + 1/e) + log 2
    1.0064
    """

    formula: ClassVar[str] = "mean_i [ sum_(p near) softplus(-s_ip/t - b) + sum_(j far) softplus(s_ij/t + b) ]"
    source: ClassVar[str] = "the logistic loss on pairs; Gutmann & Hyvarinen 2010, Mikolov et al. 2013"
    use: ClassVar[str] = "each pair is its own yes-or-no decision and no row should compete with another"
    at_chance: ClassVar[str] = "N * log(2)"
    equal_to: ClassVar[str] = "SigLIP at temperature 1 and bias 0"
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "any"

    bias: float | LearnedBias = 0.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and repulsion, pair by pair."""
        bias = torch.as_tensor(current(self.bias), dtype=scores.u.dtype, device=scores.u.device)
        near, far = scores.reduce(
            Sum("near", of=Softplus(-1.0), given=(bias,)), Sum("far", of=Softplus(), given=(bias,))
        )
        return {"attract": near, "repel": far}


@entry
class SigLIP(Logistic):
    """The pairwise sigmoid objective of SigLIP: logistic on all pairs with learned temperature and bias.

    Starts at temperature 0.1 and bias -10, the published values for large batches, where nearly all pairs are far;
    -2.71 is in use at batch 512. Shapes and value as `Logistic`. When all rows are equal the start value is N log 2.

    >>> loss = SigLIP()
    >>> sorted(name for name, _ in loss.named_parameters())
    ['bias.bias', 'temperature.log_inverse']
    """

    formula: ClassVar[str] = "mean_i sum_j softplus(-y_ij (s_ij / t + b)),  y = 1 near, -1 far"
    source: ClassVar[str] = "Zhai et al. 2023, eq. 1; google-research/big_vision siglip.py"
    use: ClassVar[str] = (
        "as `SymmetricInfoNCE` where a softmax over the batch is not wanted; temperature and bias are learned"
    )
    at_chance: ClassVar[str] = "log(1 + exp(10)) + (N - 1) * log(1 + exp(-10))"
    equal_to: ClassVar[str] = "Logistic with learned temperature and bias"

    temperature: float | LearnedTemperature = field(default_factory=lambda: LearnedTemperature(0.1))
    bias: float | LearnedBias = field(default_factory=lambda: LearnedBias(-10.0))
