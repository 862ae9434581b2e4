"""Contrastive Tension."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..objectives import ContrastiveTension
from .average import told
from .method import Contrast, Method, MethodOptions


class TensionOptions(MethodOptions):
    """Options of Contrastive Tension."""

    views: int = Field(1, ge=1, le=32, description="views of every item in a batch")
    projection: int = Field(0, ge=0, description="width of a linear layer behind each encoder; none when 0")
    far: int = Field(7, ge=1, description="other items that each item is compared with, beside itself")


class Tension(Method):
    """Two encoders that start alike, and share no weights, tell by the product of their vectors who saw the same item.

    No head, no temperature; the logistic losses of all pairs are added up, so that a rate fits one batch size. One
    encoder sees the first view, the other the last one, which may be the same; item i is far from items i + 1 to
    i + `far` of the batch, in the random order in which they come, where the paper draws them. The other one is kept.
    """

    name = "tension"
    near = "the same item, by another encoder"
    far = "some other items of the batch, by another encoder"
    source = "Carlsson et al. 2021, Semantic Re-tuning with Contrastive Tension; UKPLab/sentence-transformers"
    Options: ClassVar[type[MethodOptions]] = TensionOptions

    options: TensionOptions

    def __init__(self, encoder: nn.Module, options: TensionOptions) -> None:
        super().__init__(encoder, options)
        out = options.projection
        self.head: nn.Module = nn.Linear(self.width, out) if out else nn.Identity()
        self.other = deepcopy(nn.Sequential(encoder, self.head))
        self.objective = ContrastiveTension()

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """What both encoders make of the rows."""
        return {"projection": self.head(self.encoder(rows)), "other": self.other(rows)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The logistic loss of all pairs."""
        # Every process has all rows by now, and pairs them alike.
        asking, kept = self.together(projections[0]["other"]), self.together(projections[-1]["projection"])
        ids = self.together(batch.ids)
        first, second, same = [], [], []
        for shift in range(min(self.options.far, len(ids) - 1) + 1):
            partner = kept.roll(-shift, 0)
            met = torch.full((len(ids),), float(shift == 0), device=ids.device)
            if shift:
                met = met.masked_fill(ids == ids.roll(-shift), torch.nan)  # the same item, which came twice
            first.append(asking)
            second.append(partner)
            same.append(met)
        pairs = torch.cat(first), torch.cat(second)
        return told(self.objective.inspect(*pairs, targets=torch.cat(same), strategy="auto"))
