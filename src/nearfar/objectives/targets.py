"""Numbers in place of classes: near and far by the distance of continuous targets, for regression data.

Each function gives a `Relation`, or the rows and the relation between them, for any objective: of two views,
`loss(torch.cat([z1, z2]), relation=by_targets(y.repeat(2), within=1.0))`. A target that is not a number is unknown.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, LearnedTemperature, LogSumExp, Mean, Scores, WeightRelation, entry
from ..contrast.arrange import check_views
from ..contrast.objective import Terms
from ..contrast.similarity import unit

EVERYONE, NOBODY = -1, -2  # whose mixture a candidate is: rows themselves are met by everyone


def by_targets(
    targets: Tensor,
    candidates: Tensor | None = None,
    *,
    within: float = 0.0,
    growth: float = 0.0,
    width: float | None = None,
) -> WeightRelation:
    """Rows by their targets: near up to a distance and far beyond, or near to a degree and far to the rest.

    d is the Euclidean distance of two targets, |y_i - y_j| for numbers.

    - a threshold, the default: near where d <= within; else far, with weight 1 + growth d (SupReMix: within=0,
      growth=1), so that rows are pushed the more, the farther their targets are.
    - `width`: a Gaussian kernel k = exp(-d^2 / (2 width^2)): near with weight k and far with weight 1 - k.

    Args:
        targets: (R,) numbers or (R, P) vectors, of the anchors.
        candidates: (C,) or (C, P) of other candidates; None when the anchors are the candidates.

    Raises:
        ValueError: a negative distance, or a width that is not above 0.

    >>> counts = by_targets(torch.tensor([1.0, 2.0, 4.0, torch.nan]), within=1).counts()
    >>> counts.near.tolist(), counts.far.tolist(), counts.ignored.tolist()
    ([1, 1, 0, 0], [1, 1, 2, 0], [1, 1, 1, 3])
    """
    if within < 0 or growth < 0 or (width is not None and width <= 0):
        raise ValueError(f"within and growth are 0 or more, width above 0; got {within}, {growth} and {width}")

    def threshold(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        d = _distances(a, c)
        return (d <= within).to(d.dtype), torch.where(d > within, 1 + growth * d, 0)

    def kernel(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        near = (-0.5 * (_distances(a, c) / (width or 1)).square()).exp()
        return near.nan_to_num(0), (1 - near).nan_to_num(0)

    own, others = _as_columns(targets), None if candidates is None else _as_columns(candidates)
    return WeightRelation(threshold if width is None else kernel, own, others, symmetric=True)


def confused(
    targets: Tensor, predictions: Tensor, within: float = 1.0, growth: float = 0.01, rarity: Tensor | None = None
) -> WeightRelation:
    """Near where targets agree; far where targets differ but predictions agree all the same: the confused rows of ConR.

    |y_i - y_j| <= within is near; |y_i - y_j| > within with |p_i - p_j| <= within is far, with weight
    rarity_i exp(growth |y_i - y_j|); all other pairs do not count.

    Args:
        targets, predictions: (R,) numbers; predictions as they are now, taken as constants.
        rarity: (R,) how much a row pushes, such as the inverse frequency of its target; 1 when None. Hand it to the
            objective too (`weights=`), where rare rows should count more as anchors, as published.

    >>> y, p = torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.tensor([1.0, 3.0, 3.5, 5.0])
    >>> counts = confused(y, p).counts()
    >>> counts.near.tolist(), counts.far.tolist()
    ([1, 1, 1, 1], [0, 1, 1, 0])
    """
    rarity = torch.ones_like(predictions) if rarity is None else rarity.to(predictions.dtype)

    def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        d = (a[:, None, 0] - c[None, :, 0]).abs()
        alike = (a[:, None, 1] - c[None, :, 1]).abs() <= within
        return (d <= within).to(d.dtype), torch.where((d > within) & alike, a[:, None, 2] * (growth * d).exp(), 0)

    facts = torch.stack([targets.to(predictions.dtype), predictions, rarity], 1).detach()
    return WeightRelation(weight, facts, symmetric=bool((rarity == 1).all()))


def mixtures(
    rows: Tensor, targets: Tensor, window: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, WeightRelation]:
    """Anchors, candidates and their relation: the rows, and for each of them two mixtures of rows (SupReMix).

    Every row i meets all rows as `by_targets(growth=1)` says, and two mixtures of its own, which are constants:

    - hard and far: a z_i + (1 - a) z_k of another row k, a from Beta(2, 8), whose target is mixed alike;
    - hard and near: b z_j + (1 - b) z_k of a row below and one above, b such that the target is that of i.

    The official code mixes with all k and all (j, k), R^2 of them for each row; here one of each is drawn, O(R log R).
    A row that has no other target, or none on both sides within the window, does without. Mixtures are not of unit
    length, so score them by `Dot`: `SupCon(similarity=Dot())(anchors, candidates, relation=relation)`.

    Args:
        rows: (R, D), brought to unit length. targets: (R,) numbers.
        window: how far, less than that, the targets of j and k may be from that of i.

    Raises:
        ValueError: targets do not match the rows.

    >>> y = torch.tensor([1.0, 2.0, 3.0])
    >>> anchors, candidates, relation = mixtures(torch.eye(3), y, window=2.0)
    >>> candidates.shape, relation.counts().near.tolist()      # only row 1 has a neighbour on both sides
    (torch.Size([9, 3]), [0, 1, 0])
    """
    z = unit(check_views("mixtures", (rows,))[0])
    y, n = targets.to(z.dtype), len(z)
    if y.shape != (n,):
        raise ValueError(f"mixtures: targets must be one number per row, got {tuple(targets.shape)} for {n} rows")
    other, below, above = _partners(y, window, generator)
    # The second smallest of nine uniform numbers is Beta(2, 8).
    uniform = torch.rand(n, 9, generator=generator, device=z.device, dtype=z.dtype)
    alpha = uniform.sort(1).values[:, 1]
    beta = torch.where(below < 0, 0, (y[above] - y) / (y[above] - y[below]))
    held = z.detach()
    far = alpha[:, None] * held + (1 - alpha[:, None]) * held[other]
    near = beta[:, None] * held[below] + (1 - beta[:, None]) * held[above]
    place = torch.arange(n, device=z.device)
    owners = [torch.full_like(place, EVERYONE), *(torch.where(who < 0, NOBODY, place) for who in (other, below))]

    def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        (value, row), (target, owner) = a.T[:, :, None], c.T[:, None, :]
        d, met = (value - target).abs(), (owner == row) | (owner == EVERYONE)
        return ((d == 0) & met).to(d.dtype), torch.where((d > 0) & met, 1 + d, 0)

    mixed = torch.cat([y, alpha * y + (1 - alpha) * y[other], y])
    facts = torch.stack([mixed, torch.cat(owners).to(y.dtype)], 1)
    relation = WeightRelation(weight, torch.stack([y, place.to(y.dtype)], 1), facts)
    relation.own = place
    return z, torch.cat([z, far, near]), relation


def _partners(y: Tensor, window: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """For each row one of another target, one below it and one above it within the window; -1 where there is none."""
    known = (~y.isnan()).nonzero().squeeze(1)
    order = known[y[known].argsort()]
    ordered, count = y[order], len(order)
    first, last = torch.searchsorted(ordered, y), torch.searchsorted(ordered, y, right=True)
    lowest, highest = torch.searchsorted(ordered, y - window, right=True), torch.searchsorted(ordered, y + window)

    def draw(low: Tensor, high: Tensor) -> Tensor:
        """A place in [low, high) for each row, -1 where it is empty."""
        share = torch.rand(len(y), generator=generator, device=y.device, dtype=y.dtype)
        drawn = torch.minimum(low + (share * (high - low)).long(), high - 1)
        return torch.where((high > low) & ~y.isnan(), drawn, -1)

    other = draw(torch.zeros_like(first), count - (last - first))
    other = torch.where(other >= first, other + (last - first), other)  # those of the same target are stepped over
    below, above = draw(lowest, first), draw(last, highest)
    below, above = (torch.where((below < 0) | (above < 0), -1, side) for side in (below, above))
    named = torch.cat([order, order.new_tensor([-1])])  # place -1 is row -1
    return named[other], named[below], named[above]


def _as_columns(targets: Tensor) -> Tensor:
    if targets.ndim not in (1, 2):
        raise ValueError(f"targets are (R,) numbers or (R, P) vectors, got {tuple(targets.shape)}")
    wide = targets if targets.is_floating_point() else targets.to(torch.get_default_dtype())
    return wide[:, None] if wide.ndim == 1 else wide


def _distances(a: Tensor, c: Tensor) -> Tensor:
    """Exact distances: those of equal targets are 0."""
    return torch.cdist(a, c, compute_mode="donot_use_mm_for_euclid_dist")


@entry
class ConR(Composition):
    """For regression: rows of near targets attract; rows of far targets repel where their predictions are confused.

    A regulariser beside the loss of the predictions: `relation=confused(targets, predictions)` says who is near, and
    that only those are far whose predictions are near all the same. The value is a mean over all anchors; one that is
    confused with nobody, or has nobody near, has the value 0, so that right predictions give 0.

    Shapes: (R, D) with a relation; or views (N, D), ids or labels, as `SupCon`. Value >= 0; at chance with two views
    and all else far log(2 N - 1).

    Args:
        compat: add 1 to the sum of exponentials for each candidate that is not near, as the official code does by the
            way it masks them.

    >>> y, p = torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.tensor([1.0, 2.0, 4.0, 5.0])
    >>> float(ConR()(torch.eye(4), relation=confused(y, p)))                   # the predictions are right
    0.0
    """

    formula: ClassVar[str] = (
        "mean_i [ log(sum_near e^(s_ij / t) + sum_far r_i e^(g |y_i - y_j|) e^(s_ij / t)) - mean_(p near) s_ip / t ]"
    )
    source: ClassVar[str] = "Keramati et al. 2024, ConR; BorealisAI/ConR agedb-dir/loss.py"
    use: ClassVar[str] = (
        "regression with rare targets, beside the loss of the predictions (`relation=confused(targets, predictions)`)"
    )
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "SupCon with this relation, over the anchors that are confused alone"
    needs: ClassVar[str] = "any"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 0.07
    compat: bool = False

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and repulsion of every anchor that has both; 0 for the others."""
        every, near = scores.reduce(LogSumExp("any"), Mean("near"))
        if self.compat:
            others = scores.relation.shape[1] - scores.near_count
            every = torch.where(others > 0, torch.logaddexp(every, others.clamp_min(1).log()), every)
        both = (scores.near_count > 0) & (scores.far_count > 0)
        return {"attract": torch.where(both, -near, 0), "repel": torch.where(both, every, 0)}
