"""A retriever and a judge of pairs, trained in turns."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from ..contrast import Objective, entry
from ..data.batch import Batch
from .method import Contrast, Method, MethodOptions
from .ranker import Ranker, RankerOptions


class AR2Options(MethodOptions):
    """Options of a retriever and a judge in turns."""

    projection: int = Field(0, ge=0, description="width of a layer with tanh before the judge's score; 0 for none")
    temperature: float = Field(0.05, gt=0, description="divides the cosines of the retriever")
    teacher_temperature: float = Field(1.0, gt=0, description="divides the judge's scores where they are taught")
    adversary: float = Field(
        0.5, ge=0, le=1, description="share of the reward for what the judge finds hard; the rest is distillation"
    )
    judge_share: float = Field(
        0.25, gt=0, lt=1, description="share of the updates between two minings in which the judge learns, before"
    )


@entry
class Adversary(Objective):
    """The retriever should give weight to what the judge cannot tell from the partner, and agree with it all the same.

    p is the softmax of the scores s of the own candidates, q that of the judge's scores r, of which no gradient flows:

        value = mean_i [ a sum_j log sigmoid(r_i0 - r_ij) log p_ij - (1 - a) sum_j q_ij log p_ij ]

    Shapes: s, what is there and r, each (B, 1 + K), the partner first; a row that has no other candidate does not
    count. Value >= 0. The first sum, with the partner's own log 1/2, is added up over the batch in the official code.

    >>> scores, there = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    >>> round(float(Adversary(adversary=0.0)(scores, there, torch.tensor([[9.0, 9.0]]))), 4)             # log 2
    0.6931
    """

    compares: ClassVar[str] = "cosine, and a score of both read as one"
    formula: ClassVar[str] = "mean_i [ a sum_j log sigmoid(r_i0 - r_ij) log p_ij - (1 - a) sum_j q_ij log p_ij ]"
    source: ClassVar[str] = "Zhang et al. 2022 (AR2), eq. 5 to 8; microsoft/AR2 AR2/wiki/co_training_wiki_train.py"

    temperature: float = 0.05
    teacher_temperature: float = 1.0
    adversary: float = 0.5

    def forward(self, *views: Tensor, **how: Any) -> Tensor:
        """The scalar value of scores, of what is there, and of the judge's scores."""
        return self.value(self.terms(*views))

    def value(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what `terms` gives."""
        return self.adversary * terms["adversary"] + (1 - self.adversary) * terms["distillation"]

    def terms(self, *views: Tensor) -> dict[str, Tensor]:
        """Both sums, each a mean over rows, and `hard_mass`: the share of candidates that the judge puts before the
        partner in the retriever's weight of all but the partner."""
        scores, there, judged = views
        judged = torch.where(there, judged.detach().float(), 0)
        logs = (scores.float() / self.temperature).masked_fill(~there, -torch.inf).log_softmax(1)
        logs = torch.where(there, logs, 0)
        reward = torch.where(there, logsigmoid(judged[:, :1] - judged), 0)
        wanted = (judged / self.teacher_temperature).masked_fill(~there, -torch.inf).softmax(1)
        others = torch.where(there, logs.detach().exp(), 0)[:, 1:]
        hard = (others * (judged[:, 1:] > judged[:, :1])).sum(1) / others.sum(1).clamp_min(1e-30)
        counted = self.together(there[:, 1:].any(1).to(logs.dtype))
        rows = {"adversary": (reward * logs).sum(1), "distillation": -(wanted * logs).sum(1), "hard_mass": hard}
        return {
            name: (self.together(value) * counted).sum() / counted.sum().clamp_min(1) for name, value in rows.items()
        }


class AR2(Method):
    """A retriever by vectors and a judge that reads both texts learn in turns, each from what the other finds hard.

    Two encoders that start alike. While `judging`, the judge learns to put the partner above the negatives that the
    retriever has found for its anchor, as `Ranker` does; else the retriever learns from the scores that the judge, as
    it is now, gives to the partner and to these negatives: to agree with it, and to give weight to what it finds hard.
    Whose turn it is, what is found, and the judge's scores come from `nearfar.alternating`. The encoder is that of the
    retriever; the judge is thrown away by whoever embeds, and kept for putting found documents in order.
    Source: Zhang et al. 2022 (AR2).
    """

    name = "ar2"
    near = "the given partner"
    far = "the documents that the retriever finds for the same anchor"
    source = "Zhang et al. 2022, Adversarial Retriever-Ranker for Dense Text Retrieval; microsoft/AR2"
    takes_far = True
    mines = True
    asks = ("joint",)
    Options: ClassVar[type[MethodOptions]] = AR2Options

    options: AR2Options
    objective: Adversary
    judging: Tensor

    def __init__(self, encoder: nn.Module, options: AR2Options) -> None:
        super().__init__(encoder, options)
        self.ranker = Ranker(deepcopy(encoder), RankerOptions(**{"projection": options.projection}))
        taught = {name: getattr(options, name) for name in ("temperature", "teacher_temperature", "adversary")}
        self.objective = Adversary(**taught)
        self.register_buffer("judging", torch.tensor(True))

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """The judge's scores of pairs while it learns, else vectors of texts."""
        if self.judging:
            return self.ranker.project(rows)
        vectors: Tensor = self.encoder(rows)
        return vectors

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The judge's own objective, or that of the retriever, whose teacher's scores are the targets of the batch."""
        if self.judging:
            return self.ranker.contrast(projections, batch)
        assert batch.targets is not None
        anchor, *candidates = (normalize(rows.float(), dim=1) for rows in projections)
        scores = (anchor[:, None] * torch.stack(candidates, 1)).sum(2)
        there = torch.stack([batch.given(place) for place in range(1, len(projections))], 1)
        there = there & ~batch.targets.isnan()
        terms = self.objective.terms(scores, there, batch.targets)
        return Contrast(self.objective.value(terms), terms)
