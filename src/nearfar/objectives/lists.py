"""Whole rows of scores against those of a teacher: the order of the batch, or its shares."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Cosine, KeyRelation, LearnedTemperature, Similarity, Strategy, current, entry
from ..contrast.arrange import Arrangement, check_views
from ..contrast.objective import Inspection, Objective
from ..contrast.ranks import Ranks, Shares
from ..contrast.ring import scored
from ..contrast.similarity import unit


def all_pairs(anchors: Tensor, candidates: Tensor, strategy: Strategy) -> Arrangement:
    """Every anchor against every candidate, of all processes that share the batch; all are of one kind."""
    sides, shares = [len(anchors), len(candidates)], None
    if strategy.spread:
        ranks = Ranks(strategy.group)
        places = [ranks.places(n, anchors.device) for n in sides]
        sides, shares = [sum(map(len, p)) for p in places], Shares(ranks, *places)
    keys = [torch.zeros(n, dtype=torch.long, device=anchors.device) for n in sides]
    return Arrangement(anchors, candidates, KeyRelation(*keys), shares)


@entry
class BatchLists(Objective):
    """Base of the objectives over whole rows of scores: two views (N, D), and `teacher` (N, 2, P), its rows for both.

    Each row of view 1 scores all rows of view 2, and so does the teacher, by cosine.
    """

    near: ClassVar[str] = "rows of view 2 that the teacher finds near"
    far: ClassVar[str] = "the other rows of view 2"
    cost: ClassVar[str] = "whole rows of scores, panel by panel: N x N in time, N D and a panel in memory"

    similarity: Similarity = field(default_factory=Cosine)
    temperature: float | LearnedTemperature = 0.05

    def of_rows(self, s: Tensor, g: Tensor) -> Tensor:
        """Value (B,) of rows of scores (B, N) of the student and of the teacher."""
        raise NotImplementedError

    def _per_anchor(
        self, views: tuple[Tensor, ...], teacher: Tensor | None, strategy: str | Strategy | None
    ) -> tuple[Tensor, Tensor]:
        """Values of all rows, and the teacher's (N, 2, P)."""
        name, rows = type(self).__name__, check_views(type(self).__name__, views)
        if len(rows) != 2 or len(rows[0]) != len(rows[1]):
            raise ValueError(f"{name} needs two views of the same rows, got {[len(r) for r in rows]} rows")
        if teacher is None or teacher.ndim != 3 or teacher.shape[:2] != (len(rows[0]), 2):
            got = "none" if teacher is None else tuple(teacher.shape)
            raise ValueError(f"{name}: pass teacher= ({len(rows[0])}, 2, P), its rows for both views; got {got}")
        chosen = self.chosen(strategy)
        with torch.autocast(rows[0].device.type, enabled=False):
            known = self.together(unit(teacher.detach().to(rows[0]).flatten(0, 1)).view_as(teacher), strategy)
            made = all_pairs(rows[0], rows[1], chosen)
            scores = scored(self.similarity, made, current(self.temperature), chosen)

            def value(s: Tensor, near: Tensor, far: Tensor, own: Tensor) -> tuple[Tensor]:
                return (self.of_rows(s, own @ known[:, 1].T),)

            return scores.rows(value, (known[:, 0],))[0], known

    def forward(self, *views: Tensor, teacher: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of both views and the teacher's rows."""
        return self._per_anchor(views, teacher, strategy)[0].mean()

    def inspect(
        self, *views: Tensor, teacher: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value of every row, and that of a student who scores all rows alike."""
        values, known = self._per_anchor(views, teacher, strategy)
        total = values.mean()
        g = known[:, 0] @ known[:, 1].T
        even = float(self.of_rows(torch.zeros_like(g), g).mean())
        return Inspection(
            total, {"lists": total}, values.detach(), torch.ones_like(values), chance=even, collapsed=even
        )


@entry
class ListMLE(BatchLists):
    """The student should find the order in which the teacher ranks all rows: the likelihood of it, place after place.

    The most similar row is drawn first, by a softmax over all, then the next by one over the rest, and so on. Only the
    teacher's order counts. Ties stand in the order of the batch. The paper's refinement of the teacher's scores by
    generated lists is not in it: refine the teacher's rows.

    Shapes: two views (N, D) and `teacher` (N, 2, P). Value >= 0, a sum over the places; equal scores give log N!.

    >>> z = torch.eye(3)
    >>> round(float(ListMLE()(z, z * 0, teacher=torch.randn(3, 2, 4))), 4)     # log 6
    1.7918
    """

    formula: ClassVar[str] = "mean_i sum_k [ log sum_(l >= k) exp(s_i(l) / t) - s_i(k) / t ],  (1), (2), ... by teacher"
    source: ClassVar[str] = "Xia et al. 2008 (ListMLE); hly1998/RankingSentenceGeneration posttraining/models.py"
    use: ClassVar[str] = "a better encoder is at hand, and its order of the batch is to be met rather than its scores"
    at_chance: ClassVar[str] = "log(N!)"

    def of_rows(self, s: Tensor, g: Tensor) -> Tensor:
        """Log-sum-exp over what is left, place after place."""
        ordered = s.gather(1, g.argsort(dim=1, descending=True, stable=True))
        return (ordered.flip(1).logcumsumexp(1).flip(1) - ordered).sum(1)


@entry
class ListNet(BatchLists):
    """The student's softmax over all rows should be that of the teacher: Kullback-Leibler divergence in the batch.

    Shapes: two views (N, D) and `teacher` (N, 2, P). Value >= 0, and 0 where both softmaxes agree; equal scores give
    log N less the entropy of the teacher.

    Args:
        teacher_temperature: divides the teacher's cosines.

    >>> z = torch.eye(3)
    >>> abs(float(ListNet()(z, z, teacher=torch.stack([z, z], 1)))) < 1e-6
    True
    """

    formula: ClassVar[str] = "mean_i KL(softmax_j(g_ij / t_g), softmax_j(s_ij / t))"
    source: ClassVar[str] = "Cao et al. 2007 (ListNet, top one); Fang et al. 2021 (SEED), without its queue"
    use: ClassVar[str] = "a better encoder is at hand: its similarities in the batch say which rows are how near"
    at_chance: ClassVar[str] = "log(N) less the entropy of the teacher"
    equal_to: ClassVar[str] = "ICon(divergence='kl') with the softmax of the teacher for weights of near rows"

    teacher_temperature: float = 0.05

    def of_rows(self, s: Tensor, g: Tensor) -> Tensor:
        """The divergence of every row."""
        want = (g / self.teacher_temperature).log_softmax(1)
        return (want.exp() * (want - s.log_softmax(1))).sum(1)
