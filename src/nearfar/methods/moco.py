"""MoCo."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..contrast import PairRelation, Pairs, Relation, WeightRelation
from ..data.batch import Batch
from ..models import MomentumCopy, Queue, projector
from ..objectives import InfoNCE
from .average import averaged
from .method import Contrast, Method, MethodOptions

LISTED = 512  # rows up to which the pairs of a batch are listed, N x N of them; beyond, tiles work them out


class MoCoOptions(MethodOptions):
    """Options of MoCo."""

    temperature: float = Field(0.2, gt=0, description="divides every score")
    queue: int = Field(4096, ge=1, description="keys that are remembered; 65536 in the paper, of a million images")
    momentum: float = Field(0.99, ge=0, le=1, description="of the key encoder; 0.999 in the paper, of longer runs")
    symmetric: bool = Field(
        True, description="every view asks for every other whole one; if not, the first and the small ones do"
    )


class MoCo(Method):
    """A view is told from the keys of earlier batches by a slow copy of the encoder.

    encoder -> two-layer head without norm -> InfoNCE against the item's key and a queue of keys, both by a moving copy
    of encoder and head (MoCo v2). Keys of the same item in the queue are ignored, and so are the other keys of the
    batch, as published. Keys are made of whole views; small ones only ask. While the queue is empty, in the first step,
    there is nothing to learn.

    The official code asks one way; both keys are at hand here, so both ways are the default (as in its demo for small
    images). It shuffles batches over devices for the sake of batch norm; here a batch of keys is normalised as one.
    """

    name = "moco"
    near = "the key of another view of the same item, by a slow copy of the encoder"
    far = "keys of other items in a queue of earlier batches"
    source = "He et al. 2020, Momentum Contrast; Chen et al. 2020, Improved Baselines; facebookresearch/moco"
    Options = MoCoOptions

    options: MoCoOptions

    def __init__(self, encoder: nn.Module, options: MoCoOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(self.width, options.hidden or self.width, options.projection, norm="none")
        self.keys = MomentumCopy(nn.Sequential(self.encoder, self.head))
        self.queue = Queue(options.queue, options.projection)
        self.objective = InfoNCE(temperature=options.temperature)
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The query and, by the moving copy, the key."""
        return {"projection": self.head(self.encoder(rows)), "key": normalize(self.keys(rows), dim=1)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """InfoNCE of each query against its own key and the queue."""
        held, held_ids = (self.part(rows) for rows in self.queue.rows())
        relation = self._relation(batch.ids, held_ids)
        pairs = batch.onto_whole()
        if not self.options.symmetric:
            keyed = batch.whole[1:] or batch.whole
            pairs = [(i, j) for i, j in pairs if j in keyed and i not in keyed]
        asked = sorted({j for _, j in pairs})
        keys = {j: projections[j]["key"].detach() for j in asked}
        candidates = {j: torch.cat([key, held.to(key.dtype)]) for j, key in keys.items()}
        self._new = torch.cat([self.together(keys[j]) for j in asked]), self.together(batch.ids).repeat(len(asked))
        return averaged([self.judged(projections[i]["projection"], candidates[j], relation=relation) for i, j in pairs])

    def _relation(self, ids: Tensor, held_ids: Tensor) -> Relation:
        """Who is near whom among the rows of all processes, each with its keys and its part of the queue."""
        ranks = self.ranks
        if ranks is None:
            return key_and_queue(ids, held_ids)
        anchors, candidates = _tags(ids, held_ids, ranks.rank, ranks.world)
        return WeightRelation(_by_tag, self.together(anchors), self.together(candidates))

    def after_step(self, step: int, total_steps: int) -> None:
        """The copy follows, the keys are remembered."""
        self.keys.follow(nn.Sequential(self.encoder, self.head), self.options.momentum)
        if self._new is not None:
            self.queue.push(*self._new)
            self._new = None


def key_and_queue(ids: Tensor, held_ids: Tensor) -> Relation:
    """Row i is near to candidate i; held candidates (after the first N) of other items are far; the rest is ignored.

    >>> counts = key_and_queue(torch.tensor([5, 6]), torch.tensor([6, 7, 8])).counts()
    >>> counts.near.tolist(), counts.far.tolist()
    ([1, 1], [3, 2])
    """
    if len(ids) <= LISTED and not bool(torch.isin(ids, held_ids).any()):
        return _own_and_queue(len(ids), len(held_ids), ids.device)
    return WeightRelation(_by_tag, *_tags(ids, held_ids))


def _tags(ids: Tensor, held_ids: Tensor, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
    """(id, number) of every anchor and candidate; numbers differ between processes, and held rows have -1."""
    own = torch.stack([ids, torch.arange(len(ids), device=ids.device) * world + rank], 1)
    held = torch.stack([held_ids, torch.full_like(held_ids, -1)], 1)
    return own, torch.cat([own, held])


def _by_tag(anchors: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    near = anchors[:, None, 1] == candidates[None, :, 1]
    far = (candidates[None, :, 1] < 0) & (anchors[:, None, 0] != candidates[None, :, 0])
    return near, far


@lru_cache(maxsize=16)
def _own_and_queue(n: int, held: int, device: torch.device) -> Relation:
    """The relation of most steps, in which the queue holds other items only; made once per size."""
    with torch.inference_mode(False):  # kept from step to step
        row = torch.arange(n, device=device)
        one, other = (t.flatten() for t in torch.meshgrid(row, row, indexing="ij"))
        made = PairRelation((n, n + held), Pairs(row, row), Pairs(one[one != other], other[one != other]))
    made.one_each = True
    return made
