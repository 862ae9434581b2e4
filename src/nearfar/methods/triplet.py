"""Triplets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from ..objectives import TripletAll, TripletHard, TripletSemiHard
from .labelled import Labelled, LabelledOptions


class TripletOptions(LabelledOptions):
    """Options of the triplet method."""

    objective: Literal["TripletHard", "TripletSemiHard", "TripletAll"] = Field(
        "TripletSemiHard", description="which triplets count; TripletHard in Hermans et al."
    )
    margin: float | None = Field(
        0.2, gt=0, description="by how much far should be farther than near; null: a soft margin (softplus)"
    )

    @model_validator(mode="after")
    def _has_margin(self) -> TripletOptions:
        if self.objective == "TripletSemiHard" and self.margin is None:
            raise ValueError("TripletSemiHard has no soft margin; set a margin such as 0.2, or another objective")
        return self


class Triplet(Labelled):
    """Random views of labelled items: those of one class should be closer than any of another class.

    encoder -> two-layer head -> triplets among all views of the batch, by default each near pair with the nearest far
    row that is still farther. Items without a label take no part. A batch should hold several items of each class, as
    `rows_per_class` sees to. With the hardest triplets all rows equal is a trap: unit rows of classes that overlap were
    seen to stay there.
    """

    name = "triplet"
    near = "all views of items with the same label"
    far = "all views of items with another label"
    source = "Hermans et al. 2017, In Defense of the Triplet Loss; Schroff et al. 2015, FaceNet"
    Options = TripletOptions

    def __init__(self, encoder: nn.Module, options: TripletOptions) -> None:
        super().__init__(encoder, options)
        if options.margin is None:
            self.objective = (TripletAll if options.objective == "TripletAll" else TripletHard)(soft=True)
        else:
            kinds = {"TripletHard": TripletHard, "TripletSemiHard": TripletSemiHard, "TripletAll": TripletAll}
            self.objective = kinds[options.objective](margin=options.margin)
