"""Proxy objectives: one learned row per class stands for the class, in place of pairs of items.

The proxies are handed over like a view; `to_proxies` says which row is near to which of them.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import (
    Composition,
    LearnedTemperature,
    LogSumExp,
    Mean,
    NegativeSquaredEuclidean,
    Scores,
    Similarity,
    current,
    entry,
    same_key,
)
from ..contrast.objective import Terms
from ..contrast.relation import Relation


def to_proxies(labels: Tensor, classes: int, each: int = 1) -> Relation:
    """Rows (N,) of these labels against proxies 0 to classes - 1: near to the own one; rows of label -1 do not count.

    Where every class has `each` proxies, they stand next to each other, and a row is near to all of its class.

    Raises:
        ValueError: a label has no proxy.

    >>> counts = to_proxies(torch.tensor([0, 2, -1]), 3).counts()
    >>> counts.near.tolist(), counts.far.tolist()
    ([1, 1, 0], [2, 2, 0])
    """
    if len(labels) and int(labels.max()) >= classes:
        raise ValueError(f"label {int(labels.max())} has no proxy, there are {classes}: one per class, from 0")
    return same_key(labels, torch.arange(classes, device=labels.device).repeat_interleave(each))


@entry
class ProxyNCA(Composition):
    """Each row is told, by its distance, which proxy is that of its class (ProxyNCA++).

    Rows of view 1 are the items, rows of view 2 the proxies; d is the distance of unit rows. With `own` the near proxy
    stands in the denominator too, which makes it a softmax over the classes (the "++", and the usual code); without, it
    is the original, whose value may be negative.

    Shapes: (N, D) and (C, D) with `relation=to_proxies(labels, C)`. Value with `own` >= 0; at chance log C. The
    temperature is 1 / kappa: 1/3 here as in pytorch-metric-learning, 1/9 in the paper of the "++".

    >>> items, proxies = torch.eye(4)[[0, 1, 1]], torch.eye(4)[:2]
    >>> loss = ProxyNCA()(items, proxies, relation=to_proxies(torch.tensor([0, 1, 1]), 2))
    >>> round(float(loss), 6)                                                  # log(1 + e^-6)
    0.002476
    """

    formula: ClassVar[str] = "mean_i [ d_ip^2 / t + log sum_c exp(-d_ic^2 / t) ],  p near, c far (or near: own)"
    source: ClassVar[str] = "Movshovitz-Attias et al. 2017, eq. 4; Teh et al. 2020 (ProxyNCA++) with own=True"
    use: ClassVar[str] = (
        "labels and small batches: rows are told from learned proxies, one per class (`relation=to_proxies(labels, C)`)"
    )
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = "InfoNCE (own) and DCL (without) of rows and proxies at this similarity"
    layout: ClassVar[str] = "cross"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeSquaredEuclidean)
    temperature: float | LearnedTemperature = 1 / 3
    own: bool = True

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction to the near proxy, repulsion from the others."""
        every, near = scores.reduce(LogSumExp("any" if self.own else "far"), Mean("near"))
        if self.own:
            return {"attract": -near, "repel": every}
        counted = ((scores.near_count > 0) & (scores.far_count > 0)).to(near.dtype)
        return {"attract": (-near, counted), "repel": (every, counted)}


@entry
class ProxyAnchor(Composition):
    """Each proxy pulls the rows of its class and pushes all others, the hardest ones most.

    Rows of view 1 are the proxies, which are the anchors here; rows of view 2 the items. A log-sum-exp over the items
    of a batch lets them see each other through the proxy. The pull is averaged over the classes that are in the batch,
    the push over all.

    Args:
        margin: delta; near scores should be above it, far ones below minus it.
        temperature: 1 / alpha.

    Shapes: (C, D) and (N, D) with `relation=to_proxies(labels, C).t`. Value >= 0. At chance, with one row per class,
    softplus(delta / t) + log(1 + (N - 1) exp(delta / t)).

    >>> items, proxies = torch.eye(4)[[0, 1, 1]], torch.eye(4)[:2]
    >>> loss = ProxyAnchor(temperature=0.5)(proxies, items, relation=to_proxies(torch.tensor([0, 1, 1]), 2).t)
    >>> round(float(loss), 6)
    1.236516
    """

    formula: ClassVar[str] = (
        "mean+_c log(1 + sum_(x near) e^((delta - s_cx) / t)) + mean_c log(1 + sum_(x far) e^((delta + s_cx) / t))"
    )
    source: ClassVar[str] = "Kim et al. 2020, eq. 4; tjddus9597/Proxy-Anchor-CVPR2020 code/losses.py"
    use: ClassVar[str] = "as `ProxyNCA`, with the proxies for anchors, so that the hardest rows of a batch count most"
    at_chance: ClassVar[str] = "log(1 + exp(3.2)) + log(1 + (N - 1) * exp(3.2))"
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "any"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 1 / 32
    margin: float = 0.1

    def per_anchor(self, scores: Scores) -> Terms:
        """Pull over the classes that are there, push over all."""
        near, far = scores.reduce(LogSumExp("near", scale=-1.0), LogSumExp("far"))
        shift = self.margin / current(self.temperature)
        present = (scores.near_count > 0).to(near.dtype)
        # Scores over a small temperature are large; torch would round log(1 + e^x) to x from 20 on.
        pull, push = (softplus(x + shift, threshold=50) for x in (near, far))
        return {"pull": (pull, present), "push": push}
