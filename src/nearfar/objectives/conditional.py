"""Near and far weighed by what is known of the items: attributes through a kernel, or classes through their priors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import Composition, Count, LearnedTemperature, LogSumExp, Relation, Scores, WeightRelation, entry
from ..contrast.objective import Terms
from .priors import are_classes, check_kernel, class_sizes, kernel_matrix, smoother

NEGLIGIBLE = 1e-6  # smaller weights, and negative ones, are taken for 0, as in the published code


def conditioned_on(
    prior: Tensor,
    views: int = 2,
    near: str = "view",
    kernel: str = "cosine",
    width: float = 1.0,
    ridge: float = 0.01,
) -> Relation:
    """The relation of all rows of some views, stacked view after view, weighed by a prior over the N items.

    W = (K + ridge I)^-1 K says how much item j tells of item i, K a kernel of the prior; an item tells nothing of
    itself. Weights replace drawing other items from those with the same prior, which a continuous prior never repeats:

    - near="view": the item's other views are near; other items are far with weight (N - 1) W. What is alike by the
      prior is told apart, so the prior itself is of no help: *fair* for a sensitive attribute, *hard* for one that
      makes items look alike.
    - near="alike": other items are near with weight W, and everything is far with weight 1: *weak supervision*.

    Args:
        prior: (N, P) or (N,) numbers, or (N,) integers for classes, -1 unknown (weight 0 with everyone).
        views: how often the items are repeated.
        kernel, width: see `kernel_matrix`; its diagonal is set to 1 as in the published code.
        ridge: lambda of the inverse.

    Numbers cost a dense solve, O(N^3) steps and N^2 numbers, and more than 8192 items are refused; classes cost
    nothing: W is 1 / (size of the class + ridge) within a class and 0 elsewhere.

    Raises:
        ValueError: an unknown `near` or kernel, or too many items.

    >>> relation = conditioned_on(torch.tensor([0, 0, 1]), ridge=1.0)
    >>> far = relation.weights("far", slice(0, 1), slice(0, 6)).full(torch.empty(1, 6))
    >>> [round(w, 4) for w in far[0].tolist()]                        # (3 - 1) / (2 + 1) for item 1, in both views
    [0.0, 0.6667, 0.0, 0.0, 0.6667, 0.0]
    """
    if near not in ("view", "alike"):
        raise ValueError(f"near must be 'view' or 'alike', got {near!r}")
    check_kernel(kernel, width, ridge)
    n = len(prior)
    told = _by_class(prior, ridge) if are_classes(prior) else _by_kernel(prior, kernel, width, ridge)

    def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        a, c = a % n, c % n
        same = a[:, None] == c[None, :]
        alike = told(a, c).masked_fill(same, 0)
        return (same.to(alike.dtype), (n - 1) * alike) if near == "view" else (alike, torch.ones_like(alike))

    return WeightRelation(weight, torch.arange(views * n, device=prior.device), symmetric=True)


def _by_kernel(prior: Tensor, kernel: str, width: float, ridge: float) -> Callable[[Tensor, Tensor], Tensor]:
    weights = smoother(kernel_matrix(prior, kernel, width).clone().fill_diagonal_(1), ridge)
    weights = weights.masked_fill_(weights < NEGLIGIBLE, 0)
    return lambda a, c: weights[a][:, c]


def _by_class(classes: Tensor, ridge: float) -> Callable[[Tensor, Tensor], Tensor]:
    share = 1 / (class_sizes(classes).to(torch.get_default_dtype()) + ridge)
    share = torch.where(classes < 0, 0, share)
    return lambda a, c: torch.where(classes[a][:, None] == classes[c][None, :], share[a][:, None], 0)


def by_class_prior(labels: Tensor, keys: Tensor, priors: Tensor | None = None) -> Relation:
    """Rows (N,) of these labels against keys (M,) of those: near in the same class, each key by its class's prior.

    A key of class c weighs priors[c] / (keys of class c), so that a class counts by its prior and not by how many keys
    of it are at hand. -1 is unknown and does not count.

    Args:
        priors: (C,) how frequent each class is, above 0; the shares of the classes among the keys when None.

    Raises:
        ValueError: a label has no prior.

    >>> relation = by_class_prior(torch.tensor([0]), torch.tensor([0, 0, 1]), torch.tensor([0.75, 0.25]))
    >>> [relation.weights(over, slice(0, 1), slice(0, 3)).dense.tolist() for over in ("near", "far")]
    [[[0.375, 0.375, 0.0]], [[0.0, 0.0, 0.25]]]
    """
    known = keys >= 0
    if priors is None:
        weight = torch.full((len(keys),), 1 / max(1, int(known.sum())), device=keys.device)
    else:
        most = max(int(t.max()) if len(t) else -1 for t in (labels, keys))
        if most >= len(priors):
            raise ValueError(f"label {most} has no prior, there are {len(priors)}: one per class, from 0")
        weight = priors.to(keys.device)[keys.clamp_min(0)] / class_sizes(keys)

    def weights(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        counted = (labels[a] >= 0)[:, None] & known[c][None, :]
        same = labels[a][:, None] == keys[c][None, :]
        return torch.where(counted & same, weight[c], 0), torch.where(counted & ~same, weight[c], 0)

    return WeightRelation(
        weights, torch.arange(len(labels), device=keys.device), torch.arange(len(keys), device=keys.device)
    )


@entry
class CCLK(Composition):
    """Weighted near rows against weighted far rows, inside one logarithm: conditional contrast by kernels.

    The weights come from `relation=conditioned_on(prior, views)` and stand for sampling under the condition that the
    prior is the same; its `near` chooses between the fair or hard form and the weakly supervised one. Without a
    relation every weight is 1 and views are near.

    Shapes: one (R, D) with a relation, or views (N, D), or ids or labels. Value >= 0; at chance log of 1 + weight of
    the far rows over that of the near ones, log(2 N - 1) for two views without relation. Anchors without a near row do
    not count (the published code clips their near sum at 1e-7).

    >>> z = torch.eye(4)
    >>> loss = CCLK()
    >>> float(loss(torch.cat([z, z]), relation=conditioned_on(torch.eye(4))))      # nobody is alike: nothing to tell
    0.0
    """

    formula: ClassVar[str] = (
        "mean_i log(1 + sum_(j far) w_ij exp(s_ij / t) / sum_(p near) w_ip exp(s_ip / t)),  w of (K + lambda I)^-1 K"
    )
    source: ClassVar[str] = (
        "Tsai et al. 2022, Conditional Contrastive Learning with Kernel; Crazy-Jack/CCLK-release ConditionalSampling.py"
    )
    use: ClassVar[str] = (
        "attributes of the items are known: to learn from them weakly, not to learn them (fair), or to tell apart what "
        "they make alike (`relation=conditioned_on(prior)`)"
    )
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = (
        "NTXent with weighted far rows for near='view'; SupCon(average='inside') less the log of the near rows' number "
        "where no pair is both"
    )

    temperature: float | LearnedTemperature = 0.5

    def per_anchor(self, scores: Scores) -> Terms:
        """softplus of the far log-sum less the near one."""
        near, far, weight = scores.reduce(LogSumExp("near"), LogSumExp("far"), Count("near"))
        return {"contrast": softplus(far - torch.where(weight > 0, near, 0))}


@entry
class GML(CCLK):
    """A classifier whose logit of a class is the log-mean-exp of the scores of its keys, plus the log of its prior.

    Rows of view 1 are queries, rows of view 2 keys of known class, most often a queue with some of every class. With
    `relation=by_class_prior(labels, key_labels, priors)` it maximises the information that rows have of their labels
    when classes are rare and frequent: S_c(i) = log mean_(j of c) exp(s_ij / t), cross-entropy of S + log prior.
    Labels alone give each class its share among the keys for a prior. One key per class (proxies) is the
    logit-adjusted softmax classifier, the other half of the published objective.

    The keys take a gradient unless they are detached, as published ones are. The temperature learns from the same
    value; the published one learns from a copy with constant scores in which a row's own key is left out.

    Shapes: (N, D) and (M, D). Value >= 0; at chance log(1 / prior of the class).

    >>> z, y = torch.eye(3), torch.tensor([0, 0, 1])
    >>> relation = by_class_prior(y, torch.arange(2), torch.tensor([0.5, 0.5]))
    >>> round(float(GML(temperature=0.5)(z[y], z[:2], relation=relation)), 6)      # log(1 + e^-2)
    0.126928
    """

    formula: ClassVar[str] = (
        "mean_i -log [ pi_y mean_(j of y) exp(s_ij / t) / sum_c pi_c mean_(j of c) exp(s_ij / t) ],  y the class of i"
    )
    source: ClassVar[str] = (
        "Suh & Seo 2023, Long-Tailed Recognition by Mutual Information Maximization; "
        "bluecdm/Long-tailed-recognition losses.py"
    )
    use: ClassVar[str] = (
        "classes of very unequal size, with keys of every class (`relation=by_class_prior(labels, key_labels, priors)`)"
    )
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = "InfoNCE of rows and proxies for equal priors and one key per class"
    layout: ClassVar[str] = "cross"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = field(default_factory=lambda: LearnedTemperature(1.0))
