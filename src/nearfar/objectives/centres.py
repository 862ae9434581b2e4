"""Softmax over classes that have several centres each: a row is compared with the class by the centres that suit it.

Candidates of one key are the centres of one class, as `to_proxies(labels, C, each=K)` says; where a relation has no
keys, every candidate is a class of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import LearnedTemperature, Scores, current, entry
from ..contrast.objective import Terms
from .margins import ArcFace, CosFace, NormalizedSoftmax
from .metric import EXACT
from .pairs import _share

Pool = Callable[[Tensor, Tensor, int], Tensor]


def _by_class(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The largest value of each group of columns, (B, C) to (B, G); without gradient."""
    start = values.new_full((len(values), count), -torch.inf)
    return start.scatter_reduce(1, groups.expand_as(values), values.detach(), "amax")


def _over_classes(objective: NormalizedSoftmax, scores: Scores, pool: Pool) -> Terms:
    """Softplus of what the other classes have ahead of the own one.

    `pool` takes the cosines (B, C) with centres, -inf where they take no part, the class of each and their number, and
    gives the cosines (B, G) of classes.
    """
    t = torch.as_tensor(current(objective.temperature), dtype=scores.u.dtype, device=scores.u.device)
    keys = scores.relation.keys
    groups = torch.arange(scores.relation.shape[1], device=scores.u.device)
    if keys is not None:
        groups = torch.unique(keys[1], return_inverse=True)[1]
    count = int(groups.max()) + 1 if len(groups) else 0

    def classes(s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        own, other = _largest(near, groups, count), _largest(far, groups, count)
        cosine = pool(torch.where((near > 0) | (far > 0), s * t, -torch.inf), groups, count)
        cosine = torch.where((own > 0) | (other > 0), cosine, 0)
        some = (other > 0).any(1)[:, None]
        ahead = torch.where(other > 0, cosine / t + torch.where(other > 0, other, 1).log(), -torch.inf)
        ahead = torch.where(some, ahead, 0).logsumexp(1, keepdim=True)
        lost = torch.where(some, softplus(ahead - objective.target(cosine) / t, threshold=EXACT), 0)
        return (own * torch.where(own > 0, lost, 0)).sum(1), own.sum(1)

    total, weight = scores.rows(classes)
    return {"contrast": _share(total, weight), **objective.norms(scores)}


def _largest(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The largest value of each group of columns, (B, C) to (B, G); of equal ones all take a part of the gradient."""
    start = values.new_zeros(len(values), count)
    return start.scatter_reduce(1, groups.expand_as(values), values, "amax", include_self=False)


@entry
class SubCentreArcFace(ArcFace):
    """ArcFace over classes of several centres, of which the nearest one speaks for the class.

    Rows that are labelled wrongly find a centre of their own, and the others stay undisturbed.

    Shapes: (N, D) and (C K, D) with `relation=to_proxies(labels, C, each=K)`; K = 3 in the paper. Value as `ArcFace`.

    >>> from nearfar.objectives import to_proxies
    >>> items, centres = torch.eye(4)[[0, 1, 1]], torch.eye(4)
    >>> relation = to_proxies(torch.tensor([0, 0, 1]), 2, each=2)
    >>> round(float(SubCentreArcFace(temperature=0.5, margin=0.0)(items, centres, relation=relation)), 4)
    0.7936
    """

    formula: ClassVar[str] = (
        "mean_i log(1 + sum_(c far) e^((cos theta_ic - cos(theta_ip + m)) / t)),  "
        "cos theta_ic = max over the centres of c"
    )
    source: ClassVar[str] = "Deng et al. 2020 (Sub-center ArcFace), eq. 3; pytorch-metric-learning SubCenterArcFaceLoss"
    use: ClassVar[str] = "as `ArcFace`, where labels are noisy or classes fall into several kinds"
    equal_to: ClassVar[str] = "ArcFace with one centre for each class"

    def per_anchor(self, scores: Scores) -> Terms:
        """The nearest centre of every class in a softmax over classes."""
        return _over_classes(self, scores, _largest)


@entry
class SoftTriple(CosFace):
    """Softmax over classes of several centres, each weighed by how near it is: a smooth triplet loss with centres.

    The score of a class is sum_k q_k cos_k, q = softmax_k(cos_k / sharing), over its centres.

    Args:
        margin: delta, taken from the score of the own class.
        temperature: 1 / lambda.
        sharing: gamma; small, the nearest centre speaks for the class, large, all of them alike.

    Shapes: (N, D) and (C K, D) with `relation=to_proxies(labels, C, each=K)`; K = 10 in the paper. Value >= 0. The
    paper's penalty on distances between the centres of a class is left out.

    >>> from nearfar.objectives import to_proxies
    >>> items, centres = torch.eye(4)[[0, 1, 1]], torch.eye(4)
    >>> relation = to_proxies(torch.tensor([0, 0, 1]), 2, each=2)
    >>> round(float(SoftTriple(temperature=0.5, margin=0.0)(items, centres, relation=relation)), 4)
    0.7936
    """

    formula: ClassVar[str] = (
        "mean_i log(1 + sum_(c far) e^((s_ic - s_ip + m) / t)),  s_ic = sum_(k of c) softmax_k(cos_ik / g) cos_ik"
    )
    source: ClassVar[str] = "Qian et al. 2019, eq. 7 and 8; pytorch-metric-learning SoftTripleLoss"
    use: ClassVar[str] = "as `ProxyNCA`, where a class has several kinds of items and one proxy is too few"
    at_chance: ClassVar[str] = "log(1 + (N - 1) * exp(0.2))"
    equal_to: ClassVar[str] = "CosFace with one centre for each class"

    temperature: float | LearnedTemperature = 1 / 20
    margin: float = 0.01
    sharing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sharing > 0:
            raise ValueError(f"sharing divides the cosines and must be above 0, got {self.sharing!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """The weighed centres of every class in a softmax over classes."""
        return _over_classes(self, scores, self._soft_centre)

    def _soft_centre(self, cosine: Tensor, groups: Tensor, count: int) -> Tensor:
        """Mean cosine of the centres of a class, weighed by a softmax of it."""
        real, top = cosine != -torch.inf, _largest(cosine.detach(), groups, count)
        weight = torch.where(real, torch.exp(torch.where(real, cosine - top[:, groups], 0) / self.sharing), 0)
        empty = cosine.new_zeros(len(cosine), count)
        total = empty.index_add(1, groups, weight * torch.where(real, cosine, 0))
        return _share(total, empty.index_add(1, groups, weight))
