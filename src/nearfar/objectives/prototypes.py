"""Objectives over prototypes: rows are K scores, and one view predicts which prototypes the other view chose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import log
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy

from ..contrast import Strategy
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry
from ..contrast.ranks import Ranks

SAFE_SPAN = 80.0  # exp(-80) is still a normal number in float32


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3, ranks: Ranks | None = None) -> Tensor:
    """Balanced soft assignments (N, K) of N rows to K prototypes: rows sum to 1, columns to about N / K.

    exp(scores / epsilon), normalised in turn over each prototype's column and each row, the rows last. The factors of
    rows and columns are kept as logarithms, and so are the scores where their exponentials would leave the range of
    numbers: the same at any epsilon. No gradient. Processes that share the rows (`ranks`)
    exchange K numbers in each round. Source: Caron et al. 2020, section 3.1; Cuturi 2013.

    >>> sinkhorn(torch.tensor([[9.0, 0.0], [9.0, 1.0]])).sum(1)
    tensor([1., 1.])
    """

    def everywhere(columns: Tensor) -> Tensor:
        return columns if ranks is None else torch.stack(ranks.gather(columns[None])).logsumexp(0)[0]

    low, high = torch.aminmax(scores) if scores.numel() else (scores.new_zeros(()),) * 2
    # Processes may take different roads below: what they exchange is the same on both.
    if not len(scores) or not iterations or not float(high - low) / epsilon <= SAFE_SPAN - log(scores.shape[1]):
        logs = scores / epsilon
        row, column = logs.new_zeros(len(logs)), logs.new_zeros(logs.shape[1])
        for _ in range(iterations):
            column = -everywhere((logs + row[:, None]).logsumexp(0))
            row = -(logs + column).logsumexp(1)
        return (logs + row[:, None] + column).exp()
    table = (scores - high).div_(epsilon).exp_()
    row, column = (high / epsilon).expand(len(table)), table.new_zeros(table.shape[1])
    for _ in range(iterations):  # row and column: logarithms of the factors of table
        column = -everywhere((table.T @ (row - row.max()).exp()).log() + row.max())
        row = -(table @ (column - column.max()).exp()).log() - column.max()
    return table.mul_(row.exp()[:, None]).mul_(column.exp())


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """softmax of every row (N, K), and log sum exp (N,), which costs nothing more: the greatest of a row gives it."""
    table = logits.softmax(1)
    return table, logits.amax(1) - table.amax(1).log()


class _Predicted(torch.autograd.Function):
    """-sum_k q_ik log softmax_k(s_i / t) for every row, q constant, with few passes over the rows."""

    @staticmethod
    def forward(ctx, scores: Tensor, codes: Tensor, temperature: float) -> Tensor:  # type: ignore[no-untyped-def]
        table, total = _softmax(scores / temperature)
        weight = codes.sum(1)
        ctx.save_for_backward(table, codes, weight)
        ctx.temperature = temperature
        return weight * total - torch.linalg.vecdot(scores, codes) / temperature

    @staticmethod
    @once_differentiable
    def backward(ctx, rate: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        table, codes, weight = ctx.saved_tensors
        rate = (rate / ctx.temperature)[:, None]
        return (table * (rate * weight[:, None])).addcmul_(codes, rate, value=-1), None, None


@entry
class SwappedPrediction(Objective):
    """Each view predicts the balanced code of every other view (SwAV).

    A code is the Sinkhorn assignment of a view's scores, without gradient; it is predicted by softmax(scores / t).
    Shapes: two or more views (N, K), scores in [-1, 1]. Value >= 0; log K when prototypes are told apart by nobody.

    Args:
        temperature: divides the scores of the prediction. epsilon: divides those of the code.
        iterations: of Sinkhorn.

    `more` (M, K), scores of earlier rows, are balanced together with each view and then left out: in a small batch the
    codes cannot be balanced over many prototypes. Over several processes each hands over its own part of them.
    `assigned` are the numbers of the views that get a code, from 0; the others only predict, as small crops do. All are
    assigned unless given.

    >>> scores = torch.zeros(4, 8)
    >>> round(float(SwappedPrediction()(scores, scores)), 4)                   # log 8
    2.0794
    """

    formula: ClassVar[str] = "mean over views u != v of mean_i [ -sum_k q_ik(u) log softmax_k(s_i(v) / t) ]"
    source: ClassVar[str] = "Caron et al. 2020, eq. 2 and 3; facebookresearch/swav main_swav.py"
    use: ClassVar[str] = "items should settle into K groups; rows are scores with K prototypes"
    compares: ClassVar[str] = "cosine with prototypes"
    near: ClassVar[str] = "the item's codes in the other views"
    far: ClassVar[str] = "no far rows: codes are balanced over the batch"
    cost: ClassVar[str] = "N K scores with K prototypes"
    at_chance: ClassVar[str] = ""

    temperature: float = 0.1
    epsilon: float = 0.05
    iterations: int = 3

    def codes(self, scores: Tensor, more: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """Balanced codes (N, K) of scores (N, K)."""
        chosen = self.chosen(strategy)
        ranks = Ranks(chosen.group) if chosen.spread else None
        every = scores if more is None else torch.cat([more.to(scores.dtype), scores])
        return sinkhorn(every, self.epsilon, self.iterations, ranks)[len(every) - len(scores) :]

    def _per_anchor(
        self,
        views: tuple[Tensor, ...],
        more: Tensor | None,
        assigned: Sequence[int] | None,
        strategy: str | Strategy | None,
    ) -> Tensor:
        rows = check_views("SwappedPrediction", views)
        if len(rows) < 2 or any(len(r) != len(rows[0]) for r in rows):
            raise ValueError(
                f"SwappedPrediction needs two or more views of the same rows, got {[len(r) for r in rows]} rows"
            )
        chosen = range(len(rows)) if assigned is None else assigned
        if not len(chosen) or not set(chosen) <= set(range(len(rows))):
            raise ValueError(f"assigned are numbers of the {len(rows)} views, from 0 and at least one, not {assigned}")
        with torch.autocast(rows[0].device.type, enabled=False):
            codes = {u: self.codes(rows[u], more, strategy) for u in chosen}
            pairs = [(u, v) for u, v in permutations(range(len(rows)), 2) if u in codes]
            values = torch.stack([_Predicted.apply(rows[v], codes[u], self.temperature) for u, v in pairs]).mean(0)
        return self.together(values, strategy)

    def forward(
        self,
        *views: Tensor,
        more: Tensor | None = None,
        assigned: Sequence[int] | None = None,
        strategy: str | Strategy | None = None,
    ) -> Tensor:
        """The scalar value."""
        return self._per_anchor(views, more, assigned, strategy).mean()

    def inspect(
        self,
        *views: Tensor,
        more: Tensor | None = None,
        assigned: Sequence[int] | None = None,
        strategy: str | Strategy | None = None,
    ) -> Inspection:
        """The value of every row."""
        return _inspected(self._per_anchor(views, more, assigned, strategy))


@entry
class SelfDistillation(Objective):
    """The student's scores (view 1) predict the teacher's (view 2), which are centred, sharpened and constant (DINO).

    Shapes: two views (N, K), raw scores; `centre` (K,) is taken from the teacher's, a running mean that keeps one
    prototype from winning always. Value >= 0; log K when both are even.

    Args:
        temperature: of the student. teacher_temperature: of the teacher; lower, so that its opinion is sharper.

    >>> scores = torch.zeros(4, 8)
    >>> round(float(SelfDistillation()(scores, scores)), 4)                    # log 8
    2.0794
    """

    formula: ClassVar[str] = (
        "mean_i [ -sum_k softmax_k((g_i - c) / t') log softmax_k(s_i / t) ],  g, c without gradient"
    )
    source: ClassVar[str] = "Caron et al. 2021 (DINO), eq. 2 and 4; facebookresearch/dino main_dino.py"
    use: ClassVar[str] = "a student follows a moving copy of itself; rows are scores with K prototypes"
    compares: ClassVar[str] = "cosine with prototypes"
    near: ClassVar[str] = "the item's row in view 2, the teacher"
    far: ClassVar[str] = "no far rows: the teacher is centred and sharpened"
    cost: ClassVar[str] = "N K scores with K prototypes"
    at_chance: ClassVar[str] = ""

    temperature: float = 0.1
    teacher_temperature: float = 0.04

    def _per_anchor(self, views: tuple[Tensor, ...], centre: Tensor | None, strategy: str | Strategy | None) -> Tensor:
        rows = check_views("SelfDistillation", views)
        if len(rows) != 2 or len(rows[0]) != len(rows[1]):
            raise ValueError(
                f"SelfDistillation needs two views of the same rows, student and teacher, got {[len(r) for r in rows]}"
            )
        student, teacher = rows[0], rows[1].detach()
        with torch.autocast(student.device.type, enabled=False):
            centred = teacher if centre is None else teacher - centre.to(teacher.dtype)
            target = (centred / self.teacher_temperature).softmax(1)
            return self.together(cross_entropy(student / self.temperature, target, reduction="none"), strategy)

    def forward(self, *views: Tensor, centre: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value."""
        return self._per_anchor(views, centre, strategy).mean()

    def inspect(
        self, *views: Tensor, centre: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value of every row."""
        return _inspected(self._per_anchor(views, centre, strategy))


def _inspected(values: Tensor) -> Inspection:
    total = values.mean()
    return Inspection(total, {"prediction": total}, per_anchor=values.detach(), weight=torch.ones_like(values))
