"""Invariance propagation."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..data.batch import Batch
from ..models import LinkedBank, projector
from ..objectives import InfoNCE, SupCon, propagated
from .average import averaged, weighed
from .method import Contrast, Method, MethodOptions


class InvPOptions(MethodOptions):
    """Options of invariance propagation."""

    temperature: float = Field(0.2, gt=0, description="divides every score; 0.07 in the code for many classes")
    links: int = Field(4, ge=1, description="nearest items that each item is linked to")
    walk: int = Field(3, ge=1, le=5, description="steps of a walk over the links; what any step reaches may be near")
    hardest: int = Field(50, ge=1, description="of those reached, the least similar ones that are near; 20 for CIFAR")
    weight: float = Field(0.6, ge=0, description="of finding those reached, beside finding the item itself")
    walk_from: float = Field(
        0.15, ge=0, le=1, description="share of the steps before what is reached counts (30 of 200 epochs in the paper)"
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="how much of an item's vector is kept when it is seen")
    items: int | None = Field(
        None, ge=2, description="vectors of the bank, above the largest id; as the data have when unset"
    )

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; the bank has room for all ids of the data."""
        settled = super().settled(facts, views)
        return settled if self.items is not None else settled.with_(items=facts["largest_id"] + 1)


class InvP(Method):
    """A view finds its own item in a bank of all items, and those that a walk from neighbour to neighbour reaches.

    encoder -> two-layer head -> InfoNCE against a vector of every item of the data; and, once the bank has settled,
    supervised contrast against the same vectors, with those for near that are reached in a few steps over links to
    nearest items and are least similar: alike by transitivity, and far at once. `bank.purity(labels)` says how many of
    them are of the same class. The denominators hold the whole bank, where published ones hold its 4096 nearest; the
    bank takes the mean of an item's whole views, where published code has one view of each.
    """

    name = "invp"
    near = "the item's own vector in a bank, and the least similar ones that a walk over nearest neighbours reaches"
    far = "the vectors of all other items of the data"
    source = (
        "Wang et al. 2020, Unsupervised Representation Learning by Invariance Propagation; WangFeng18/"
        "InvariancePropagation objective.py"
    )
    Options = InvPOptions

    options: InvPOptions
    walking: Tensor

    def __init__(self, encoder: nn.Module, options: InvPOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(self.width, options.hidden or self.width, options.projection)
        items = options.items or options.links + 1
        self.bank = LinkedBank(items, options.projection, options.links, options.momentum)
        self.objective = InfoNCE(temperature=options.temperature)
        self.beyond = SupCon(temperature=options.temperature, average="inside")
        self.register_buffer("walking", torch.tensor(options.walk_from == 0))
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Every view against the bank: first its own item, then those that are reached from it."""
        ids = self.together(batch.ids)
        seen = torch.stack([normalize(projections[j].detach(), dim=1) for j in batch.whole]).mean(0)
        self._new = self.together(seen), ids
        reached = self.bank.walk(ids, self.options.walk)
        return averaged([self._found(view, ids, reached) for view in projections])

    def _found(self, view: Tensor, ids: Tensor, reached: Tensor) -> Contrast:
        everyone, bank = self.together(view.detach()), self.bank.vectors.to(view.dtype)
        own = propagated(everyone, bank, ids, reached, hardest=0)
        itself = self.judged(view, self.part(bank), relation=own)
        if not bool(self.walking):
            return itself
        walked = propagated(everyone, bank, ids, reached, self.options.hardest)
        beyond = self.judged_by(self.beyond, view, self.part(bank), relation=walked)
        return weighed([("", itself, 1.0), ("walk_", beyond, self.options.weight)])

    def after_step(self, step: int, total_steps: int) -> None:
        """Items are linked to what was nearest to them, and their vectors follow."""
        if self._new is not None:
            self.bank.link(*self._new)
            self.bank.follow(*self._new)
            self._new = None
        self.walking.fill_(step + 1 >= self.options.walk_from * total_steps)
