"""WhitenedCSE."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import Draws, group_whiten
from ..objectives import InfoNCE
from .average import averaged
from .method import Contrast, Method, MethodOptions


class WhitenedCSEOptions(MethodOptions):
    """Options of WhitenedCSE."""

    views: int = Field(3, ge=2, le=32, description="views of every item in a batch")
    projection: int = Field(0, ge=0, description="width of the head; that of the encoder when 0")
    temperature: float = Field(0.05, gt=0, description="divides every score")
    group: int = Field(
        6, ge=1, description="channels that are whitened together, drawn anew for each view; fewer than rows in a batch"
    )


class WhitenedCSE(Method):
    """Each view is whitened over the batch in random groups of channels, and finds the first one among all items.

    encoder -> whitening in groups -> linear layer and tanh, thrown away afterwards -> InfoNCE of the first view against
    each other one, averaged, where the published code sums. The groups make views differ beside their dropout. With
    groups of one channel, or one group of all, they do not.
    """

    name = "whitenedcse"
    near = "other views of the same item, whitened in other groups of channels"
    far = "views of the other items in the batch"
    source = "Zhuo et al. 2023, WhitenedCSE; SupstarZh/WhitenedCSE"
    Options: ClassVar[type[MethodOptions]] = WhitenedCSEOptions

    options: WhitenedCSEOptions

    def __init__(self, encoder: nn.Module, options: WhitenedCSEOptions) -> None:
        super().__init__(encoder, options)
        self.head = nn.Sequential(nn.Linear(self.width, options.projection or self.width), nn.Tanh())
        self.objective = InfoNCE(temperature=options.temperature)
        self.draws = Draws()

    def project(self, rows: Tensor) -> Tensor:
        """The encoder alone; head and whitening are for whole batches."""
        return self.embed(rows)

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Whitening and head, and InfoNCE of the first view against each other one."""
        first, others = batch.whole[0], [n for n in range(len(batch.views)) if n != batch.whole[0]]
        if not others:
            raise ConfigError("whitenedcse needs two views of every item: two columns, or views=2")
        generator = self.draws.generator("cpu")
        views = {}
        for number in (first, *others):
            order = torch.randperm(self.width, generator=generator).to(batch.ids.device)
            # Every process has all rows by now, and whitens them in the groups that all of them drew.
            views[number] = self.head(group_whiten(self.together(projections[number]), self.options.group, order))
        ids = self.together(batch.ids)
        return averaged([self.judged(views[first], views[n], ids=ids, strategy="auto") for n in others])

    def after_step(self, step: int, total_steps: int) -> None:
        """Other groups from now on."""
        self.draws.after_step(step)
