"""Scores of a teacher for the candidates of each row, which the student should follow."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Dot, LearnedTemperature, Similarity, Strategy, current, entry
from ..contrast.arrange import check_views
from ..contrast.blocks import pair_scores
from ..contrast.objective import Inspection, Objective


@entry
class OwnScores(Objective):
    """Base of the objectives over each row's own candidates: anchors, two or more views of candidates, `scores` (N, K).

    Scores are the teacher's, of the K candidates in the order of the views; NaN: the row has no such candidate.
    """

    near: ClassVar[str] = "candidates of high scores"
    far: ClassVar[str] = "candidates of low scores"
    cost: ClassVar[str] = "N K D with K candidates of each row; no pair of other rows is looked at"

    similarity: Similarity = field(default_factory=Dot)
    temperature: float | LearnedTemperature = 1.0

    def values(self, s: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Value (N,) of every row, and how much it counts, from scores (N, K) of the student and of the teacher."""
        raise NotImplementedError

    def _scores(self, views: tuple[Tensor, ...], scores: Tensor | None) -> tuple[Tensor, Tensor]:
        name, rows = type(self).__name__, check_views(type(self).__name__, views)
        n, k, t = len(rows[0]), len(rows) - 1, current(self.temperature)
        if k < 2 or any(len(r) != n for r in rows):
            raise ValueError(
                f"{name} needs anchors and two or more views of candidates, with the same rows, got "
                f"{[len(r) for r in rows]} rows"
            )
        if scores is None or scores.shape != (n, k):
            got = "none" if scores is None else tuple(scores.shape)
            raise ValueError(f"{name} needs the scores of a teacher: pass scores= ({n}, {k}), a row each; got {got}")
        similarity = self.similarity.at(t)
        with torch.autocast(rows[0].device.type, enabled=False):
            found = [pair_scores(similarity, *self.similarity.prepare(rows[0], c, t)) for c in rows[1:]]
        return torch.stack(found, 1), scores.detach().to(rows[0])

    def _found(
        self, views: tuple[Tensor, ...], scores: Tensor | None, strategy: str | Strategy | None, even: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Values and weights of all rows; `even`: where the student's scores are all equal."""
        s, teacher = self._scores(views, scores)
        values, each = self.values(s * 0 if even else s, teacher)
        return self.together(values, strategy), self.together(each, strategy)

    def forward(self, *views: Tensor, scores: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of anchors, candidates and a teacher's scores."""
        return _mean(*self._found(views, scores, strategy))

    def inspect(
        self, *views: Tensor, scores: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value of every row, and that of a student who scores all candidates alike."""
        values, each = self._found(views, scores, strategy)
        total = _mean(values, each)
        with torch.no_grad():
            even = float(_mean(*self._found(views, scores, strategy, even=True)))
        return Inspection(total, {"distil": total}, values.detach(), each, chance=even, collapsed=even)


@entry
class MarginMSE(OwnScores):
    """The first candidate should lead the others by as much as the teacher says: squared difference of margins.

    Shapes: anchors, a positive and one or more negatives, (N, D) each, and `scores` (N, 1 + K) of a teacher, such as a
    cross-encoder; NaN: not there. Value >= 0, a mean over all negatives; equal scores give the mean squared margin of
    the teacher. A constant added to all scores of a row changes nothing.

    Args:
        similarity: dot product as published, so that margins of any size can be met.

    >>> q, z = torch.eye(2), torch.eye(2)
    >>> float(MarginMSE()(q, z, z.flip(0), scores=torch.tensor([[3.0, 2.0], [5.0, 2.0]])))     # (1 - 1)^2, (1 - 3)^2
    2.0
    """

    formula: ClassVar[str] = "mean_(i, k) ((s_i+ - s_ik) - (g_i+ - g_ik))^2"
    source: ClassVar[str] = "Hofstaetter et al. 2020 (Margin-MSE); UKPLab/sentence-transformers losses/MarginMSELoss.py"
    use: ClassVar[str] = "search, and a slower model that scores a query with its positive and hard negatives"
    at_chance: ClassVar[str] = "the mean squared margin of the teacher"

    def values(self, s: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Mean over the negatives of a row, which counts once for each."""
        margin = teacher[:, :1] - teacher[:, 1:]
        known = ~margin.isnan()
        count = known.sum(1).to(s.dtype)
        apart = torch.where(known, s[:, :1] - s[:, 1:] - margin.nan_to_num(0), 0)
        return apart.square().sum(1) / count.clamp_min(1), count


@entry
class ScoreDistillation(OwnScores):
    """The student's softmax over a row's own candidates should be the teacher's: Kullback-Leibler divergence.

    Shapes: anchors and two or more candidates, (N, D) each, and `scores` (N, K) of a teacher; NaN: not there. Value
    >= 0, and 0 where both softmaxes agree. The temperature divides the scores of both, and its square multiplies the
    value, which keeps the size of the gradient.

    >>> z = torch.eye(2)
    >>> scores = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    >>> round(float(ScoreDistillation()(z, z, z.flip(0), scores=scores)), 4)   # log((e + 1) / 2) - 1/2
    0.1201
    """

    formula: ClassVar[str] = "t^2 mean_i KL(softmax_k(g_ik / t), softmax_k(s_ik / t))"
    source: ClassVar[str] = (
        "Hinton et al. 2015; Ren et al. 2021 (RocketQAv2); UKPLab/sentence-transformers losses/DistillKLDivLoss.py"
    )
    use: ClassVar[str] = "as `MarginMSE`, when only the order and the shares of the candidates matter"
    at_chance: ClassVar[str] = "log K less the entropy of the teacher, times t^2"

    def values(self, s: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The divergence of every row that has a candidate."""
        t, known = current(self.temperature), ~teacher.isnan()
        some = known.any(1)
        held = known | ~some[:, None]  # a row without any would have no softmax
        want = (teacher.nan_to_num(0) / t).masked_fill(~held, -torch.inf).log_softmax(1)
        have = s.masked_fill(~held, -torch.inf).log_softmax(1)
        apart = torch.where(held & (want > -torch.inf), want - torch.where(held, have, 0), 0)
        return t**2 * torch.where(some, (want.exp() * apart).sum(1), 0), some.to(s.dtype)


def _mean(values: Tensor, each: Tensor) -> Tensor:
    total = each.sum()
    return (values * each).sum() / torch.where(total > 0, total, 1)
