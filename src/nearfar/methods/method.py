"""What every method is: an encoder, a head, an objective, and how a batch of views becomes a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..contrast import Composition, Objective, Strategy
from ..contrast.ranks import Ranks
from ..data.batch import Batch
from ..data.sampling import BoundSampler, EpochSampler, PlannedSampler
from ..data.source import Source
from ..errors import ConfigError
from ..models import average_gradients, share_norms
from ..settings import Settings


@dataclass(frozen=True)
class Contrast:
    """What an objective says of one batch: the loss, its named terms, and the value at chance where there is one.

    Over several processes all three are of the whole batch, the same on each; whoever asks for `chance`, all must.
    """

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    at_chance: Callable[[], float | None] | None = None

    @property
    def chance(self) -> float | None:
        """The value at chance for this very batch, worked out when asked for, which only the log does."""
        return None if self.at_chance is None else self.at_chance()


class MethodOptions(Settings):
    """Options that all methods have."""

    views: int = Field(2, ge=2, le=32, description="views of every item in a batch")
    projection: int = Field(128, ge=1, description="width of the projection, which only the objective sees")
    hidden: int | None = Field(None, ge=1, description="hidden width of the head; the encoder's width when unset")

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """These options with what the data decide filled in, as they then stand in the configuration of a run.

        Args:
            facts: what `Source.describe()` says of the data.
            views: how many views the settings of the modality ask for; None where they leave it open.

        Raises:
            ConfigError: something was set that does not fit; the message names it.
        """
        if views is None or views == self.views:
            return self
        if "views" in self.model_fields_set:
            raise ConfigError(f"views = {self.views}, but crops ask for {views}; leave out one of them")
        return self.with_(views=views)

    def for_batch(self, size: int) -> MethodOptions:
        """These options with what a batch of so many items decides, where nobody has set it."""
        return self

    def with_(self, **values: Any) -> MethodOptions:
        """The same options with other values, checked."""
        return type(self)(**{**self.model_dump(), **values})


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
    asks: ClassVar[tuple[str, ...]] = ()  # what views must offer beyond themselves, by the name of the attribute
    contrasts: bool = True  # whether its loss compares rows, and not only says the data again
    takes_far: ClassVar[bool] = False  # has a use for views of the role "far"
    taught: ClassVar[bool] = False  # learns from the vectors of a teacher, its option `teacher`
    weighs: ClassVar[bool] = False  # counts items as much as `Batch.weights` says
    mines: ClassVar[bool] = False  # finds them itself while it learns
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    encoder: nn.Module
    objective: Objective

    def __init__(self, encoder: nn.Module, options: MethodOptions) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options

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

    def order(self, rows: Tensor) -> Tensor | None:
        """Lengths of rows, where the encoder tells them: rows of similar ones cost less in one micro-batch."""
        lengths: Callable[[Tensor], Tensor] | None = getattr(self.encoder, "lengths", None)
        return None if lengths is None else lengths(rows)

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective on the projections of the whole batch, one entry per view."""
        raise NotImplementedError

    def spread(self, strategy: str | Strategy = "ring") -> Method:
        """Share every batch from now on with the other processes of a group of torch.distributed; returns itself.

        Before the first step all of them call it, with equal weights, as the same seed gives; it sends nothing yet:

            method.spread("ring")                                   # or "gathered"
            projections = [method.project(view) for view in views]  # views, ids, labels of this process's own rows
            method.contrast(projections, batch).loss.backward()     # the value of the whole batch, on every process
            method.average_gradients()                              # or DDP or FSDP around the step
            optimiser.step()
            method.after_step(step, total_steps)

        The rows of a batch are dealt as one share after the other in order of rank, in any numbers; all processes make
        all of these calls. W processes then get what one process gets from all rows: losses, gradients, running
        statistics, queues and centres, up to rounding, and the same bits on each. Random numbers are their own affair:
        where the encoder draws some (dropout), W processes do not draw those of one. With micro-batches batch norm sees
        the k-th ones of all processes together, so that all must have as many of them.

        Args:
            strategy: "ring", "gathered" or a `Strategy` of either kind with its group.

        Raises:
            ValueError: another strategy. ConfigError: a norm of the encoder cannot be shared, see `share_norms`.
        """
        chosen = Strategy.of(strategy)
        if not chosen.spread:
            raise ValueError(f"over several processes the strategy is 'ring' or 'gathered', not {chosen.kind!r}")
        for part in list(self.modules()):
            for name, child in list(part.named_children()):
                if isinstance(child, Objective):
                    setattr(part, name, child.replace(strategy=chosen))
        share_norms(self, chosen.group)
        return self

    def average_gradients(self) -> None:
        """After the backward pass, give every process the gradients of the whole batch; nothing to do for one alone."""
        if self.ranks is not None:
            average_gradients(self, self.ranks.group)

    @property
    def ranks(self) -> Ranks | None:
        """The processes that share every batch; None where this one is alone."""
        strategy = self.objective.chosen()
        return Ranks(strategy.group) if strategy.spread else None

    def together(self, rows: Tensor) -> Tensor:
        """The rows of all processes that share the batch, in order; of this one where it is alone."""
        return self.objective.together(rows)

    def part(self, rows: Tensor) -> Tensor:
        """This process's part of rows that all hold, such as a queue, to be handed to the objective; else all rows."""
        ranks = self.ranks
        return rows if ranks is None else rows.tensor_split(ranks.world)[ranks.rank]

    def sampler(self, source: Source, batch_size: int, seed: int) -> EpochSampler | PlannedSampler | BoundSampler:
        """Which rows of the data a step sees: every row once per epoch, in random order."""
        return EpochSampler(len(source), batch_size, seed)

    def prepare(self, batch: Batch) -> Batch:
        """What is made of a batch on the device before its views are projected; by most methods nothing."""
        return batch

    def after_step(self, step: int, total_steps: int) -> None:
        """Called after the update of every step: moving copies, queues."""

    def judged(self, *views: Tensor, **how: Any) -> Contrast:
        """The objective on some projections, with its value at chance: who is near whom decides it, batch by batch."""
        return self.judged_by(self.objective, *views, **how)

    def judged_by(self, objective: Objective, *views: Tensor, **how: Any) -> Contrast:
        """The same by another objective than the first of the method."""
        held = [view.detach() for view in views]

        def at_chance() -> float | None:
            with torch.no_grad():
                return objective.inspect(*held, **how).chance if isinstance(objective, Composition) else None

        if isinstance(objective, Composition):
            terms = objective.terms(*views, **how)
            return Contrast(torch.stack(list(terms.values())).sum(), terms, at_chance)
        return Contrast(objective(*views, **how), at_chance=at_chance)

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
