"""Barlow Twins."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..models import projector
from ..objectives import BarlowTwins
from .average import averaged, told
from .method import Contrast, Method, MethodOptions


class BarlowOptions(MethodOptions):
    """Options of Barlow Twins."""

    projection: int = Field(512, ge=1, description="width of the projection (8192 in the paper)")
    hidden: int | None = Field(
        512, ge=1, description="hidden width of the head (8192 in the paper); the encoder's width when unset"
    )
    off_diagonal: float = Field(0.0051, ge=0, description="weight of the correlations between dimensions")
    scale: float = Field(1.0, gt=0, description="multiplies the value; 1 in the official code, 0.1 in solo-learn")


class Barlow(Method):
    """Two views agree in every dimension of the projection, and dimensions do not repeat each other.

    encoder -> three-layer head, wider than the embedding -> the cross-correlation of the views should be the identity.
    No pair is pushed apart and no branch differs from the other; batches may be small. More than two views are compared
    two by two, small ones with whole ones only.
    """

    name = "barlow"
    near = "other views of the same item, dimension by dimension"
    far = "nothing; dimensions are decorrelated"
    source = "Zbontar et al. 2021, Barlow Twins: Self-Supervised Learning via Redundancy Reduction"
    Options = BarlowOptions

    def __init__(self, encoder: nn.Module, options: BarlowOptions) -> None:
        super().__init__(encoder, options)
        hidden = options.hidden or self.width
        self.head = projector(self.width, hidden, options.projection, layers=3, last_bias=False)
        self.objective = BarlowTwins(off_diagonal=options.off_diagonal, scale=options.scale)

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective on every two views of which one is whole."""
        pairs = [(i, j) for i, j in combinations(range(len(projections)), 2) if {i, j} & set(batch.whole)]
        return averaged([told(self.objective.inspect(projections[i], projections[j])) for i, j in pairs])
