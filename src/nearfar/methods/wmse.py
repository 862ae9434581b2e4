"""W-MSE."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import projector
from ..objectives import WMSE as WMSEObjective
from .average import averaged, told
from .method import Contrast, Method, MethodOptions


class WMSEOptions(MethodOptions):
    """Options of W-MSE."""

    projection: int = Field(64, ge=1, description="width of the projection; at most half the rows of a block")
    hidden: int | None = Field(
        512, ge=1, description="hidden width of the head (1024 in the paper); the encoder's width when unset"
    )
    block: int | None = Field(
        None, ge=2, description="rows that are whitened together (128 in the paper); the whole batch when unset"
    )
    rounds: int = Field(1, ge=1, description="partitions of a batch into blocks that are averaged; 4 for larger data")
    eps: float = Field(1e-4, ge=0, lt=1, description="share of the identity in a covariance; 0 in the official code")


class WMSE(Method):
    """Views are whitened over the batch, which scatters them, and then only pulled together.

    encoder -> two-layer head -> whitening by Cholesky -> squared distance of unit rows, over all pairs of views. The
    rows of a batch come in random order, so the first partition into blocks takes them as they stand.
    """

    name = "wmse"
    near = "other views of the same item, after whitening"
    far = "nothing; whitening scatters the batch"
    source = "Ermolov et al. 2021, Whitening for Self-Supervised Representation Learning; htdt/self-supervised"
    Options = WMSEOptions

    options: WMSEOptions

    def __init__(self, encoder: nn.Module, options: WMSEOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(self.width, options.hidden or self.width, options.projection)
        self.objective = WMSEObjective(block=options.block, eps=options.eps)

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective on all views, once for each partition."""
        views = [self.together(view) for view in projections]
        n = len(views[0])
        count, width = min(self.options.block or n, n), self.options.projection
        if count <= width:
            raise ConfigError(
                f"wmse whitens {count} rows together, which says nothing about a projection of width {width}: set "
                f"projection to {max(1, count // 2)} or less, or batch_size or block to {2 * width} or more"
            )
        # Every process has all rows by now, and whitens them in the blocks that the first one drew.
        parts = [told(self.objective.inspect(*views, strategy="auto"))]
        for _ in range(1, self.options.rounds):
            order = self.together(torch.randperm(n).to(batch.ids.device))[:n]
            parts.append(told(self.objective.inspect(*(view[order] for view in views), strategy="auto")))
        return averaged(parts)
