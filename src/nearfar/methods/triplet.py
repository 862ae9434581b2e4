"""Triplets."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..contrast import LearnedBias
from .compared import Compared, ComparedOptions


class TripletOptions(ComparedOptions):
    """Options of the triplet method."""

    objective: str = Field(
        "TripletSemiHard",
        description="which triplets or pairs count: TripletHard (Hermans et al.), TripletAll, BoundaryMargin, ...",
    )
    margin: float | None = Field(
        None, gt=0, description="by how much far should be farther than near; as the objective has it when unset, 0.2"
    )
    soft: bool = Field(False, description="softplus in place of a margin, of TripletAll and TripletHard")
    boundary: float | None = Field(
        None, gt=0, description="of BoundaryMargin: learn the distance that tells near from far, from this one on"
    )

    def arguments(self) -> dict[str, Any]:
        """See `ComparedOptions`."""
        boundary = None if self.boundary is None else LearnedBias(self.boundary)
        return {"margin": self.margin, "soft": self.soft or None, "boundary": boundary}


class Triplet(Compared):
    """Random views of labelled items: those of one class should be closer than any of another class.

    encoder -> two-layer head -> triplets among all views of the batch, by default each near pair with the nearest far
    row that is still farther. Items without a label take no part. A batch should hold several items of each class, as
    `rows_per_class` sees to. With the hardest triplets all rows equal is a trap: unit rows of classes that overlap were
    seen to stay there. With `far_drawn` far rows are drawn by their distance, as Wu et al. do for `BoundaryMargin`.
    """

    name = "triplet"
    near = "all views of items with the same label"
    far = "all views of items with another label"
    source = (
        "Hermans et al. 2017, In Defense of the Triplet Loss; Schroff et al. 2015, FaceNet; Wu et al. 2017, Sampling "
        "Matters; Wang et al. 2020, Cross-Batch Memory"
    )
    Options = TripletOptions
