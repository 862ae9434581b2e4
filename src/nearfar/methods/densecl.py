"""DenseCL."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..data.batch import Batch
from ..models import MomentumCopy, Queue, cells_of, map_width, projector
from ..objectives import best_matches
from .average import averaged, weighed
from .method import Contrast
from .moco import MoCo, MoCoOptions


class DenseCLOptions(MoCoOptions):
    """Options of DenseCL."""

    share: float = Field(0.5, ge=0, le=1, description="of the loss of cells; the rest is that of whole views, MoCo's")
    far_cells: Literal["queue", "batch"] = Field(
        "queue",
        description="what cells are told from: queue, mean cells of earlier views; batch, all cells of the other items",
    )


class DenseCL(MoCo):
    """MoCo of whole views and, beside it, of the cells of their feature maps, so that maps tell places apart.

    The map before the pooling has a head of its own, a two-layer one for each cell. A cell's near one is the cell of
    the other view whose features, before the head, are most like its own; it is told from a second queue, of the mean
    projected cells of earlier views, or, as in DenseCL++, from all cells of the other items of the batch (of the other
    view; the reading of far cells in DenseCL++ is reconstructed). The official code asks one way.
    """

    name = "densecl"
    near = "as moco; for a cell, the most similar cell of the other view, by a slow copy of the encoder"
    far = "as moco; for a cell, mean cells of earlier views, or the cells of other items"
    source = "Wang et al. 2021, Dense Contrastive Learning; Iskender et al. 2022; WXinlong/DenseCL models/densecl.py"
    weighs = False
    asks = ("with_boxes",)  # only what has places has cells
    Options = DenseCLOptions

    options: DenseCLOptions

    def __init__(self, encoder: nn.Module, options: DenseCLOptions) -> None:
        super().__init__(encoder, options)
        width = map_width(encoder)
        self.cell_width = width
        self.dense = projector(width, options.hidden or width, options.projection, norm="none")
        self.dense_keys = MomentumCopy(self.dense)
        self.dense_queue = Queue(options.queue, options.projection) if options.far_cells == "queue" else None
        self._new_cells: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """Query and key of the view and of its cells (B, h, w, D), and the features that say which cells match."""
        embedding, cells = cells_of(self.encoder, rows, self.cell_width)
        with torch.no_grad():
            encoder, head = self.keys.module.children()
            key_embedding, key_cells = cells_of(encoder, rows, self.cell_width)
            key, dense_key = head(key_embedding), self.dense_keys(key_cells)
        return {
            "projection": self.head(embedding),
            "key": normalize(key, dim=1),
            "dense": self.dense(cells),
            "dense_key": normalize(dense_key, dim=3),
            "mean_key": normalize(dense_key.mean((1, 2)), dim=1),
            "cells": cells.detach(),
            "key_cells": key_cells,
        }

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """MoCo's loss of the views and of their cells, by their shares."""
        whole, pairs, share = super().contrast(projections, batch), self._pairs(batch), self.options.share
        asked = sorted({j for _, j in pairs})
        dense = averaged([self._cells(projections[i], projections[j], batch.ids) for i, j in pairs])
        means = [self.together(projections[j]["mean_key"].detach()) for j in asked]
        self._new_cells = torch.cat(means), self.together(batch.ids).repeat(len(asked))
        return weighed([("", whole, 1 - share), ("dense_", dense, share)])

    def _cells(self, asking: dict[str, Tensor], asked: dict[str, Tensor], ids: Tensor) -> Contrast:
        """InfoNCE of each cell against its match and the far cells."""
        queries, keys = asking["dense"].flatten(1, 2), asked["dense_key"].detach().flatten(1, 2)
        match = best_matches(asking["cells"].detach().flatten(1, 2), asked["key_cells"].detach().flatten(1, 2))
        own = keys.gather(1, match[:, :, None].expand(-1, -1, keys.shape[2]))
        if self.dense_queue is None:
            held, held_ids = keys.flatten(0, 1), ids.repeat_interleave(keys.shape[1])
        else:
            held, held_ids = (self.part(rows) for rows in self.dense_queue.rows())
        candidates = torch.cat([own.flatten(0, 1), held.to(own.dtype)])
        relation = self._relation(ids.repeat_interleave(queries.shape[1]), held_ids)
        return self.judged(normalize(queries.flatten(0, 1), dim=1), candidates, relation=relation)

    def after_step(self, step: int, total_steps: int) -> None:
        """The copies follow, keys and mean cells are remembered."""
        super().after_step(step, total_steps)
        self.dense_keys.follow(self.dense, self.options.momentum)
        if self._new_cells is not None and self.dense_queue is not None:
            self.dense_queue.push(*self._new_cells)
        self._new_cells = None
