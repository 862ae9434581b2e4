"""Pictures mixed with others whose label they take: with those that contradict a biased encoder, or with any."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import Draws, contradicting, mixed_with, projector
from ..objectives import EasySupCon
from .around import Around, AroundOptions, by_name, without
from .method import Contrast, Method

BIASED = "biased"  # among what a method projects


class MixingOptions(AroundOptions):
    """Mixtures of labelled pictures, for methods that learn from labels."""

    mixing: Literal["contradicting", "random"] | None = Field(
        None, description="labelled pictures with others: with what contradicts a biased encoder, with any, or not"
    )
    mixing_most: float = Field(
        0.5, gt=0, le=1, description="largest share of a picture in its mixture, whose label is that of the other"
    )
    biased_q: float = Field(0.7, gt=0, description="of the biased encoder: a near pair of probability p counts q p^q")
    biased_temperature: float = Field(0.2, gt=0, description="divides the scores of the biased encoder")

    @property
    def asked(self) -> bool:
        """Whether anything is mixed."""
        return self.mixing is not None


class Mixed(Around):
    """A labelled method that learns from mixtures, most of each of them another picture, whose label it takes.

    Partners are those that contradict what a second encoder believes (`contradicting`): by turns, as a draw decides for
    each batch, the picture of the same label that it finds least alike, or of another label that it finds most alike.
    That encoder starts as a copy and learns from the pictures as they are to believe what is easy (`EasySupCon`), views
    and labels as ever. With `random` partners are any (mixup with the label of the larger part) and there is no second
    encoder. The published code leaves out mixing in the first steps; here it begins with the first one (unverified).
    Source: Hwang et al. 2022, SelecMix: Debiased Learning by Contradicting-pair Sampling; bluemoon010/SelecMix.

    Attributes:
        own: (B,) labels of the pictures as they are, of the batch that was prepared last.
    """

    def __init__(self, method: Method, options: MixingOptions) -> None:
        super().__init__(method)
        if not method.supervised:
            raise ConfigError(
                f"mixing gives labels to mixtures, and {method.name} learns from none; take supcon or proxy"
            )
        self.mix = options
        self.biased: nn.Sequential | None = None
        if options.mixing == "contradicting":
            head = projector(method.width, method.width, method.options.projection)
            self.biased = nn.Sequential(deepcopy(method.encoder), head)
            self.easy = EasySupCon(temperature=options.biased_temperature, q=options.biased_q)
        self.draws = Draws()
        self.own: Tensor | None = None

    def believed(self, views: list[Tensor]) -> Tensor:
        """(B, D) what the biased encoder makes of items, the mean over views, without a trace in its norms."""
        assert self.biased is not None
        mode = self.biased.training
        self.biased.eval()
        with torch.no_grad():
            made = torch.stack([normalize(self.biased(view), dim=1) for view in views]).mean(0)
        self.biased.train(mode)
        return made

    def prepare(self, batch: Batch) -> Batch:
        """The mixtures with their labels; where partners contradict, beside the pictures as they are, (B, 2, ...).

        Several processes choose among all their rows, all alike.
        """
        batch = self.method.prepare(batch)
        own = self.method.labels(batch)  # type: ignore[operator]
        labels, ids = self.together(own), self.together(batch.ids)
        generator = self.draws.generator("cpu")
        if self.biased is None:
            partners = torch.randperm(len(labels), generator=generator).to(labels.device)
        else:
            same = bool(torch.rand((), generator=generator) < 0.5)
            partners = contradicting(self.together(self.believed([batch.views[n] for n in batch.whole])), labels, same)
        sizes = self.together(torch.tensor([len(batch)], device=labels.device))
        start = int(sizes[: 0 if self.ranks is None else self.ranks.rank].sum())
        here = slice(start, start + len(batch))
        mixtures = [
            mixed_with(self.together(view), partners, self.mix.mixing_most, generator)[here] for view in batch.views
        ]
        if self.biased is not None:
            mixtures = [torch.stack(pair, 1) for pair in zip(batch.views, mixtures, strict=True)]
        self.own = own
        weights = None if batch.weights is None else self.together(batch.weights)[partners][here]
        taken = ids[partners][here], labels[partners][here]
        return Batch(mixtures, *taken, batch.roles, batch.boxes, weights=weights)

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """What the method projects of the mixtures, and the biased encoder of the pictures as they are."""
        if self.biased is None:
            return self.method.project(rows)
        return {**by_name(self.method.project(rows[:, 1])), BIASED: self.biased(rows[:, 0])}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """That of the method, and what the biased encoder learns from."""
        if self.biased is None:
            return self.method.contrast(projections, batch)
        said = self.method.contrast([without(view, BIASED) for view in projections], batch)
        term = self.easy(*[view[BIASED] for view in projections], labels=self.own)
        return Contrast(said.loss + term, {**said.terms, BIASED: term})

    def after_step(self, step: int, total_steps: int) -> None:
        """The method follows, and other partners are drawn."""
        self.method.after_step(step, total_steps)
        self.draws.after_step(step)

    def describe(self) -> str:
        """The recipe of the method, and the mixtures."""
        return f"{self.method.describe()}\n  mixing     {self.mix.mixing}, up to {self.mix.mixing_most} of a picture"


def with_mixtures(method: Method, options: MixingOptions) -> Method:
    """The method with mixtures, where they are asked for; the method itself where not."""
    return Mixed(method, options) if options.asked else method
