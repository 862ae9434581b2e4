"""What methods have in common that compare labelled rows with each other: any objective, a memory, drawn far rows."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from ..contrast import Composition, Objective
from ..data.batch import Batch
from ..errors import ConfigError
from ..models import Queue
from ..objectives import catalogue, sampled_far
from .labelled import Labelled, LabelledOptions, built
from .method import Contrast, MethodOptions


def over_rows() -> list[str]:
    """Names of the objectives that compare labelled rows with each other."""
    return [n for n, e in catalogue().items() if issubclass(e, Composition) and e.layout == "joint" and e.supervised]


class ComparedOptions(LabelledOptions):
    """Options of the methods that compare labelled rows with each other."""

    objective: str
    memory: int = Field(
        0, ge=0, description="rows of earlier batches, with their labels, that are candidates too; none by default"
    )
    memory_from: int = Field(0, ge=0, description="steps after which rows are remembered: before, they change too fast")
    far_drawn: int | None = Field(None, ge=1, description="far rows drawn for each row of a batch; all when unset")
    drawn_by: Literal["distance", "uniform"] = Field(
        "distance", description="how far rows are drawn: near and far distances alike often, or all rows alike"
    )

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in over_rows():
            raise ConfigError(f"there is no objective {name!r} over labelled rows; there are {', '.join(over_rows())}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> ComparedOptions:
        if self.memory and self.far_drawn:
            raise ValueError("far rows are drawn from the batch alone; leave out memory or far_drawn")
        self.made()
        return self

    def arguments(self) -> dict[str, Any]:
        """What these options say of the objective; None leaves it to the objective."""
        return {}

    def made(self) -> Objective:
        """The objective that these options say."""
        return built(self.objective, **self.arguments())


class Compared(Labelled):
    """Base of the methods that compare labelled rows with each other.

    With `memory`, projections of earlier batches are candidates too, without gradient (cross-batch memory). The rows of
    the batch itself stay candidates with their gradient, where the published code lets them in as remembered ones.
    """

    Options: ClassVar[type[MethodOptions]] = ComparedOptions

    options: ComparedOptions
    steps: Tensor

    def __init__(self, encoder: nn.Module, options: ComparedOptions) -> None:
        super().__init__(encoder, options)
        self.objective = options.made()
        self.memory = Queue(options.memory, options.projection or self.width) if options.memory else None
        if options.far_drawn:
            self.register_buffer("steps", torch.tensor(0))
        self._new: tuple[Tensor, Tensor] | None = None

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views and what is remembered; rows of one label are near."""
        labels = self.labels(batch)
        if self.options.far_drawn:
            return self._drawn(torch.cat(projections), labels.repeat(len(projections)))
        if self.memory is None:
            return self.judged(*projections, labels=labels)
        held, held_labels = (self.part(rows) for rows in self.memory.rows())
        rows = [self.together(projection.detach()) for projection in projections]
        self._new = torch.cat(rows), self.together(labels).repeat(len(projections))
        if not len(self.memory):
            return self.judged(*projections, labels=labels)
        return self.judged(*projections, labels=labels, negatives=held, negative_ids=held_labels)

    def _drawn(self, rows: Tensor, labels: Tensor) -> Contrast:
        # Every step draws anew, in all processes alike, and the same again after an interruption.
        generator = torch.Generator(rows.device).manual_seed(int(self.steps))
        drawn = self.options.far_drawn or 1
        everyone, known = self.together(rows.detach()), self.together(labels)
        relation = sampled_far(everyone, known, drawn, by=self.options.drawn_by, generator=generator)
        return self.judged(rows, relation=relation)

    def after_step(self, step: int, total_steps: int) -> None:
        """The rows of the batch are remembered."""
        if self.options.far_drawn:
            self.steps.fill_(step + 1)
        if self.memory is not None and self._new is not None and step + 1 >= self.options.memory_from:
            self.memory.push(*self._new)
        self._new = None
