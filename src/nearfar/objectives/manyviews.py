"""Many views at once: one term for each item, in which all its views meet, in place of a term for every pair of views.

An item is all anchors of one key (id or label); where a relation knows no keys, each anchor is an item of its own.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, LearnedTemperature, LogSumExp, Scores, Sum, entry
from ..contrast.objective import Terms


def _items(scores: Scores, like: Tensor) -> tuple[Tensor, Tensor]:
    """For every anchor the number of its item, and the share of the item that it stands for: 1 / rows of the item."""
    keys = scores.relation.keys
    if keys is None:
        return torch.arange(len(like), device=like.device), torch.ones_like(like)
    _, item, size = torch.unique(keys[0], return_inverse=True, return_counts=True)
    return item, 1 / size[item].to(like.dtype)


def _over_items(values: Tensor, item: Tensor) -> Tensor:
    """The log-sum-exp of the values of all anchors of an item, handed to each of them."""
    return LogSumExp("any").of_pairs(values, None, item, len(values))[item]


@entry
class MultiViewInfoNCE(Composition):
    """One softmax per item: what all its views say of each other, against what they say of all rows of the batch.

    The scores of all pairs of views of an item are added up inside one logarithm, so that the pairs that agree already
    count most. Of two views it is never below `NTXent`, by Jensen, and equal to it where both rows of an item see
    the same. Items count alike, however many rows they have.

    Shapes: two or more views (N, D), or one (R, D) with ids. Value >= 0; at chance log((R - 1) / (V - 1)), which is
    log(2 N - 1) for two views.

    >>> z = torch.eye(4)
    >>> round(float(MultiViewInfoNCE(temperature=0.5)(z, z, z)), 4)            # log(2 e^2 + 9) - log(2 e^2)
    0.4756
    """

    formula: ClassVar[str] = (
        "mean over items of [ log sum_i sum_(j != i) exp(s_ij / t) - log sum_i sum_(p near) exp(s_ip / t) ],  "
        "i over the views of the item"
    )
    source: ClassVar[str] = "Koromilas et al. 2025 (MV-InfoNCE); pakoromilas/Multi-View-CL models/losses.py"
    use: ClassVar[str] = "three or more views of each item, whose pairs should not be averaged one by one"
    at_chance: ClassVar[str] = "log(2 * N - 1)"

    temperature: float | LearnedTemperature = 0.5

    def per_anchor(self, scores: Scores) -> Terms:
        """The value of its item for every anchor."""
        every, near = scores.reduce(LogSumExp("any"), LogSumExp("near"))
        item, share = _items(scores, every)
        every, near = _over_items(every, item), _over_items(near, item)
        return {"contrast": (every - near, torch.where(near == -math.inf, 0, share))}


@entry
class MultiViewDHEL(Composition):
    """All views of an item attract each other in one term, and each view spreads its own rows.

    Rows of other items are far within a view alone, so that how well views agree and how evenly each is spread are told
    apart ("decoupled hyperspherical energy"). The spread is a sum over views: more views push more. Every pair of
    views is counted once, as in the official code; its README counts both directions, which is less by log 2.

    Shapes: two or more views (N, D), or one (R, D) with ids, which is one view. At chance
    V log(N - 1) - log(V (V - 1) / 2), which is 2 log(N - 1) for two views. May be negative.

    >>> z = torch.eye(4)
    >>> round(float(MultiViewDHEL(temperature=0.5)(z, z, z)), 4)               # 3 log 3 - log(3 e^2)
    0.1972
    """

    formula: ClassVar[str] = (
        "mean over items of [ sum_i log sum_(j far) exp(s_ij / t) - log sum_(i < p near) exp(s_ip / t) ],  "
        "i over the views of the item"
    )
    source: ClassVar[str] = "Koromilas et al. 2025 (MV-DHEL); pakoromilas/Multi-View-CL models/losses.py"
    use: ClassVar[str] = "three or more views of each item; small batches and few dimensions, where views should spread"
    at_chance: ClassVar[str] = "2 * log(N - 1)"
    equal_to: ClassVar[str] = "DHEL (Koromilas et al. 2024) for two views"
    layout: ClassVar[str] = "apart"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 0.5

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and spread of its item for every anchor."""
        far, near = scores.reduce(LogSumExp("far"), LogSumExp("near"))
        item, share = _items(scores, far)
        spread = Sum("any").of_pairs(far, None, item, len(far))[item]
        pull = _over_items(near, item) - math.log(2)
        share = torch.where((pull == -math.inf) | (spread == -math.inf), 0, share)
        return {"attract": (-pull, share), "spread": (spread, share)}
