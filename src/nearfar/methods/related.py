"""Who is near and who is far, where more than ids has a say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..contrast import Relation, WeightRelation
from .method import Method

NOBODY = 1 << 52  # ids from here on are of no item


@dataclass(frozen=True)
class Far:
    """Rows (M, D) that are far, with the ids (M,) of their items, and the numbers (M,) of the rows they were given to.

    Numbers are those of `numbers`; -1 is nobody's.
    """

    rows: Tensor
    ids: Tensor
    owners: Tensor

    @staticmethod
    def of(rows: Tensor, ids: Tensor | None = None, owners: Tensor | None = None) -> Far:
        """Rows of no item unless `ids` are known, given to nobody unless `owners` are known."""
        nothing = torch.full((len(rows),), -1, device=rows.device)
        return Far(rows, nothing + 1 + NOBODY if ids is None else ids, nothing if owners is None else owners)


def numbers(method: Method, count: int, device: torch.device) -> Tensor:
    """A number for each of this process's rows, which no row of another process has."""
    ranks = method.ranks
    rank, world = (0, 1) if ranks is None else (ranks.rank, ranks.world)
    return torch.arange(count, device=device) * world + rank


def related(
    method: Method, ids: Tensor, far: list[Far], opinion: Tensor | None, limit: float, own_weight: float = 1.0
) -> Relation:
    """Row i is near to candidate i, and far from those of other items that an opinion finds less alike than `limit`.

    Args:
        method: whose processes share the batch.
        ids: (N,) of the items.
        far: candidates behind the N, of which there is no opinion: far from all other items.
        opinion: (N, D) what another encoder says of this process's items, None where there is none.
        limit: cosine from which two items are not pushed apart.
        own_weight: how often what was given as far to a row itself counts for it.
    """
    number = numbers(method, len(ids), ids.device)
    vectors = ids.new_zeros(len(ids), 1).double() if opinion is None else normalize(opinion, dim=1).double()
    anchors = torch.cat([torch.stack([number, ids, torch.full_like(ids, -1)], 1).double(), vectors], 1)
    candidates = [anchors]
    for more in far:
        tags = torch.stack([torch.full_like(more.ids, -1), more.ids, more.owners], 1).double()
        candidates.append(torch.cat([tags, vectors.new_zeros(len(tags), vectors.shape[1])], 1))
    rule = partial(_met, limit=limit, own_weight=own_weight)
    return WeightRelation(rule, method.together(anchors), method.together(torch.cat(candidates)))


def _met(anchors: Tensor, candidates: Tensor, limit: float, own_weight: float) -> tuple[Tensor, Tensor]:
    near = anchors[:, None, 0] == candidates[None, :, 0]
    other = anchors[:, None, 1] != candidates[None, :, 1]
    unlike = anchors[:, 3:] @ candidates[:, 3:].T < limit
    own = anchors[:, None, 0] == candidates[None, :, 2]
    return near.double(), (other & unlike) * torch.where(own, own_weight, 1.0).double()
