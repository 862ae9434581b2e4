"""Latent features and labels under long tails."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..contrast import LearnedTemperature
from ..data.batch import Batch
from ..errors import ConfigError, DataError
from ..models import LabelledQueue, MomentumCopy
from ..objectives import GML, by_class_prior
from .average import averaged, weighed
from .labelled import Labelled, LabelledOptions
from .method import Contrast, MethodOptions


class LongTailOptions(LabelledOptions):
    """Options of the method for classes of very unequal size."""

    temperature: float = Field(
        1.0, ge=0.01, le=10, description="divides the scores of keys at the start; it is learned"
    )
    queue: int = Field(4096, ge=1, description="keys that are remembered; 4096 to 65536 in the paper")
    least: int = Field(5, ge=1, description="newest keys of each class that stay in the queue, however rare it is")
    momentum: float = Field(0.99, ge=0, le=1, description="of the key encoder; 0.999 in the code, of longer runs")
    key_weight: float = Field(1.0, ge=0, description="weight of finding the class among keys")
    classifier_weight: float = Field(1.0, ge=0, description="weight of the classifier of embeddings; 0 for none")
    classifier_temperature: float = Field(1 / 30, gt=0, description="divides the cosines of the classifier")
    classes: int | None = Field(None, ge=2, description="how many classes; as many as the data have when unset")

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; the number of classes is that of the data."""
        settled = super().settled(facts, views)
        count = self.classes or len(facts.get("classes", []))
        if count < 2:
            raise ConfigError("the data do not name their classes; say how many there are, such as classes=10")
        if self.queue < count * self.least:
            raise ConfigError(
                f"queue = {self.queue} cannot hold {self.least} keys of each of {count} classes; set queue to at least "
                f"{count * self.least}"
            )
        return settled if self.classes is not None else settled.with_(classes=count)


class LongTail(Labelled):
    """A view finds its class among keys of all classes, each class counting by how frequent it is.

    encoder -> two-layer head -> `GML`: the logit of a class is the log-mean-exp of the scores of its keys, plus the log
    of its prior. Keys are the other views of the batch and a queue that never loses a rare class. The queue holds
    embeddings by a slow copy of the encoder, which the copy of the head projects anew at every step. Beside it stands a
    classifier of the embeddings by cosine, with the same priors. Priors are the shares of the labels seen so far, thus
    those of the sampler. The published code also draws the classifier to that of the copy, and keeps a row's own key
    out of what the temperature learns from; here both are left out.
    """

    name = "gml"
    near = "keys of items with the same label, by a slow copy of the encoder"
    far = "keys of items with another label, in the batch and in a queue that keeps some of every class"
    source = (
        "Suh & Seo 2023, Long-Tailed Recognition by Mutual Information Maximization between Latent Features and "
        "Ground-Truth Labels; bluecdm/Long-tailed-recognition"
    )
    Options = LongTailOptions

    options: LongTailOptions
    seen: Tensor

    def __init__(self, encoder: nn.Module, options: LongTailOptions) -> None:
        super().__init__(encoder, options)
        self.copy, self.copied_head = MomentumCopy(self.encoder), MomentumCopy(self.head)
        self.queue = LabelledQueue(options.queue, self.width, options.least)
        self.objective = GML(temperature=LearnedTemperature(options.temperature))
        self.by_embedding = GML(temperature=options.classifier_temperature)
        self.weights = (
            nn.Parameter(torch.randn(options.classes or 2, self.width)) if options.classifier_weight else None
        )
        self.register_buffer("seen", torch.zeros(options.classes or 2, dtype=torch.long))
        self._new: tuple[Tensor, Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The query, the embedding and, by the copies, the key."""
        embedding = self.encoder(rows)
        copied = self.copy(rows)
        return {
            "projection": self.head(embedding),
            "embedding": embedding,
            "copied": copied,
            "key": self.copied_head(copied),
        }

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """`GML` of every view against the keys of every other whole one and the queue, and the classifier."""
        own = self.labels(batch)
        labels = self.together(own)
        if int(labels.max()) >= len(self.seen):
            raise DataError(f"label {int(labels.max())} has no prior, there are {len(self.seen)}; set classes to more")
        count = self.seen + torch.bincount(labels[labels >= 0], minlength=len(self.seen))
        prior = count.clamp_min(1).to(projections[0]["projection"].dtype) / count.sum().clamp_min(1)
        held, held_labels = (self.part(rows) for rows in self.queue.rows())
        known = self.together(torch.cat([own, held_labels]))
        near = by_class_prior(labels, known, prior)
        again = (
            self.copied_head(held.to(prior.dtype)) if len(self.queue) else held.new_zeros(0, self.options.projection)
        )
        pairs = batch.onto_whole()
        asked = sorted({j for _, j in pairs})
        copied = torch.cat([self.together(projections[j]["copied"]) for j in asked])
        self._new = copied, labels.repeat(len(asked)), count
        found = [
            self.judged(projections[i]["projection"], torch.cat([projections[j]["key"], again]), relation=near)
            for i, j in pairs
        ]
        parts = [("", averaged(found), self.options.key_weight)]
        if self.weights is not None:
            classes = by_class_prior(labels, torch.arange(len(self.seen), device=labels.device), prior)
            said = [
                self.judged_by(self.by_embedding, view["embedding"], self.part(self.weights), relation=classes)
                for view in projections
            ]
            parts.append(("classifier_", averaged(said), self.options.classifier_weight))
        return weighed(parts)

    def after_step(self, step: int, total_steps: int) -> None:
        """The copies follow, keys are remembered and labels counted."""
        self.copy.follow(self.encoder, self.options.momentum)
        self.copied_head.follow(self.head, self.options.momentum)
        if self._new is not None:
            copied, labels, count = self._new
            self.queue.push(copied, labels)
            self.seen.copy_(count)
            self._new = None
