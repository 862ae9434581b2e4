"""Objectives of deep metric learning that weigh all near and far candidates of an anchor against each other."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import (
    Composition,
    LearnedBias,
    LearnedTemperature,
    LogSumExp,
    Max,
    Min,
    NegativeEuclidean,
    Scores,
    Similarity,
    Sum,
    current,
    entry,
)
from ..contrast.objective import Terms
from .pairs import _share, _violations

EXACT = 50.0  # from where softplus(x) may be rounded to x: torch would do so from 20 on


@entry
class LiftedStructure(Composition):
    """Each near pair against the far rows of both of its ends.

    J_ij = log( sum_(k far from i) exp(margin - d_ik) + sum_(k far from j) exp(margin - d_jk) ) + d_ij, and the value is
    the mean over near pairs (i, j) of [J_ij]_+^2 / 2. Of a queue or of two sets of rows, the rows far from a candidate
    j are the anchors that are far from it.

    Shapes: (R, D) with labels or ids, or views. Distances are Euclidean between unit rows. Value >= 0; at chance, as
    when all rows are equal, (log(4N - 4) + margin)^2 / 2 for two views of N items.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(LiftedStructure()(z, labels=y)), 4)                        # (log 4 + 1)^2 / 2
    2.8472
    """

    formula: ClassVar[str] = (
        "mean_(i, p near) [ log(sum_(j far i) e^(margin - d_ij) + sum_(j far p) e^(margin - d_pj)) + d_ip ]_+^2 / 2"
    )
    source: ClassVar[str] = "Song et al. 2016, eq. 4; pytorch-metric-learning LiftedStructureLoss"
    use: ClassVar[str] = "labels, and every near pair should see all far rows of a batch at once, by distance"
    at_chance: ClassVar[str] = "(log(4 * N - 4) + 1) ** 2 / 2"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    margin: float = 1.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Sums and counts over the near pairs of every anchor."""
        (own,) = scores.reduce(LogSumExp("far"))
        (other,) = (own,) if scores.symmetric else scores.t.reduce(LogSumExp("far"))
        listed = scores.near_scores()
        if listed is not None:
            near, values = listed
            reach = torch.logaddexp(own[near.rows], other[near.columns]) + self.margin - values
            counted = (own[near.rows] != -torch.inf).to(own.dtype) * (1 if near.weights is None else near.weights)
            hinge = torch.where(counted > 0, reach, 0).relu().square() / 2
            total, weight = (torch.zeros_like(own).index_add(0, near.rows, t) for t in (counted * hinge, counted))
            return {"pairs": (_share(total, weight), weight)}
        other = scores.shared(other)

        def pairs(s: Tensor, near: Tensor, far: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
            rows, columns = ((near > 0) & (own != -torch.inf)[:, None]).nonzero(as_tuple=True)
            weights = near[rows, columns]
            reach = torch.logaddexp(own[rows], other[columns]) + self.margin - s[rows, columns]
            total = s.new_zeros(len(s)).index_add(0, rows, weights * reach.relu().square() / 2)
            return total, s.new_zeros(len(s)).index_add(0, rows, weights)

        total, weight = scores.rows(pairs, given=(own,))
        return {"pairs": (_share(total, weight), weight)}


@entry
class GeneralizedLifted(Composition):
    """All near distances of an anchor against all its far ones, each side as a soft maximum.

    Shapes as `LiftedStructure`, without a sum over pairs. Value >= 0; at chance, as when all rows are equal,
    log(2N - 2) + margin for two views of N items.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(GeneralizedLifted()(z, labels=y)), 4)                      # log 2 + 1
    1.6931
    """

    formula: ClassVar[str] = "mean_i [ log sum_(p near) e^(d_ip) + log sum_(j far) e^(margin - d_ij) ]_+"
    source: ClassVar[str] = "Hermans et al. 2017, eq. 7; pytorch-metric-learning GeneralizedLiftedStructureLoss"
    use: ClassVar[str] = "as `LiftedStructure`, at the price of one sweep: no pair is visited twice"
    at_chance: ClassVar[str] = "log(2 * N - 2) + 1"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    margin: float = 1.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Hinge of the two soft maxima."""
        near, far = scores.reduce(LogSumExp("near", scale=-1.0), LogSumExp("far"))
        return {"contrast": (near + far + self.margin).relu()}


@entry
class Circle(Composition):
    """Every similarity is pulled the harder the farther it is from its optimum.

    L_i = softplus( log sum_(p near) exp(-a_p (s_ip - 1 + margin) / t) + log sum_(j far) exp(a_j (s_ij - margin) / t) ),
    with weights a_p = [1 + margin - s_ip]_+ and a_j = [s_ij + margin]_+ that are taken as constants.

    Args:
        margin: m; near similarities should be above 1 - m, far ones below m.
        temperature: 1 / gamma. Margin 0.25 with 1/256 for faces and 1/128 for re-identification, 0.4 with 1/80 for
            retrieval of images.

    Shapes: (R, D) with labels or ids, or views. Value > 0; anchors without near or far candidates do not count.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(Circle(temperature=0.5)(z, labels=y)), 4)                  # log(1 + 2 e^(2 (1 - 2 * 0.16)))
    2.1739
    """

    formula: ClassVar[str] = (
        "mean_i log(1 + sum_(p near) e^(-a_p (s_ip - 1 + m) / t) sum_(j far) e^(a_j (s_ij - m) / t)),  "
        "a_p = sg[1 + m - s_ip]_+, a_j = sg[s_ij + m]_+"
    )
    source: ClassVar[str] = "Sun et al. 2020, eq. 6 and 8; pytorch-metric-learning CircleLoss"
    use: ClassVar[str] = "labels: faces, re-identification, retrieval; pairs that are good already are left alone"
    at_chance: ClassVar[str] = "log(1 + (2 * N - 2) * exp(54.4))"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 1 / 80
    margin: float = 0.4

    def per_anchor(self, scores: Scores) -> Terms:
        """Softplus of the two weighted sums; scores come divided by t."""
        t = torch.as_tensor(current(self.temperature), dtype=scores.u.dtype, device=scores.u.device)
        m = self.margin

        def pull(s: Tensor, t: Tensor) -> Tensor:
            return (1 + m - (s * t).detach()).relu() * ((1 - m) / t - s)

        def push(s: Tensor, t: Tensor) -> Tensor:
            return ((s * t).detach() + m).relu() * (s - m / t)

        near, far = scores.reduce(LogSumExp("near", of=pull, given=(t,)), LogSumExp("far", of=push, given=(t,)))
        return {"contrast": softplus(near + far, threshold=EXACT)}


@entry
class MultiSimilarity(Composition):
    """Near and far pairs are weighed by how similar they are, and by how similar the other pairs of the anchor are.

    Args:
        near_scale, far_scale: alpha and beta; the larger, the more the hardest pair counts. The official code has
            far_scale 40.
        base: lambda, the similarity that tells a hard pair from an easy one. 0.5 in the code in use; the 1 that some
            give for the paper is unverified.
        mining: epsilon; a far pair counts only if it scores above the worst near pair - epsilon, a near one only if it
            scores below the best far pair + epsilon. 0.1 in the official code; None: all pairs count.

    Shapes: (R, D) with labels or ids, or views. Value >= 0, averaged over all anchors that have candidates, also those
    whose pairs are all easy. For large scales [base - min near]_+ + [max far - base]_+.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(MultiSimilarity()(z, labels=y)), 4)                        # log(1 + e) / 2
    0.6566
    """

    formula: ClassVar[str] = (
        "mean_i [ log(1 + sum_(p near) e^(-alpha (s_ip - lambda))) / alpha "
        "+ log(1 + sum_(j far) e^(beta (s_ij - lambda))) / beta ]"
    )
    source: ClassVar[str] = "Wang et al. 2019, eq. 15; MalongTech/research-ms-loss multi_similarity_loss.py"
    use: ClassVar[str] = "labels, and batches in which most pairs are easy; `mining=0.1` leaves those out"
    at_chance: ClassVar[str] = "log(1 + exp(1)) / 2 + log(1 + (2 * N - 2) * exp(-25)) / 50"
    needs: ClassVar[str] = "any"
    supervised: ClassVar[bool] = True

    near_scale: float = 2.0
    far_scale: float = 50.0
    base: float = 0.5
    mining: float | None = None

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and repulsion by two soft maxima."""
        near, far = scores.reduce(*(self._all() if self.mining is None else self._hard(scores, self.mining)))
        known = (scores.near_count + scores.far_count > 0).to(near.dtype)
        pull = softplus(near + self.near_scale * self.base, threshold=EXACT) / self.near_scale
        push = softplus(far - self.far_scale * self.base, threshold=EXACT) / self.far_scale
        return {"attract": (pull, known), "repel": (push, known)}

    def _all(self) -> tuple[LogSumExp, LogSumExp]:
        return LogSumExp("near", scale=-self.near_scale), LogSumExp("far", scale=self.far_scale)

    def _hard(self, scores: Scores, epsilon: float) -> tuple[LogSumExp, LogSumExp]:
        with torch.no_grad():
            worst, best = scores.reduce(Min("near"), Max("far"))

        # Easy pairs are the ones named, so that what is not a number is left in, to be seen in the value.
        def pull(s: Tensor, best: Tensor) -> Tensor:
            return torch.where(s - epsilon >= best, -torch.inf, -self.near_scale * s)

        def push(s: Tensor, worst: Tensor) -> Tensor:
            return torch.where(s + epsilon <= worst, -torch.inf, self.far_scale * s)

        return LogSumExp("near", of=pull, given=(best,)), LogSumExp("far", of=push, given=(worst,))


@entry
class BoundaryMargin(Composition):
    """Near pairs should lie within a boundary, far pairs beyond it, both by a margin; the boundary may be learned.

    The sum over all pairs is divided by the number of pairs that violate theirs.

    Args:
        boundary: beta, a distance; a number, a `LearnedBias(1.2)`, or a `LearnedBias([1.2] * C)` of one per class,
            which takes labels 0 to C - 1.
        margin: alpha.
        nu: adds nu times the mean boundary of the anchors, so that a learned one does not only grow.

    Shapes: (R, D) with labels or ids, or views. Value >= 0 with nu = 0; when all rows are equal boundary + margin. The
    paper draws far rows by distance; see `sampled_far`. pytorch-metric-learning visits triplets, which counts a pair
    several times.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(BoundaryMargin()(z, labels=y)), 4)                         # sqrt 2 - 1.2 + 0.2
    0.4142
    """

    formula: ClassVar[str] = (
        "mean+ of [d_ip - beta + margin]_+ over near and [beta - d_ij + margin]_+ over far pairs  [+ nu beta]"
    )
    source: ClassVar[str] = "Wu et al. 2017, eq. 5 and 6; pytorch-metric-learning MarginLoss"
    use: ClassVar[str] = "labels, and one distance, found in training, should tell near from far"
    at_chance: ClassVar[str] = "sqrt(2) - 1"
    needs: ClassVar[str] = "any"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    boundary: float | LearnedBias = 1.2
    margin: float = 0.2
    nu: float = 0.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and repulsion, averaged over all pairs that violate their side of the boundary."""
        beta = self._of_anchors(scores)

        def too_far(s: Tensor, beta: Tensor) -> Tensor:
            return (self.margin - s - beta).relu()

        def too_near(s: Tensor, beta: Tensor) -> Tensor:
            return (self.margin + s + beta).relu()

        near, far, *counts = scores.reduce(
            Sum("near", of=too_far, given=(beta,)),
            Sum("far", of=too_near, given=(beta,)),
            Sum("near", of=lambda s, b: _violations(too_far(s, b)), given=(beta,)),
            Sum("far", of=lambda s, b: _violations(too_near(s, b)), given=(beta,)),
        )
        count = (counts[0] + counts[1]).detach()
        terms: Terms = {"attract": (_share(near, count), count), "repel": (_share(far, count), count)}
        if self.nu:
            known = (scores.near_count + scores.far_count > 0).to(near.dtype)
            terms["boundary"] = (self.nu * beta.expand_as(known), known)
        return terms

    def _of_anchors(self, scores: Scores) -> Tensor:
        """The boundary: a scalar, or that of the class of each anchor."""
        beta = torch.as_tensor(current(self.boundary), dtype=scores.u.dtype, device=scores.u.device)
        if not beta.ndim:
            return beta
        if scores.relation.keys is None:
            raise ValueError("BoundaryMargin with a boundary for each class needs labels=")
        labels = scores.relation.keys[0]
        if len(labels) and int(labels.max()) >= len(beta):
            raise ValueError(f"label {int(labels.max())} has no boundary, there are {len(beta)}: one per class, from 0")
        return beta[labels.clamp_min(0)]
