"""PixPro."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import MomentumCopy, Propagation, cells_of, map_width, projector, ramp
from ..objectives import PixContrast, to_places
from ..objectives import PixPro as Agreement
from .average import averaged
from .method import Contrast, Method, MethodOptions


class PixProOptions(MethodOptions):
    """Options of PixPro."""

    objective: Literal["PixPro", "PixContrast"] = Field(
        "PixPro", description="smoothed cells agree with those of their place, or cells find those of their place"
    )
    projection: int = Field(256, ge=1, description="width of a projected cell, which only the objective sees")
    hidden: int | None = Field(
        512, ge=1, description="hidden width of the head (4096 in the paper); that of a cell when unset"
    )
    reach: float = Field(0.7, gt=0, description="cells are near when so many diagonals of a cell apart, or less")
    gamma: float = Field(2.0, ge=1, description="of the smoothing: the larger, the more alike cells must be")
    temperature: float = Field(0.3, gt=0, description="divides every score of PixContrast")
    momentum: float = Field(0.99, ge=0, le=1, description="of the moving copy at the start")
    momentum_end: float = Field(1.0, ge=0, le=1, description="of the moving copy at the end, reached by half a cosine")


class PixPro(Method):
    """Cells of the feature maps of two crops that show the same place agree with each other.

    encoder -> map before the pooling -> two-layer head for each cell -> cells smoothed by those like them, trained
    towards the projected cells of a moving copy of encoder and head. Where crops were cut says which cells are near.
    Targets are made of whole views; small ones only follow. The directions are averaged, where the official code adds
    them. With PixContrast cells are not smoothed, and are told from the other cells of the picture.
    """

    name = "pixpro"
    near = "cells of another view that show the same place, by a slow copy of the network"
    far = "nothing; with PixContrast the other cells of the same view"
    source = "Xie et al. 2021, Propagate Yourself; zdaxie/PixPro contrast/models/PixPro.py"
    asks = ("with_boxes",)
    Options = PixProOptions

    options: PixProOptions

    def __init__(self, encoder: nn.Module, options: PixProOptions) -> None:
        super().__init__(encoder, options)
        self.cell_width = map_width(encoder)
        self.head = projector(self.cell_width, options.hidden or self.cell_width, options.projection)
        self.target = MomentumCopy(nn.Sequential(self.encoder, self.head))
        smooth = options.objective == "PixPro"
        self.propagation = Propagation(options.projection, options.gamma) if smooth else nn.Identity()
        self.objective = Agreement() if smooth else PixContrast(temperature=options.temperature)

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The mean projected cell, which is watched, the smoothed cells (B, h, w, D), and the copy's as targets."""
        cells = self._cells(self.encoder, self.head, rows)
        with torch.no_grad():
            encoder, head = self.target.module.children()
            target = self._cells(encoder, head, rows)
        return {"projection": cells.mean((1, 2)), "dense": self.propagation(cells), "target": target}

    def _cells(self, encoder: nn.Module, head: nn.Module, rows: Tensor) -> Tensor:
        _, cells = cells_of(encoder, rows, self.cell_width)
        projected: Tensor = head(cells.flatten(0, 2))
        return projected.unflatten(0, cells.shape[:3])

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Every view's cells towards those of every other whole view, where the two show the same place.

        Raises:
            ConfigError: the views do not say where they were cut.
        """
        if batch.boxes is None:
            raise ConfigError(
                f"{self.name} compares places of two crops, and these views do not say where they were cut; leave out "
                "exact"
            )
        boxes = [self.together(box) for box in batch.boxes]
        parts = []
        for i, j in batch.onto_whole():
            cells, target = projections[i]["dense"], projections[j]["target"].detach()
            (h, w), (u, v) = cells.shape[1:3], target.shape[1:3]
            relation = to_places(boxes[i], boxes[j], (h, w), (u, v), self.options.reach, even=self._even)
            parts.append(self.judged(cells.flatten(0, 2), target.flatten(0, 2), relation=relation))
        return averaged(parts)

    @property
    def _even(self) -> bool:
        return self.options.objective == "PixPro"

    def after_step(self, step: int, total_steps: int) -> None:
        """The copy follows, more and more slowly."""
        momentum = ramp(step, total_steps, self.options.momentum, self.options.momentum_end)
        self.target.follow(nn.Sequential(self.encoder, self.head), momentum)
