"""A judge of pairs: anchor and candidate are read as one."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ..contrast import Objective, entry
from ..data.batch import Batch
from .method import Contrast, Method, MethodOptions


class RankerOptions(MethodOptions):
    """Options of the judge of pairs."""

    projection: int = Field(0, ge=0, description="width of a layer with tanh before the score; 0 for none")
    temperature: float = Field(1.0, gt=0, description="divides every score")


@entry
class OwnList(Objective):
    """Cross-entropy of finding the partner among the candidates that are given with an anchor.

    Scores (B, 1 + K), the partner's first, and which of them are there (B, 1 + K). An anchor that has no other
    candidate does not count. Value >= 0; log(1 + K) for equal scores.

    >>> float(OwnList()(torch.zeros(2, 2), torch.tensor([[True, True], [True, False]])))
    0.6931471824645996
    """

    compares: ClassVar[str] = "a score of both read as one"
    formula: ClassVar[str] = "mean_i [ log sum_k e^(s_ik / t) - s_i0 / t ]"
    source: ClassVar[str] = "Cao et al. 2007 (ListNet, top one), with one relevant candidate; Zhang et al. 2022 (AR2)"

    temperature: float = 1.0

    def forward(self, *views: Tensor, **how: Any) -> Tensor:
        """The scalar value of scores and of what is there."""
        scores, there = views
        scores = (scores.float() / self.temperature).masked_fill(~there, -torch.inf)
        value, counted = self.together(scores.logsumexp(1) - scores[:, 0]), self.together(there[:, 1:].any(1).float())
        return (value * counted).sum() / counted.sum().clamp_min(1)


class Ranker(Method):
    """A pair of texts is read as one and gets a score: what is most exact, and slow, so that few candidates are judged.

    encoder -> layer norm -> linear, or two layers. The first view is an anchor with its partner, which should score
    above further views, with the negatives that are given with the same anchor; other anchors are not compared. What it
    learns is used to order what a search has found, and to say which mined negatives may be near.
    Source: Nogueira and Cho 2019; trained over lists as the ranker of Zhang et al. 2022 (AR2).
    """

    name = "ranker"
    near = "the given partner"
    far = "the negatives that are given with it"
    source = "Nogueira and Cho 2019, Passage Re-ranking with BERT; Zhang et al. 2022, Adversarial Retriever-Ranker"
    takes_far = True
    asks = ("joint",)
    Options: ClassVar[type[MethodOptions]] = RankerOptions

    options: RankerOptions

    def __init__(self, encoder: nn.Module, options: RankerOptions) -> None:
        super().__init__(encoder, options)
        width = options.projection
        self.head = nn.Sequential(nn.Linear(self.width, width), nn.Tanh()) if width else nn.Identity()
        self.judge = nn.Linear(width or self.width, 1, bias=False)
        self.objective = OwnList(temperature=options.temperature)

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The score (B, 1) of each pair, and what it is made of."""
        # By their own spread: scores of vectors of length 1 would all be nearly alike, and hardly learn.
        states = self.encoder(rows)
        projection = self.head(layer_norm(states, states.shape[1:]))
        return {"projection": projection, "score": self.judge(projection)}

    def scored(self, views: Any, pairs: list[tuple[str, str]], batch_size: int = 64) -> np.ndarray:
        """(B,) scores of pairs of texts in evaluation mode, longest pairs together; `views` joins two texts."""
        order = sorted(range(len(pairs)), key=lambda place: len(pairs[place][0]) + len(pairs[place][1]))
        scores, training, device = np.empty(len(pairs)), self.training, self.judge.weight.device
        self.eval()
        try:
            with torch.inference_mode():
                for start in range(0, len(order), batch_size):
                    some = order[start : start + batch_size]
                    tokens = views.pairs([pairs[place][0] for place in some], [pairs[place][1] for place in some])
                    scores[some] = self.project(tokens.to(device))["score"][:, 0].double().cpu().numpy()
        finally:
            self.train(training)
        return scores

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The list of each anchor, its partner first."""
        scores = torch.cat([projection["score"] for projection in projections], 1)
        there = torch.stack([batch.given(place) for place in range(len(projections))], 1)
        counted = self.together(there.sum(1))
        chance = [math.log(count) for count in counted.tolist() if count > 1]
        value = self.objective(scores, there)
        return Contrast(value, {"list": value}, lambda: sum(chance) / len(chance) if chance else None)
