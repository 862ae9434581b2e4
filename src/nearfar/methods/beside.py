"""Terms that stand beside a contrast of anchors and their partners. Both hold the (N, N) scores of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu


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
    scores = normalize(anchors, dim=1) @ normalize(partners, dim=1).T
    gap = scores - scores.diagonal()[:, None]
    same = (groups[:, None] == groups[None, :]).fill_diagonal_(False)
    return ((relu(gap + low) + relu(-gap - high)) * same).mean()


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
    unit = normalize(anchors, dim=1)
    scores = unit @ normalize(partners, dim=1).T
    other = scores.masked_fill(ids[:, None] == ids[None, :], -torch.inf)
    if far is not None:
        other = torch.cat([other, unit @ normalize(far, dim=1).T], 1)
    hardest = other.amax(1)
    return (relu(margin - scores.diagonal() + hardest.clamp(min=-1)) * hardest.isfinite()).mean()
