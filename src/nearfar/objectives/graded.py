"""Graded pairs: each pair of rows has a number that says how alike the two are, and one score; N pairs, N scores."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from ..contrast import LearnedTemperature, Strategy, current
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry
from ..contrast.similarity import unit
from .softmax import NTXent


def order_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """log(1 + sum_(y_i > y_j) exp(s_j - s_i)) of N scores, by sorting: exact, O(N log N), and no matrix of pairs.

    Sorted by target, the sum over all j below an i is a running log-sum-exp. A target that is not a number is unknown,
    and its pair does not count.

    >>> scores, targets = torch.tensor([0.2, 0.5, 0.4]), torch.tensor([0.0, 1.0, 2.0])
    >>> round(float(order_loss(20 * scores, targets)), 6)                      # 20 (.5 - .4) = 2, and two below 0
    2.129404
    """
    known = ~targets.isnan()
    ordered, order = targets[known].sort()
    s = scores[known][order]
    below = torch.searchsorted(ordered, ordered)  # how many targets are lower
    some = below > 0
    gaps = s.logcumsumexp(0)[below[some] - 1] - s[some]
    return torch.cat([gaps.new_zeros(1), gaps]).logsumexp(0)


def complex_score(one: Tensor, other: Tensor) -> Tensor:
    """|Re + Im| of the products of two rows taken for D / 2 complex numbers, over both lengths: (N,) in [0, sqrt(2)].

    The first half of a row are the real parts; of an odd width, the last of them has no imaginary part. It is no
    similarity by itself: a row and its opposite score 1, as a row and itself do. Source: Li & Li 2023 (AnglE);
    SeanLee97/AnglE angle_emb/loss.py.

    >>> z = torch.eye(2)
    >>> complex_score(z, z), complex_score(z, -z), complex_score(z, z.flip(0))
    (tensor([1., 1.]), tensor([1., 1.]), tensor([1., 1.]))
    """
    odd = one.shape[1] % 2
    (a, b), (c, d) = (pad(unit(rows), (0, odd)).chunk(2, 1) for rows in (one, other))
    return (a * c + b * d + b * c - a * d).sum(1).abs()


@entry
class GradedPairs(Objective):
    """Base of the objectives over graded pairs: two views (N, D) and `targets` (N,), by keyword.

    Over several processes the rows stay where they are; scores and targets are gathered, two numbers for each pair.
    """

    compares: ClassVar[str] = "cosine"
    near: ClassVar[str] = "the item's row in view 2, as far as its target says so"
    far: ClassVar[str] = "no far rows"

    def forward(self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of pairs and their targets."""
        return torch.stack(list(self.terms(*views, targets=targets, strategy=strategy).values())).sum()

    def terms(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> dict[str, Tensor]:
        """Named parts of the value."""
        raise NotImplementedError

    def _given(self, views: tuple[Tensor, ...], targets: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Both rows, and targets of the same precision."""
        name, rows = type(self).__name__, check_views(type(self).__name__, views)
        if len(rows) != 2 or len(rows[0]) != len(rows[1]):
            raise ValueError(f"{name} needs two views of the same rows, got {[len(r) for r in rows]} rows")
        if targets is None:
            raise ValueError(f"{name} needs to know how alike the pairs are: pass targets=, one number per row")
        y = torch.as_tensor(targets, device=rows[0].device)
        if y.shape != (len(rows[0]),):
            raise ValueError(f"{name}: targets must be one per row, got {tuple(y.shape)} for {len(rows[0])} rows")
        # Targets keep the precision that they have: it decides which of two is higher.
        return rows[0], rows[1], y if y.dtype == torch.float64 else y.to(rows[0].dtype)


@entry
class CoSENT(GradedPairs):
    """Pairs should be ordered by cosine as their targets are: every pair of pairs in the wrong order costs.

    One log-sum-exp over all pairs of pairs with different targets; equal targets say nothing of each other. Only the
    order of the targets matters, which is what a rank correlation measures. Computed by sorting, O(N log N).

    Shapes: two views (N, D) and `targets` (N,); NaN is unknown. Value >= 0; all cosines equal give log(1 + P) with P
    pairs of different targets, and 0 where all targets are equal.

    >>> a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.1, 0.99498744], [0.9, 0.43588989]])
    >>> round(float(CoSENT()(a, b, targets=torch.tensor([1.0, 0.0]))), 4)      # 20 (.9 - .1)
    16.0
    """

    formula: ClassVar[str] = "log(1 + sum_(y_i > y_j) exp((s_j - s_i) / t)),  s_i = cos(a_i, b_i)"
    source: ClassVar[str] = "Su 2022 (CoSENT); UKPLab/sentence-transformers losses/CoSENTLoss.py"
    use: ClassVar[str] = "pairs with graded similarity, such as scores from 0 to 5; their order should be met"
    at_chance: ClassVar[str] = "log(1 + N * (N - 1) / 2)"
    cost: ClassVar[str] = "N scores, sorted: N D and N log N"
    equal_to: ClassVar[str] = "the softplus of the difference of two scores, for two pairs"

    temperature: float | LearnedTemperature = 0.05

    def terms(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> dict[str, Tensor]:
        """The order of all pairs."""
        s, y = self._scores(views, targets, strategy)
        return {"order": order_loss(s / current(self.temperature), y)}

    def _scores(
        self, views: tuple[Tensor, ...], targets: Tensor | None, strategy: str | Strategy | None
    ) -> tuple[Tensor, Tensor]:
        a, b, y = self._given(views, targets)
        with torch.autocast(a.device.type, enabled=False):
            return self.together((unit(a) * unit(b)).sum(1), strategy), self.together(y, strategy)

    def inspect(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value, and that of equal cosines."""
        s, y = self._scores(views, targets, strategy)
        total = order_loss(s / current(self.temperature), y)
        even = float(order_loss(torch.zeros_like(s), y))
        return Inspection(total, {"order": total}, chance=even, collapsed=even)


@entry
class AnglE(GradedPairs):
    """CoSENT by cosine, the same by a score of complex numbers, and NT-Xent of the pairs that are near: a sum of three.

    Cosine is flat where two rows agree or are opposite; `complex_score` is not, but is no similarity by itself: the
    angle term wants another one beside it. The third term contrasts all 2 N rows, and counts the anchors of pairs whose
    target is at least `near_from`; the others stand in the mean with 0.

    Shapes: two views (N, D) and `targets` (N,); NaN is unknown. Value >= 0. The paper's formula wants a
    *small* complex score of near pairs, its code and those of others a large one; the code is followed. It also cuts
    targets to whole numbers before the third term, here `near_from` says it.

    Args:
        cosine, in_batch, angle: weights of the three terms.
        near_from: target from which a pair is near in the third term.

    >>> z = torch.eye(4)
    >>> loss = AnglE(cosine=0.0, in_batch=0.0, angle=1.0)
    >>> round(float(loss(z, z, targets=torch.arange(4))), 4)                   # all score 1: log(1 + 6)
    1.9459
    """

    formula: ClassVar[str] = (
        "w_c L(cos) + w_b mean_i r_i NTXent_i + w_a L(angle),  L(s) = log(1 + sum_(y_i > y_j) e^((s_j - s_i) / t))"
    )
    source: ClassVar[str] = (
        "Li & Li 2023 (AnglE); SeanLee97/AnglE angle_emb/loss.py; sentence-transformers losses/AnglELoss.py"
    )
    use: ClassVar[str] = "as `CoSENT`, where many pairs are almost the same or almost opposite"
    far: ClassVar[str] = "in the second term all rows of other pairs"
    at_chance: ClassVar[str] = ""
    cost: ClassVar[str] = "N scores, sorted, twice; with the second term one sweep over the tiles of 2 N rows"
    equal_to: ClassVar[str] = "CoSENT for in_batch = angle = 0; AnglELoss for cosine = in_batch = 0"

    temperature: float | LearnedTemperature = 0.05
    cosine: float = 1.0
    in_batch: float = 1.0
    angle: float = 0.02
    near_from: float = 1.0

    def __post_init__(self) -> None:
        if min(self.cosine, self.in_batch, self.angle) < 0:
            raise ValueError(f"weights of terms are 0 or more, got {self.cosine}, {self.in_batch} and {self.angle}")

    def terms(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> dict[str, Tensor]:
        """The three terms; one of weight 0 is left out."""
        a, b, y = self._given(views, targets)
        t, found = current(self.temperature), {}
        with torch.autocast(a.device.type, enabled=False):
            everyone = self.together(y, strategy)
            if self.cosine:
                s = self.together((unit(a) * unit(b)).sum(1), strategy)
                found["cosine"] = self.cosine * order_loss(s / t, everyone)
            if self.in_batch:
                near = (y >= self.near_from).to(a.dtype)
                share = (everyone >= self.near_from).to(a.dtype).mean()
                contrast = NTXent(temperature=self.temperature)(a, b, weights=near, strategy=self.chosen(strategy))
                found["in_batch"] = self.in_batch * share * contrast
            if self.angle:
                found["angle"] = self.angle * order_loss(self.together(complex_score(a, b), strategy) / t, everyone)
        return found

    def inspect(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value with its terms."""
        terms = self.terms(*views, targets=targets, strategy=strategy)
        return Inspection(torch.stack(list(terms.values())).sum(), terms)


@entry
class CosineMSE(GradedPairs):
    """The cosine of a pair should be its target: mean squared difference.

    Shapes: two views (N, D) and `targets` (N,) on the scale of cosines (divide scores from 0 to 5 by 5); NaN is
    unknown. Value in [0, 4] for targets in [-1, 1]; at chance the mean of y^2, all rows equal that of (1 - y)^2. The
    gradient vanishes where two rows agree exactly or are opposite.

    >>> z = torch.eye(4)
    >>> float(CosineMSE()(z, z, targets=torch.ones(4))), float(CosineMSE()(z, z, targets=torch.zeros(4)))
    (0.0, 1.0)
    """

    formula: ClassVar[str] = "mean_i (cos(a_i, b_i) - y_i)^2"
    source: ClassVar[str] = (
        "Reimers & Gurevych 2019 (Sentence-BERT); UKPLab/sentence-transformers losses/CosineSimilarityLoss.py"
    )
    use: ClassVar[str] = "pairs with graded similarity whose values should be met; pairs of a few labels (SetFit)"
    at_chance: ClassVar[str] = "mean of y^2"
    cost: ClassVar[str] = "N D: one score for each pair"

    def _values(
        self, views: tuple[Tensor, ...], targets: Tensor | None, strategy: str | Strategy | None
    ) -> tuple[Tensor, Tensor]:
        """Cosines and targets of all pairs that have one."""
        a, b, y = self._given(views, targets)
        with torch.autocast(a.device.type, enabled=False):
            s, y = self.together((unit(a) * unit(b)).sum(1), strategy), self.together(y.to(a.dtype), strategy)
        return s, y

    def terms(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> dict[str, Tensor]:
        """The squared difference, of pairs whose target is known."""
        s, y = self._values(views, targets, strategy)
        return {"regression": _mean_square(s, y)}

    def inspect(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value of every pair, at chance and at collapse."""
        s, y = self._values(views, targets, strategy)
        total, known = _mean_square(s, y), ~y.isnan()
        return Inspection(
            total,
            {"regression": total},
            per_anchor=torch.where(known, (s - y).square(), 0).detach(),
            weight=known.to(s.dtype),
            chance=float(_mean_square(torch.zeros_like(s), y)),
            collapsed=float(_mean_square(torch.ones_like(s), y)),
        )


def _mean_square(s: Tensor, y: Tensor) -> Tensor:
    known = ~y.isnan()
    return torch.where(known, s - y.nan_to_num(0), 0).square().sum() / known.sum().clamp_min(1)


@entry
class ContrastiveTension(GradedPairs):
    """Two encoders that start alike tell by the product of their rows whether they saw the same item; a sum over pairs.

    View 1 is what one encoder makes of some items, view 2 what another makes of the same (target 1) or of others
    (target 0), seven of these for each of those as published. The encoders share no weights; the second is kept. The
    value grows with the batch, and so does the step: published with a learning rate that fits.

    Shapes: two views (N, D), raw rows, and `targets` (N,) in [0, 1]; NaN is unknown. Value >= 0; at chance N log 2.
    The variant with all pairs of the batch is `SymmetricInfoNCE(temperature=LearnedTemperature(0.05))`.

    >>> z = torch.eye(4)
    >>> round(float(ContrastiveTension()(z, z.flip(0), targets=torch.zeros(4))), 4)        # 4 log 2
    2.7726
    """

    compares: ClassVar[str] = "product of rows"
    formula: ClassVar[str] = "sum_i [ softplus(s_i) - y_i s_i ],  s_i = <a_i, b_i>"
    source: ClassVar[str] = (
        "Carlsson et al. 2021 (Semantic Re-tuning with Contrastive Tension); UKPLab/sentence-transformers "
        "losses/ContrastiveTensionLoss.py"
    )
    use: ClassVar[str] = "sentences alone, a pre-trained encoder, and two copies of it that may drift apart"
    at_chance: ClassVar[str] = "N log 2"
    cost: ClassVar[str] = "N D: one score for each pair"
    equal_to: ClassVar[str] = "N times a logistic regression of the targets on the products"

    def terms(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> dict[str, Tensor]:
        """The logistic loss of every pair whose target is known, added up."""
        a, b, y = self._given(views, targets)
        known = ~y.isnan()
        with torch.autocast(a.device.type, enabled=False):
            s = (a * b).sum(1)
            each = binary_cross_entropy_with_logits(s, y.nan_to_num(0).to(s.dtype), reduction="none")
            return {"tension": self.together(torch.where(known, each, 0), strategy).sum()}

    def inspect(
        self, *views: Tensor, targets: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value, and at chance."""
        terms = self.terms(*views, targets=targets, strategy=strategy)
        known = self.together((~self._given(views, targets)[2].isnan()).long(), strategy)
        return Inspection(terms["tension"], terms, chance=math.log(2) * int(known.sum()))
