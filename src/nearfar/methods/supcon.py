"""SupCon."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .compared import Compared, ComparedOptions


class SupConOptions(ComparedOptions):
    """Options of SupCon."""

    objective: str = Field(
        "SupCon", description="what pulls and pushes: SupCon, Circle, MultiSimilarity, LiftedStructure, FastAP, ..."
    )
    temperature: float | None = Field(
        None, gt=0, description="divides every score; as the objective has it when unset, 0.1 for SupCon"
    )
    average: str | None = Field(
        None, description="how several near rows are averaged where that is open: SupCon outside, inside, exclusive"
    )

    def arguments(self) -> dict[str, Any]:
        """See `ComparedOptions`."""
        return {"temperature": self.temperature, "average": self.average}


class SupCon(Compared):
    """Random views of labelled items: views of one class are near, views of other classes far.

    encoder -> two-layer head -> supervised contrast, or another objective over labelled rows. Items without a label
    take no part. Source: Khosla et al. 2020.
    """

    name = "supcon"
    near = "all views of items with the same label"
    far = "all views of items with another label"
    source = "Khosla et al. 2020, Supervised Contrastive Learning; Wang et al. 2020 for the memory"
    Options = SupConOptions
