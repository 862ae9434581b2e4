"""Ranking objectives: the near candidates of an anchor should stand before the far ones, in order of similarity."""

from __future__ import annotations

import math
from dataclasses import field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import (
    Composition,
    Count,
    Emphasised,
    Histogram,
    LearnedTemperature,
    LogSumExp,
    Mean,
    NegativeEuclidean,
    NegativeSquaredEuclidean,
    Scores,
    Sigmoid,
    Similarity,
    Sum,
    current,
    entry,
)
from ..contrast.blocks import scores_of
from ..contrast.objective import Terms
from .metric import EXACT
from .pairs import _share

FEW = 8  # near candidates of an anchor, up to which each is compared with the others in a sweep of its own


def _in_turn(near: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(rows, columns) of the first near candidate of every row, of the second, and so on.

    What each row has to do with one of its near candidates takes no more memory than the scores.
    """
    rows, columns = (near > 0).nonzero(as_tuple=True)
    turn = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
    most = int(turn.max()) + 1 if len(turn) else 0
    return [(rows[turn == k], columns[turn == k]) for k in range(most)]


@entry
class FastAP(Composition):
    """One minus average precision, by histograms of the squared distances to near and to all candidates.

    A distance is shared out to the two bins that it lies between, so that counts have a gradient. Shapes: (R, D) with
    labels or ids, or views. Value in [0, 1]: 0 when all near candidates stand before all far ones, in other bins; at
    chance, as when all rows are equal, 1 - 1 / (2N - 1) for two views of N items.

    Args:
        bins: L; squared distances of unit rows, from 0 to 4, are counted at 0, 4 / L, ..., 4.

    >>> z, y = torch.eye(4)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])
    >>> float(FastAP()(z, labels=y))
    0.0
    """

    formula: ClassVar[str] = (
        "mean_i [ 1 - sum_l h+_l H+_l / (H_l sum_l h+_l) ],  h+, h soft histograms, H+, H their sums"
    )
    source: ClassVar[str] = "Cakir et al. 2019, eq. 8 and 9; pytorch-metric-learning FastAPLoss"
    use: ClassVar[str] = "labels, and the whole order of a retrieved list counts, more than its hardest errors"
    at_chance: ClassVar[str] = "1 - 1 / (2 * N - 1)"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeSquaredEuclidean)
    bins: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins < 1:
            raise ValueError(f"bins are at least 1, got {self.bins!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Precision at each bin, averaged over the near candidates; one sweep for all bins."""
        histogram = partial(Histogram, last=self.bins, step=-4 / self.bins)
        count, near, far = scores.reduce(Count("near"), histogram("near"), histogram("far"))
        above, every = near.cumsum(1), (near + far).cumsum(1)
        precise = (near * above / torch.where(every == 0, 1, every)).sum(1)
        return {"order": 1 - _share(precise, count)}


@entry
class SmoothAP(Composition):
    """One minus average precision, with ranks that are counted by a sigmoid of the difference of two scores.

    The rank of a near candidate p is 1 + sum_(j != p) sigmoid((s_ij - s_ip) / t), among all candidates and among the
    near ones; their ratio is the precision at p. The anchor itself takes no part; in the official code it is the first
    near candidate of its own list. Shapes: (R, D) with labels or ids, or views. Value in [0, 1); at chance, as when all
    rows are equal, 1 - 1 / N for two views of N items.

    >>> z, y = torch.eye(4)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])
    >>> bool(SmoothAP()(z, labels=y) < 1e-6)
    True
    """

    formula: ClassVar[str] = "mean_i [ 1 - mean_(p near) rank of p among near / rank of p among near and far ]"
    source: ClassVar[str] = "Brown et al. 2020, eq. 6; Andrew-Brown1/Smooth_AP src/Smooth_AP_loss.py"
    use: ClassVar[str] = "as `FastAP`, by differences of scores and without bins; few near candidates for each anchor"
    at_chance: ClassVar[str] = "1 - 1 / N"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 0.01

    def per_anchor(self, scores: Scores) -> Terms:
        """Mean precision over the near candidates: of few, each meets all others in one sweep."""
        near = scores.relation.near
        each = None if near is None or near.weights is not None else scores.near_each(FEW)
        if each is None:
            precise, weight = scores.rows(self._rows)
            return {"order": 1 - _share(precise, weight)}
        limits = [limit for limit, _ in each]
        found = scores.reduce(*(Sum(over, of=Sigmoid(), given=(t,)) for over in ("near", "far") for t in limits))
        precise = torch.zeros_like(scores.near_count)
        for (_, there), among, others in zip(each, found, found[len(each) :], strict=False):
            # A candidate is half before itself, which counts it in; the other half makes ranks begin at 1.
            precise = precise + torch.where(there, (0.5 + among) / (0.5 + among + others), 0)
        return {"order": 1 - _share(precise, scores.near_count)}

    @staticmethod
    def _rows(s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        total, is_near = s.new_zeros(len(s)), (near > 0).to(s.dtype)
        for r, c in _in_turn(near):
            before = torch.sigmoid(s[r] - s[r, c][:, None])
            among_near = 0.5 + (before * is_near[r]).sum(1)
            rank = 0.5 + (before * torch.where(near[r] > 0, 1, far[r])).sum(1)
            total = total.index_add(0, r, near[r, c] * among_near / rank)
        return total, near.sum(1)


@entry
class RankedList(Composition):
    """Near rows within one distance, far rows beyond a larger one; the worse a pair violates, the more it weighs.

    Of the near rows farther than alpha - margin, and of the far rows nearer than alpha, the excess h is averaged with
    weights exp(weighting * h), through which gradients flow, as in pytorch-metric-learning.

    Args:
        alpha: distance beyond which far rows should be.
        margin: near rows should be within alpha - margin.
        near_weighting, far_weighting: T of the weights; 0 weighs all violating pairs alike.
        balance: weight of the far rows; near rows weigh 1 - balance.

    Shapes: (R, D) with labels or ids, or views; all anchors with candidates count. Value >= 0.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(RankedList()(z, labels=y)), 4)                             # (sqrt 2 - 0.8) / 2
    0.3071
    """

    formula: ClassVar[str] = (
        "mean_i [ (1 - b) sum_p w_p h_p / sum_p w_p + b sum_j w_j h_j / sum_j w_j ],  "
        "h_p = [d_ip - alpha + m]_+, h_j = [alpha - d_ij]_+, w = e^(T h) where h > 0"
    )
    source: ClassVar[str] = "Wang et al. 2019 (Ranked List Loss), eq. 5 to 8; pytorch-metric-learning RankedListLoss"
    use: ClassVar[str] = "labels, and classes should keep some spread: near rows are only pulled inside a ball"
    at_chance: ClassVar[str] = "(sqrt(2) - 0.8) / 2"
    reconstructed: ClassVar[str] = "the default numbers, and whether the paper takes the weights as constants"
    needs: ClassVar[str] = "any"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    alpha: float = 1.2
    margin: float = 0.4
    near_weighting: float = 0.0
    far_weighting: float = 10.0
    balance: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance is the share of the far rows, in [0, 1], got {self.balance!r}")
        for name in ("near_weighting", "far_weighting"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"{name} says how much more a worse pair weighs, not below 0, got {getattr(self, name)!r}"
                )

    def per_anchor(self, scores: Scores) -> Terms:
        """Weighted means of the excess, near and far."""
        near, far = scores.reduce(
            Emphasised("near", margin=self.margin - self.alpha, sign=-1.0, rate=self.near_weighting),
            Emphasised("far", margin=self.alpha, rate=self.far_weighting),
        )
        known = (scores.near_count + scores.far_count > 0).to(near.dtype)
        return {
            "attract": ((1 - self.balance) * near, known),
            "repel": (self.balance * far, known),
        }


@entry
class TupletMargin(Composition):
    """Each near pair against all far rows of the anchor, with slack for the angle of the near pair.

    Args:
        margin: beta in radians, by which a near angle counts as smaller than it is; 0.1 is the 5.73 degrees in use.
        temperature: 1 / s.

    Shapes: (R, D) with labels or ids, or views; the average is over near pairs. Value > 0. At angle 0 the gradient is
    taken to be 0.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(TupletMargin(temperature=1.0)(z, labels=y)), 4)            # log(1 + 2 e^(-sin 0.1))
    1.0332
    """

    formula: ClassVar[str] = "mean_(i, p near) log(1 + sum_(j far) e^((cos theta_ij - cos(theta_ip - beta)) / t))"
    source: ClassVar[str] = "Yu & Tao 2019, eq. 4 and 5; pytorch-metric-learning TupletMarginLoss"
    use: ClassVar[str] = "as `SupCon` with average='exclusive', where hard near pairs should not be overfitted"
    at_chance: ClassVar[str] = "log(1 + (2 * N - 2) * exp(-6.389338))"
    equal_to: ClassVar[str] = "SupCon(average='exclusive') for margin 0 and classes of one size"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 1 / 64
    margin: float = 0.1

    def per_anchor(self, scores: Scores) -> Terms:
        """Softplus for every near pair."""
        t = torch.as_tensor(current(self.temperature), dtype=scores.u.dtype, device=scores.u.device)
        (far,) = scores.reduce(LogSumExp("far"))

        def lost(s: Tensor, far: Tensor, t: Tensor) -> Tensor:
            return softplus(far - turned(s * t, self.margin) / t, threshold=EXACT)

        value, weight = scores.reduce(Mean("near", of=lost, given=(far, t)), Count("near"))
        return {"contrast": (value, weight * (scores.far_count > 0))}


def turned(cosine: Tensor, angle: float) -> Tensor:
    """cos(theta - angle) of a cosine, in radians; where theta is 0 or pi its sine is taken for 0, with slope 0."""
    square = 1 - cosine.square()
    real = square > 8 * torch.finfo(cosine.dtype).eps
    sine = torch.where(real, torch.where(real, square, 1).sqrt(), 0)
    return cosine * math.cos(angle) + sine * math.sin(angle)


@entry
class Angular(Composition):
    """The angle at a far row, seen from anchor and near row, should stay below a bound, whatever the distances.

    For unit rows and T = tan^2(angle) a near pair (a, p) gives log(1 + sum_(j far) exp(4 T (a + p) j - 2 (1 + T) a p)).
    The exponential of a sum is a product: of few near rows with one label, each is compared with the far ones once.

    Args:
        angle: alpha in degrees, 36 to 55 in the paper.

    Shapes: (R, D) with labels or ids, or views; the average is over near pairs. Value > 0; log(2N - 1) at chance for
    two views of N items.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(Angular()(z, labels=y)), 4)                                # log 3
    1.0986
    """

    formula: ClassVar[str] = (
        "mean_(i, p near) log(1 + sum_(j far) e^(4 T (s_ij + s_pj) - 2 (1 + T) s_ip)),  T = tan^2(alpha)"
    )
    source: ClassVar[str] = "Wang et al. 2017 (Angular Loss), eq. 8; pytorch-metric-learning AngularLoss"
    use: ClassVar[str] = "labels, and classes of different spread: an angle does not change with the scale"
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    angle: float = 40.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Sums and weights over the near pairs of every anchor."""
        similarity, rate = scores.similarity, math.tan(math.radians(self.angle)) ** 2
        joint = scores.near_joint(4 * rate)
        if joint is not None:
            near, s, far = joint
            value, weight = softplus(far - 2 * (1 + rate) * s, threshold=EXACT), scores.near_count
            return {"contrast": (_share(torch.zeros_like(weight).index_add(0, near.rows, value), weight), weight)}
        u, v = similarity.prepare(scores.candidates, scores.candidates, scores.temperature)
        nothing = u[:0].sum() + v[:0].sum()  # a process without near pairs takes part in the backward pass too

        def pairs(s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
            some = (far > 0).any(1)
            near, total = near * some[:, None], s.new_zeros(len(s)) + nothing
            for r, c in _in_turn(near):
                both = 4 * rate * (s[r] + scores_of(similarity, u[c], v))
                both = torch.where(far[r] > 0, both + torch.where(far[r] > 0, far[r], 1).log(), -torch.inf)
                value = softplus(both.logsumexp(1) - 2 * (1 + rate) * s[r, c], threshold=EXACT)
                total = total.index_add(0, r, near[r, c] * value)
            return total, near.sum(1)

        total, weight = scores.rows(pairs)
        return {"contrast": (_share(total, weight), weight)}
