"""Mixed vectors: harder near pairs and more of the far rows, made of those at hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import normalize


@torch.no_grad()
def hard_mixtures(queries: Tensor, held: Tensor, usable: Tensor, hardest: int, between: int, with_query: int) -> Tensor:
    """Further far rows for every query, on the unit sphere, (B, between + with_query, D); no gradient.

    Of the `hardest` usable vectors by their product with the query, two at random are mixed,
    normalize(a n + (1 - a) n') with a in U(0, 1), `between` times; and one with the query itself,
    normalize(b q + (1 - b) n) with b in U(0, 1/2), `with_query` times. A query without usable vectors gets mixtures of
    others, which should not count. Source: Kalantidis et al. 2020 (MoCHi), eq. 4 to 6.

    Args:
        queries: (B, D) unit rows. held: (M, D) unit rows, M >= 1.
        usable: (B, M) which of them may be mixed for a query: not those of its own item.

    >>> z = torch.eye(3)
    >>> hard_mixtures(z[:1], z[1:], torch.ones(1, 2, dtype=torch.bool), 1, 2, 3).shape
    torch.Size([1, 5, 3])
    """
    scores = (queries @ held.T).masked_fill(~usable, -torch.inf)
    nearest = scores.topk(min(hardest, len(held)), dim=1).indices
    choice = usable.sum(1, keepdim=True).clamp(1, nearest.shape[1])

    def drawn(count: int) -> Tensor:
        number = (torch.rand(len(queries), count, device=queries.device) * choice).long().minimum(choice - 1)
        return held[nearest.gather(1, number)]

    a = torch.rand(len(queries), between, 1, device=queries.device, dtype=queries.dtype)
    b = torch.rand(len(queries), with_query, 1, device=queries.device, dtype=queries.dtype) / 2
    mixed = a * drawn(between) + (1 - a) * drawn(between)
    turned = b * queries[:, None] + (1 - b) * drawn(with_query)
    return normalize(torch.cat([mixed, turned], 1), dim=2)


def moved_apart(queries: Tensor, keys: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Near pairs made harder: each beyond the other, w q + (1 - w) k and w k + (1 - w) q, w in 1 + Beta(alpha, alpha).

    A w for every number; the rows are not of unit length afterwards, as published. Source: Zhu et al. 2021, Improving
    Contrastive Learning by Visualizing Feature Transformation, eq. 4.
    """
    w = 1 + _beta(alpha, queries)
    return w * queries + (1 - w) * keys, w * keys + (1 - w) * queries


def mixed_together(held: Tensor, alpha: float) -> Tensor:
    """Far rows made more diverse: each mixed with another, w n + (1 - w) n', w in Beta(alpha, alpha), as `moved_apart`.

    Source: Zhu et al. 2021, eq. 6.
    """
    w = _beta(alpha, held)
    return w * held + (1 - w) * held[torch.randperm(len(held), device=held.device)]


def _beta(alpha: float, like: Tensor) -> Tensor:
    concentration = torch.tensor(alpha, dtype=like.dtype, device=like.device)
    return Beta(concentration, concentration).sample(like.shape)
