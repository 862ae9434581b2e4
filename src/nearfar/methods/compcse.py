"""Composition of parts."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..data.batch import Batch
from .simcse import SimCSE, SimCSEOptions


class CompCSEOptions(SimCSEOptions):
    """Options of CompCSE."""

    views: int = Field(3, ge=2, le=32, description="views of every item in a batch: the whole, and its parts")
    compose: Literal["average", "max", "slices"] = Field(
        "average", description="parts to one: their mean, the largest of each channel, or a slice of each side by side"
    )


class CompCSE(SimCSE):
    """An item finds what its own parts are together, composed from their embeddings, among those of the whole batch.

    The first whole view asks; all other views are parts (for texts `recipe=phrases`). Their embeddings are composed
    before the head. With one part that is the whole, it is SimCSE. A narrow `projection`, 256 of 768 in the paper,
    compares a sub-vector.
    """

    name = "compcse"
    near = "the composition of the parts of the same item"
    far = "those of the other items in the batch, and what is given as far"
    source = "Chanchani and Huang 2023, Composition-contrastive Learning; perceptiveshawty/CompCSE"
    Options = CompCSEOptions

    options: CompCSEOptions

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The projection, and the embedding, of which parts are composed."""
        embedding = self.embed(rows)
        return {"projection": self.head(embedding), "embedding": embedding}

    def compared(self, projections: list[Any], batch: Batch) -> tuple[Any, list[Any]]:
        """The projections of whole items, and those of what their parts are together."""
        first, parts = super().compared(projections, batch)
        made = composed(torch.stack([part["embedding"] for part in parts]), self.options.compose)
        return first["projection"], [self.head(made)]


def composed(parts: Tensor, how: str) -> Tensor:
    """(P, B, D) embeddings of P parts as one, (B, D).

    >>> parts = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]])
    >>> [composed(parts, how).tolist() for how in ("average", "max", "slices")]
    [[[2.0, 1.0]], [[3.0, 2.0]], [[1.0, 0.0]]]
    """
    if how == "average":
        return parts.mean(0)
    if how == "max":
        return parts.amax(0)
    slices = [part.tensor_split(len(parts), dim=1)[number] for number, part in enumerate(parts)]
    return torch.cat(slices, 1)
