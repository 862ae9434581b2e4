"""MoCo."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..contrast import Cosine, Dot, PairRelation, Pairs, Relation, WeightRelation
from ..data.batch import Batch
from ..models import MomentumCopy, Queue, hard_mixtures, mixed_together, moved_apart, projector
from ..objectives import HardContrastive, InfoNCE
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
    keep: float = Field(
        1.0, gt=0, le=1, description="share of the far keys, the most similar ones, that a query is told from"
    )
    hardest: int = Field(
        0, ge=0, description="most similar far keys that are mixed to make further ones (MoCHi); 1024 in the paper"
    )
    mixed: int = Field(
        16, ge=0, description="mixtures of two of the hardest keys for each query; 128 to 1024 in the paper"
    )
    mixed_with_query: int = Field(
        16, ge=0, description="mixtures of one of them with the query; 128 to 512 in the paper"
    )
    extrapolate: float | None = Field(
        None,
        gt=0,
        description="a of 1 + Beta(a, a), by which query and key are moved apart; 2 in the paper; not if unset",
    )
    interpolate: float | None = Field(
        None,
        gt=0,
        description="a of Beta(a, a), by which far keys are mixed with each other; 1.6 in the paper; not if unset",
    )


class MoCo(Method):
    """A view is told from the keys of earlier batches by a slow copy of the encoder.

    encoder -> two-layer head without norm -> InfoNCE against the item's key and a queue of keys, both by a moving copy
    of encoder and head (MoCo v2). Keys of the same item in the queue are ignored, and so are the other keys of the
    batch, as published. Keys are made of whole views; small ones only ask. While the queue is empty, in the first step,
    there is nothing to learn.

    The official code asks one way; both keys are at hand here, so both ways are the default (as in its demo for small
    images). It shuffles batches over devices for the sake of batch norm; here a batch of keys is normalised as one.

    Far keys can be made harder, each way by options of its own: only the most similar ones count (`keep`; asking both
    ways this is MoCo with dual-view loss and hard negatives of Hoang et al. 2025, reconstructed from its abstract);
    mixtures of them are added (`hardest`; MoCHi, Kalantidis et al. 2020); near pairs are moved apart and far keys mixed
    (`extrapolate` and `interpolate`; Zhu et al. 2021). The queue holds the keys as they were made.
    """

    name = "moco"
    near = "the key of another view of the same item, by a slow copy of the encoder"
    far = "keys of other items in a queue of earlier batches"
    source = "He et al. 2020, Momentum Contrast; Chen et al. 2020, Improved Baselines; facebookresearch/moco"
    weighs: ClassVar[bool] = True
    Options: ClassVar[type[MethodOptions]] = MoCoOptions

    options: MoCoOptions

    def __init__(self, encoder: nn.Module, options: MoCoOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(self.width, options.hidden or self.width, options.projection, norm="none")
        self.keys = MomentumCopy(nn.Sequential(self.encoder, self.head))
        self.queue = Queue(options.queue, options.projection)
        # What is moved or mixed is not of unit length, and stays so.
        similarity = Dot() if self._moves else Cosine()
        self.objective = (
            InfoNCE(similarity=similarity, temperature=options.temperature)
            if options.keep == 1
            else HardContrastive(similarity=similarity, temperature=options.temperature, quantile=1 - options.keep)
        )
        self._new: tuple[Tensor, Tensor] | None = None

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The query and, by the moving copy, the key."""
        return {"projection": self.head(self.encoder(rows)), "key": normalize(self.keys(rows), dim=1)}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """InfoNCE of each query against its own key and the queue."""
        held, held_ids = self.queue.rows()
        usable = batch.ids[:, None] != held_ids  # no mixtures of an item's own keys
        extra = self.options.mixed + self.options.mixed_with_query if self.options.hardest and len(held) else 0
        relation = self._relation(batch.ids, self.part(held_ids), usable.any(1), extra)
        pairs = self._pairs(batch)
        asked = sorted({j for _, j in pairs})
        keys = {j: projections[j]["key"].detach() for j in asked}
        self._new = torch.cat([self.together(keys[j]) for j in asked]), self.together(batch.ids).repeat(len(asked))
        met = []
        for i, j in pairs:
            query, key, far = self._moved(projections[i]["projection"], keys[j], self.part(held).to(keys[j].dtype))
            more = [self._mixtures(projections[i]["projection"], held, usable)] if extra else []
            met.append((query, torch.cat([key, far, *more])))
        return averaged([self.judged(*views, relation=relation, weights=batch.weights) for views in met])

    def _pairs(self, batch: Batch) -> list[tuple[int, int]]:
        """(i, j): view i asks for the key of view j."""
        pairs = batch.onto_whole()
        if self.options.symmetric:
            return pairs
        keyed = batch.whole[1:] or batch.whole
        return [(i, j) for i, j in pairs if j in keyed and i not in keyed]

    @property
    def _moves(self) -> bool:
        return self.options.extrapolate is not None or self.options.interpolate is not None

    def _moved(self, query: Tensor, key: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, own keys and queue, moved and mixed where options say so."""
        options = self.options
        if self._moves:
            query = normalize(query, dim=1)
        if options.extrapolate is not None:
            query, key = moved_apart(query, key, options.extrapolate)
        return query, key, far if options.interpolate is None else mixed_together(far, options.interpolate)

    def _mixtures(self, query: Tensor, held: Tensor, usable: Tensor) -> Tensor:
        """Further far keys, those of one query after those of another."""
        unit = normalize(query.detach(), dim=1)
        counts = self.options.hardest, self.options.mixed, self.options.mixed_with_query
        return hard_mixtures(unit, held.to(unit.dtype), usable, *counts).flatten(0, 1)

    def _relation(self, ids: Tensor, held_ids: Tensor, usable: Tensor | None = None, extra: int = 0) -> Relation:
        """Who is near whom among the rows of all processes, each with its keys, its part of the queue and mixtures."""
        ranks = self.ranks
        if ranks is None and not extra:
            return key_and_queue(ids, held_ids)
        rank, world = (0, 1) if ranks is None else (ranks.rank, ranks.world)
        anchors, candidates = _tags(ids, held_ids, rank, world)
        if usable is not None and extra:
            candidates = torch.cat([candidates, _owned(anchors, usable, extra)])
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
    """(id, number, owner) of every anchor and candidate; numbers differ between processes, and held rows have -1.

    The owner is the number of the only anchor that a row is far from, -1 where it may be far from all.
    """
    nobody = torch.full_like(held_ids, -1)
    own = torch.stack([ids, torch.arange(len(ids), device=ids.device) * world + rank, torch.full_like(ids, -1)], 1)
    return own, torch.cat([own, torch.stack([held_ids, nobody, nobody], 1)])


def _owned(anchors: Tensor, usable: Tensor, extra: int) -> Tensor:
    """Tags of `extra` rows for every anchor that are far from it alone; from nobody where nothing was usable."""
    owner = torch.where(usable, anchors[:, 1], -2)
    mixtures = torch.stack([torch.full_like(owner, -2), torch.full_like(owner, -1), owner], 1)
    return mixtures.repeat_interleave(extra, 0)


def _by_tag(anchors: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    (item, number, _), (other, place, owner) = anchors.T[:, :, None], candidates.T[:, None, :]
    return number == place, (place < 0) & (item != other) & ((owner == -1) | (owner == number))


@lru_cache(maxsize=16)
def _own_and_queue(n: int, held: int, device: torch.device) -> Relation:
    """The relation of most steps, in which the queue holds other items only; made once per size."""
    with torch.inference_mode(False):  # kept from step to step
        row = torch.arange(n, device=device)
        one, other = (t.flatten() for t in torch.meshgrid(row, row, indexing="ij"))
        made = PairRelation((n, n + held), Pairs(row, row), Pairs(one[one != other], other[one != other]))
    made.one_each = True
    return made
