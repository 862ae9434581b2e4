"""What every method is: an encoder, a head, an objective, and how a batch of views becomes a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..contrast import Composition, Objective
from ..data.batch import Batch
from ..training.settings import Settings


@dataclass(frozen=True)
class Contrast:
    """What an objective says of one batch: the loss, its named terms, and the value at chance where there is one."""

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    chance: float | None = None


class MethodOptions(Settings):
    """Options that all methods have."""

    views: int = Field(2, ge=2, le=32, description="views of every item in a batch")
    projection: int = Field(128, ge=1, description="width of the projection, which only the objective sees")
    hidden: int | None = Field(None, ge=1, description="hidden width of the head; the encoder's width when unset")


class Method(nn.Module):
    """Base of all methods. It knows tensors and ids, never what a modality is.

    A subclass says in its class attributes what it is, and in `project` and `contrast` what it does. All that it
    remembers between steps (queues, moving copies, centres) is a buffer or a parameter, so that it is in every
    checkpoint.
    """

    name: ClassVar[str]
    near: ClassVar[str]  # where near pairs come from
    far: ClassVar[str]  # where far pairs come from
    source: ClassVar[str]
    supervised: ClassVar[bool] = False  # needs labels
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    encoder: nn.Module
    objective: Objective

    def __init__(self, encoder: nn.Module, options: MethodOptions) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options
        self._chance: dict[tuple[int, ...], float | None] = {}

    @property
    def width(self) -> int:
        """Width of the embedding."""
        return int(self.encoder.width)  # type: ignore[arg-type]

    def embed(self, rows: Tensor) -> Tensor:
        """What downstream uses: the encoder's output, before the head."""
        embedding: Tensor = self.encoder(rows)
        return embedding

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """Encoder and head on some rows of one view."""
        raise NotImplementedError

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective on the projections of the whole batch, one entry per view."""
        raise NotImplementedError

    def after_step(self, step: int, total_steps: int) -> None:
        """Called after the update of every step: moving copies, queues."""

    def judged(self, *views: Tensor, **how: Any) -> Contrast:
        """The objective on some projections, with its value at chance, which is worked out once per batch shape."""
        shape = (len(views), len(views[0]))
        if shape not in self._chance and isinstance(self.objective, Composition):
            with torch.no_grad():
                self._chance[shape] = self.objective.inspect(*views, **how).chance
        return Contrast(self.objective(*views, **how), chance=self._chance.get(shape))

    def describe(self) -> str:
        """The recipe for people to read: pieces and objective."""
        lines = [
            f"{self.name}: {(type(self).__doc__ or '').strip().splitlines()[0]}",
            f"  near       {self.near}",
            f"  far        {self.far}",
            f"  source     {self.source}",
            f"  options    {', '.join(f'{k}={v}' for k, v in self.options.model_dump().items())}",
            "  objective",
        ]
        return "\n".join(lines + ["    " + line for line in repr(self.objective).splitlines()])
