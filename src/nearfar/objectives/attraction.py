"""Objectives that are linear in the scores, with weights for each pair: who pulls and who pushes most."""

from __future__ import annotations

import math
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import (
    Composition,
    LearnedTemperature,
    LogSumExp,
    Mean,
    NegativeSquaredEuclidean,
    Scores,
    Similarity,
    Sum,
    current,
    entry,
)
from ..contrast.objective import Terms


def soft_mean(scores: Scores, over: str, rate: float, detach: bool = False) -> Tensor:
    """The mean of an anchor's scores weighted by softmax(rate x score), (R,); 0 over nothing.

    A positive rate favours the nearest candidates, a negative one the farthest. Two sweeps; the gradient passes through
    the weights unless `detach` is set.
    """
    (total,) = scores.reduce(LogSumExp(over, scale=rate))
    total = torch.where(total == -math.inf, 0, total.detach() if detach else total)

    def share(s: Tensor, total: Tensor) -> Tensor:
        # Of pairs that count the exponent is at most 0, or the logarithm of 1 / weight; others must not overflow.
        return ((s.detach() if detach else s) * rate - total).clamp_max(30).exp() * s

    (mean,) = scores.reduce(Sum(over, of=share, given=(total,)))
    return mean


@entry
class CACR(Composition):
    """Attraction and repulsion in squared distance, each with its own weights: far-off near rows pull most, close far
    rows push most.

    Among the near rows of an anchor the weights are softmax(near_rate d^2), among its far rows softmax(-far_rate d^2).
    With one near row its weight is 1. Rows of view 1 are anchors and rows of view 2 candidates, as published for two
    views; of more, the published value is the attraction of all rows in one tensor with ids, and the repulsion averaged
    over pairs of views.

    Shapes: two views (N, D), or (R, D) with ids or labels. Value in [-4, 4] on unit rows; at chance and when all rows
    are equal 0. An anchor without near rows is not pulled, one without far rows not pushed.

    Args:
        near_rate: a; how much more the farthest near rows pull; 0 for all alike.
        far_rate: b; how much more the closest far rows push; 0 for all alike.
        detach: take the weights as constants, as the authors' code for large images does.

    >>> z = torch.eye(4)
    >>> round(float(CACR()(z, z)), 4)                           # near at 0, far at squared distance 2
    -2.0
    """

    formula: ClassVar[str] = (
        "mean_i [ sum_(p near) softmax_p(a d_ip^2) d_ip^2 - sum_(j far) softmax_j(-b d_ij^2) d_ij^2 ]"
    )
    source: ClassVar[str] = "Zheng et al. 2021, Contrastive Attraction and Contrastive Repulsion; JegZheng/CACR-SSL"
    use: ClassVar[str] = "several near rows per item that differ much, and few far rows in a batch"
    at_chance: ClassVar[str] = "0"
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "any"

    similarity: Similarity = field(default_factory=NegativeSquaredEuclidean)
    near_rate: float = 1.0
    far_rate: float = 1.0
    detach: bool = False

    def per_anchor(self, scores: Scores) -> Terms:
        """Weighted mean squared distances; scores are minus d^2."""
        near = soft_mean(scores, "near", -self.near_rate, self.detach)
        far = soft_mean(scores, "far", self.far_rate, self.detach)
        pulled, pushed = ((count > 0).to(near.dtype) for count in (scores.near_count, scores.far_count))
        return {"attract": (-near, pulled), "repel": (far, pushed)}


@entry
class ExactCovariance(Composition):
    """Each far row pushes with a constant weight between 0 and 1 that grows with its similarity (an alpha-CL rule).

    The weight is w_ij = sigmoid(-(1 - s_ij) / t) / (t M), M far candidates, without gradient, so that the objective is
    linear in the scores: its gradient descent amplifies the covariance of the differences between pairs, which is what
    the analysis is of.

    Shapes: as `NTXent`; of several near candidates the mean score stands for the pair. At chance 0, and when all rows
    are equal.

    >>> z = torch.eye(4)
    >>> round(float(ExactCovariance(temperature=0.5)(z, z)), 6)                # -sigmoid(-2) / 0.5
    -0.238406
    """

    formula: ClassVar[str] = "mean_i sum_(j far) w_ij (s_ij - s_i+),  w_ij = sigmoid(-(1 - s_ij) / t) / (t M), constant"
    source: ClassVar[str] = (
        "Tian et al. 2020, Understanding Self-supervised Learning with Dual Deep Networks; "
        "facebookresearch/luckmatters ssl/real-dataset/loss/nt_xent.py"
    )
    use: ClassVar[str] = "experiments on how far rows should be weighed; `NTXent` in practice"
    at_chance: ClassVar[str] = "0"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 0.5

    def per_anchor(self, scores: Scores) -> Terms:
        """The weighted mean gap between far and near scores; 1 / t of the weights is that of the divided scores."""
        one = (1 / torch.as_tensor(current(self.temperature))).detach().to(scores.u)

        def weight(s: Tensor, one: Tensor) -> Tensor:
            return (s.detach() - one).sigmoid()

        near, far, weights = scores.reduce(
            Mean("near"),
            Mean("far", of=lambda s, one: weight(s, one) * s, given=(one,)),
            Mean("far", of=weight, given=(one,)),
        )
        return {"attract": -weights * near, "repel": far}
