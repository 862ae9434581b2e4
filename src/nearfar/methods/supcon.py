"""SupCon."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from ..objectives import SupCon as SupConObjective
from .labelled import Labelled, LabelledOptions


class SupConOptions(LabelledOptions):
    """Options of SupCon."""

    temperature: float = Field(0.1, gt=0, description="divides every score")
    average: Literal["outside", "inside", "exclusive"] = Field(
        "outside", description="how several near rows are averaged"
    )


class SupCon(Labelled):
    """Random views of labelled items: views of one class are near, views of other classes far.

    encoder -> two-layer head -> supervised contrast. Items without a label take no part. Source: Khosla et al. 2020.
    """

    name = "supcon"
    near = "all views of items with the same label"
    far = "all views of items with another label"
    source = "Khosla et al. 2020, Supervised Contrastive Learning"
    Options = SupConOptions

    def __init__(self, encoder: nn.Module, options: SupConOptions) -> None:
        super().__init__(encoder, options)
        self.objective = SupConObjective(temperature=options.temperature, average=options.average)
