"""Learning by a margin, watched: how large the cloud of rows is beside the margin, and how many triplets violate it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .monitors import SAMPLE


def by_margin(rows: Tensor, labels: Tensor, margin: float, squared: bool = False) -> dict[str, float]:
    """Distances of unit rows (N, D): the largest, the means of near and far pairs, the share of triplets that violate.

    A triplet of an anchor, another row of its label and a row of another label violates when the far row is not farther
    than the near one by the margin. Labels (N,) below 0 are unknown, and their rows left out; holds (N, N). Empty when
    there are no triplets.

    squared: distances, the diameter among them, are squared, and so is the unit of the margin.

    >>> rows = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> {key: round(value, 3) for key, value in by_margin(rows, torch.tensor([0, 0, 1]), 0.2, squared=True).items()}
    {'margin': 0.2, 'diameter': 2.0, 'near_distance': 0.4, 'far_distance': 1.4, 'violating': 0.0}
    """
    rows, labels = F.normalize(rows[labels >= 0], dim=1), labels[labels >= 0]
    distance = (2 - 2 * rows @ rows.T).clamp_min(0)
    distance = distance if squared else distance.sqrt()
    same = labels[:, None] == labels[None, :]
    near = same & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    if not bool(near.any()) or bool(same.all()):
        return {}
    far = distance.masked_fill(same, torch.inf).sort(1).values
    closer = torch.searchsorted(far, distance + margin)  # far rows below that of each anchor
    triplets = (near.sum(1).double() * (~same).sum(1)).sum()
    return {
        "margin": margin,
        "diameter": distance.max().item(),
        "near_distance": distance[near].mean().item(),
        "far_distance": distance[~same].mean().item(),
        "violating": (closer[near].sum() / triplets).item(),
    }


def observe_margin(views: Sequence[Tensor], labels: Tensor, margin: float, squared: bool = False) -> dict[str, Any]:
    """`by_margin` of one batch, from (at most) 512 rows of its views (B, D); empty where rows are not finite."""
    each = SAMPLE // len(views)
    rows = torch.cat([view[:each].detach().float() for view in views if view.ndim == 2])
    if not len(rows) or not bool(torch.isfinite(rows).all()):
        return {}
    return by_margin(rows, labels[:each].repeat(len(rows) // len(labels[:each])), margin, squared)
