"""Distillation: a student learns the vectors of a teacher."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from ..contrast import LearnedTemperature
from ..data.batch import Batch
from ..errors import ConfigError, DataError
from ..models import Queue
from ..objectives import InfoNCE
from .average import averaged, weighed
from .method import Contrast, Method, MethodOptions


class DistilOptions(MethodOptions):
    """Options of distillation."""

    views: int = Field(1, ge=1, le=32, description="views of every item in a batch")
    projection: int = Field(128, ge=1, description="width of the teacher's vectors, which the teacher decides")
    teacher: str | None = Field(
        None, description="a run, an encoder by name, or a file of vectors by row (.npy, .npz of nearfar embed)"
    )
    keep: bool = Field(
        True,
        description="the teacher's vectors of all rows are made once, into the run folder; else anew for every batch",
    )
    head: Literal["auto", "linear", "none"] = Field(
        "auto", description="from the embedding to the teacher's width; auto: a linear layer where they differ"
    )
    temperature: float = Field(0.05, ge=0.01, le=10, description="divides every score; at the start if it is learned")
    learned: bool = Field(True, description="whether the temperature is learned")
    queue: int = Field(4096, ge=0, description="earlier vectors of the teacher that are far too; 65536 in the paper")
    contrast_weight: float = Field(1.0, ge=0, description="weight of finding the teacher's vector among all others")
    mse_weight: float = Field(
        0.0, ge=0, description="weight of the mean squared difference from it; alone with contrast_weight=0"
    )

    @model_validator(mode="after")
    def _learns(self) -> DistilOptions:
        if not (self.contrast_weight or self.mse_weight):
            raise ConfigError("contrast_weight and mse_weight are both 0, so nothing is learned; set one of them")
        return self

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; there is a teacher."""
        if self.teacher is None:
            raise ConfigError("distil learns from a teacher; say which one: teacher=RUN, an encoder or a file")
        return super().settled(facts, views)


class Distil(Method):
    """A student finds the vector of its teacher for an item among the teacher's vectors of many items.

    encoder -> linear layer to the teacher's width, where that is another -> InfoNCE against the teacher's vectors of
    the batch and a queue of earlier ones. The teacher is fixed: another encoder, whatever its kind, which sees every
    item as it is; only its vectors come here (`Batch.taught`). Beside the contrast, or alone, stands the mean squared
    difference of projection and vector, as they are. The usual second stage is any other method that starts from the
    run.
    """

    name = "distil"
    near = "the teacher's vector of the same item"
    far = "the teacher's vectors of other items, in the batch and in a queue of earlier batches"
    source = "Gao et al. 2021, DistilCSE: Effective Knowledge Distillation for Contrastive Sentence Embeddings"
    taught: ClassVar[bool] = True
    Options: ClassVar[type[MethodOptions]] = DistilOptions

    options: DistilOptions

    def __init__(self, encoder: nn.Module, options: DistilOptions) -> None:
        super().__init__(encoder, options)
        out = options.projection
        if options.head == "none" and out != self.width:
            raise ConfigError(
                f"the teacher's vectors have width {out} and the student's {self.width}; leave out head = none"
            )
        linear = options.head == "linear" or out != self.width
        self.head: nn.Module = nn.Linear(self.width, out) if linear else nn.Identity()
        learned = options.learned and options.contrast_weight > 0
        temperature = LearnedTemperature(options.temperature) if learned else options.temperature
        self.objective = InfoNCE(temperature=temperature)
        self.queue = Queue(options.queue, out) if options.queue and options.contrast_weight else None
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The contrast with the teacher's vectors, the squared difference, or both, averaged over views.

        Raises:
            DataError: the batch brings no vectors of a teacher, or some of another width or for other parts.
        """
        taught = self._taught(batch, len(projections))
        keys = [normalize(part, dim=1) for part in taught.unbind(1)]
        if self.queue is not None:
            every = torch.cat([self.together(part) for part in keys])
            self._new = every, self.together(batch.ids).repeat(len(keys))
        last = len(keys) - 1
        return averaged(
            [self._met(view, taught[:, min(k, last)], keys[min(k, last)], batch) for k, view in enumerate(projections)]
        )

    def after_step(self, step: int, total_steps: int) -> None:
        """The teacher's vectors are remembered."""
        if self._new is not None and self.queue is not None:
            self.queue.push(*self._new)
            self._new = None

    def _met(self, projection: Tensor, taught: Tensor, key: Tensor, batch: Batch) -> Contrast:
        options, parts = self.options, []
        if options.contrast_weight:
            far, far_ids = (key[:0], batch.ids[:0]) if self.queue is None else self.queue.rows()
            far, far_ids = self.part(far).to(key), self.part(far_ids)
            said = self.judged(projection, key, negatives=far, ids=batch.ids, negative_ids=far_ids)
            parts.append(("", said, options.contrast_weight))
        if options.mse_weight:
            # Every process has all rows by now, and computes the same.
            apart = mse_loss(self.together(projection), self.together(taught))
            parts.append(("", Contrast(apart, {"mse": apart}), options.mse_weight))
        return weighed(parts)

    def _taught(self, batch: Batch, views: int) -> Tensor:
        """(B, P, D) of the teacher, as the projections are."""
        if batch.taught is None:
            raise DataError("distil learns from vectors of a teacher, and this batch has none; set Batch.taught")
        _, parts, width = batch.taught.shape
        if width != self.options.projection or parts not in (1, views):
            raise DataError(
                f"the teacher has {parts} vectors of width {width} for each item; for {views} views of width "
                f"{self.options.projection} it has one, or {views}"
            )
        return batch.taught.detach().to(next(self.parameters()).dtype)
