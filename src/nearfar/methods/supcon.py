"""SupCon."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import DataError
from ..models.heads import projector
from ..objectives import SupCon as SupConObjective
from .method import Contrast, Method, MethodOptions


class SupConOptions(MethodOptions):
    """Options of SupCon."""

    temperature: float = Field(0.1, gt=0, description="divides every score")
    average: Literal["outside", "inside", "exclusive"] = Field(
        "outside", description="how several near rows are averaged"
    )


class SupCon(Method):
    """Random views of labelled items: views of one class are near, views of other classes far.

    encoder -> two-layer head -> supervised contrast. Items without a label take no part. Source: Khosla et al. 2020.
    """

    name = "supcon"
    near = "all views of items with the same label"
    far = "all views of items with another label"
    source = "Khosla et al. 2020, Supervised Contrastive Learning"
    supervised = True
    Options = SupConOptions

    def __init__(self, encoder: nn.Module, options: SupConOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(self.width, options.hidden or self.width, options.projection)
        self.objective = SupConObjective(temperature=options.temperature, average=options.average)

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views; rows of one label are near."""
        if batch.labels is None:
            raise DataError("supcon learns from labels and these data have none; use simclr, or name a label column")
        return self.judged(*projections, labels=batch.labels)
