"""Terms that stand beside a contrast of anchors and their partners, worked out for some anchors at a time.

Scores of a block are made again for its gradients, so that the (N, N) scores of a batch are never held.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu
from torch.utils.checkpoint import checkpoint

BLOCK = 512  # anchors at a time


def _by_blocks(values: Callable[[slice], Tensor], count: int) -> Tensor:
    """(N,) values of anchors, some at a time; gradients take one block after the other."""
    parts = [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    if len(parts) < 2:
        return values(slice(0, count))
    made: list[Tensor] = [checkpoint(values, part, use_reentrant=False) for part in parts]
    return torch.cat(made)


def band(anchors: Tensor, partners: Tensor, groups: Tensor, limits: tuple[float, float]) -> Tensor:
    """How far the cosines of an anchor with partners of its group leave a band below that with its own partner.

    With d_ij = cos(anchor i, partner j) - cos(anchor i, partner i) it is the mean over all pairs of rows of
    relu(d_ij + a) + relu(-d_ij - b), zero where -b <= d_ij <= -a; pairs of different groups, and own pairs, count 0,
    where the published code has them add a constant. Source: Deng et al. 2023, Clustering-Aware Negative Sampling,
    section 3.3; djz233/ClusterNS.

    Args:
        anchors, partners: (N, D). groups: (N,) of the items. limits: a and b.

    >>> anchors, partners = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    >>> band(anchors, partners, torch.zeros(2), limits=(0.25, 0.5))
    tensor(0.1250)
    """
    low, high = limits
    unit, others = normalize(anchors, dim=1), normalize(partners, dim=1)
    own = torch.linalg.vecdot(unit, others)
    places = torch.arange(len(unit), device=unit.device)

    def values(part: slice) -> Tensor:
        gap = unit[part] @ others.T - own[part, None]
        same = (groups[part, None] == groups[None, :]) & (places[part, None] != places)
        return ((relu(gap + low) + relu(-gap - high)) * same).mean(1)

    return _by_blocks(values, len(unit)).mean()


def hinge(anchors: Tensor, partners: Tensor, ids: Tensor, margin: float, far: Tensor | None = None) -> Tensor:
    """How much the hardest far row comes closer than `margin` to the own partner: relu(m - cos own + max cos far).

    The mean over anchors; partners of other items and `far` rows are far, and an anchor without any counts 0. Source:
    Jiang et al. 2022, PromCSE, section 3.2; YJiangcm/PromCSE.

    Args:
        anchors, partners: (N, D). ids: (N,) of the items. margin: m. far: (M, D) further far rows.

    >>> anchors, partners = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> hinge(anchors, partners, torch.arange(2), margin=0.5)
    tensor(0.5000)
    """
    unit, others = normalize(anchors, dim=1), normalize(partners, dim=1)
    more = None if far is None else normalize(far, dim=1)
    own = torch.linalg.vecdot(unit, others)

    def values(part: slice) -> Tensor:
        other = (unit[part] @ others.T).masked_fill(ids[part, None] == ids[None, :], -torch.inf)
        if more is not None:
            other = torch.cat([other, unit[part] @ more.T], 1)
        hardest = other.amax(1)
        return relu(margin - own[part] + hardest.clamp(min=-1)) * hardest.isfinite()

    return _by_blocks(values, len(unit)).mean()
