"""VICReg."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import projector
from ..objectives import VICReg as VICRegObjective
from .average import averaged, told
from .method import Contrast, Method, MethodOptions


class VICRegOptions(MethodOptions):
    """Options of VICReg."""

    projection: int = Field(512, ge=1, description="width of the projection (8192 in the paper)")
    hidden: int | None = Field(
        512, ge=1, description="hidden width of the head (8192 in the paper); the encoder's width when unset"
    )
    invariance: float = Field(25.0, ge=0, description="weight of the distance between views")
    variance: float = Field(25.0, ge=0, description="weight of the spread that every dimension should keep")
    covariance: float = Field(1.0, ge=0, description="weight of the covariances between dimensions")
    form: Literal["official", "paper"] = Field("official", description="as in the code, or as in the paper")


class VICReg(Method):
    """Two views agree, while every view keeps its spread and its dimensions stay uncorrelated.

    encoder -> three-layer head, wider than the embedding -> variance, invariance and covariance. Each view is judged on
    its own, so nothing is pushed apart and no branch differs from the other. More than two views are compared two by
    two, small ones with whole ones only.
    """

    name = "vicreg"
    near = "other views of the same item"
    far = "nothing; every dimension keeps its spread"
    source = "Bardes et al. 2022, VICReg: Variance-Invariance-Covariance Regularization; facebookresearch/vicreg"
    Options = VICRegOptions

    def __init__(self, encoder: nn.Module, options: VICRegOptions) -> None:
        super().__init__(encoder, options)
        hidden = options.hidden or self.width
        self.head = projector(self.width, hidden, options.projection, layers=3, last_bias=False)
        self.objective = VICRegObjective(
            invariance=options.invariance, variance=options.variance, covariance=options.covariance, form=options.form
        )

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective on every two views of which one is whole."""
        pairs = [(i, j) for i, j in combinations(range(len(projections)), 2) if {i, j} & set(batch.whole)]
        return averaged([told(self.objective.inspect(projections[i], projections[j])) for i, j in pairs])
