"""Triplets."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..contrast import LearnedBias, NegativeSquaredEuclidean
from ..objectives import TripletAll, TripletBand, TripletEasyHard, TripletHard, TripletSemiHard
from .compared import Compared, ComparedOptions

_TRIPLETS = (TripletAll, TripletBand, TripletEasyHard, TripletHard, TripletSemiHard)


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

    @property
    def watched_margin(self) -> tuple[float, bool] | None:
        """By how much far rows should be farther than near ones, and whether in squared distance; None if softly.

        While it learns, the log then says of every batch how large it is beside the margin and how many triplets
        violate it, and warns when all rows have come together.
        """
        objective = self.objective
        if not isinstance(objective, _TRIPLETS) or getattr(objective, "soft", False):
            return None
        return float(objective.margin), isinstance(objective.similarity, NegativeSquaredEuclidean)
