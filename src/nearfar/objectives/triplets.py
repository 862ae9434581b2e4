"""Triplet objectives: an anchor's near candidate must be closer than its far ones by a margin.

d is the Euclidean distance between unit rows (or its square, `similarity=NegativeSquaredEuclidean()`); scores are -d.
Which
triplets count is the definition of each entry: all of them, the hardest per anchor, or the semi-hard ones.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import (
    Below,
    Composition,
    Excess,
    Max,
    Min,
    NegativeEuclidean,
    NegativeSquaredEuclidean,
    Scores,
    Similarity,
    Sum,
    entry,
)
from ..contrast.objective import Terms

SORTED_FROM = 8  # near candidates of an anchor, above which it is faster to sort the far ones


def _unordered(ordered: Tensor) -> Tensor:
    """Not a number for rows that hold one, else 0: sorting puts it last, where no comparison would find it."""
    last = ordered[:, -1].detach()
    return torch.where(last.isnan(), last, 0)


def _averaged(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Means per anchor, weighted by how many triplets each stands for."""
    return total / count.clamp_min(1), count


@entry
class TripletAll(Composition):
    """Batch-all: every (anchor, near, far) triplet.

    - margin a number: [d_near - d_far + margin]_+, averaged over the violating triplets ("violations", the usual
      choice) or over all ("triplets");
    - soft: softplus(d_near - d_far) averaged over all triplets.

    The hinge needs no cube of triplets: of few near candidates each meets the far ones in turn; where they are
    many, the far distances of an anchor are sorted once, and sums over violating ones are differences of running
    sums. Shapes: (R, D) with labels or ids, or views. Value >= 0; all rows equal gives the margin.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(TripletAll(margin=0.2)(z, labels=y)), 4)    # all distances are equal
    0.2
    """

    formula: ClassVar[str] = "mean over triplets of [d_near - d_far + margin]_+   (soft: softplus(d_near - d_far))"
    source: ClassVar[str] = "Schroff et al. 2015, eq. 1; Hermans et al. 2017, eq. 3 and 4"
    use: ClassVar[str] = "classes with few items each, and every violating triplet should count"
    at_chance: ClassVar[str] = "0.2"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    margin: float = 0.2
    soft: bool = False
    average: str = "violations"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average not in ("violations", "triplets"):
            raise ValueError(f"average must be 'violations' or 'triplets', got {self.average!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Sums and counts over the triplets of every anchor."""
        each = None if self.soft else scores.near_each(SORTED_FROM)
        if each is None:
            total, count = scores.rows(self._soft_rows if self.soft else self._hinge_rows)
            return {"triplets": _averaged(total, count)}
        given = [(limit.detach(),) for limit, _ in each]
        sums = [Sum("far", of=Excess(self.margin), given=one) for one in given]
        counts = [Sum("far", of=Excess(self.margin, count=True), given=one) for one in given]
        found = scores.reduce(*sums, *counts)
        total = count = scores.u.new_zeros(scores.relation.shape[0])
        for (limit, there), excess, violating in zip(each, found, found[len(each) :], strict=False):
            # A limit is passed over by as many as violate it, which is the slope by which it enters.
            slope = -torch.where(there, violating.detach(), 0)
            total = total + excess + slope * torch.where(there, limit - limit.detach(), 0)
            count = count + violating
        if self.average == "triplets":
            count = scores.near_count * scores.far_count
        return {"triplets": _averaged(total, count.detach())}

    def _hinge_rows(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        return _hinge_sums(-s, near > 0, far > 0, self.margin, self.average == "violations")

    @staticmethod
    def _soft_rows(s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        n_far = (far > 0).sum(1)
        total = s.new_zeros(len(s))
        rows, columns = (near > 0).nonzero(as_tuple=True)
        # One near candidate of every anchor at a time: memory stays that of the scores.
        rank = torch.arange(len(rows), device=s.device) - torch.searchsorted(rows, rows)
        for k in range(int(rank.max()) + 1 if len(rank) else 0):
            r, c = rows[rank == k], columns[rank == k]
            hinge = softplus(s[r] - s[r, c][:, None])
            total = total.index_add(0, r, torch.where(far[r] > 0, hinge, 0).sum(1))
        return total, ((near > 0).sum(1) * n_far).to(s.dtype)


def _hinge_sums(d: Tensor, near: Tensor, far: Tensor, margin: float, violating: bool) -> tuple[Tensor, Tensor]:
    """Per row: sum over (near p, far n) of [d_p - d_n + margin]_+ and how many count."""
    limit = torch.where(near, d + margin, -torch.inf)
    ordered, _ = torch.where(far, d, torch.inf).sort(1)
    behind = torch.searchsorted(
        ordered.detach(), limit.detach().contiguous()
    )  # far distances below the limit of each p
    real = torch.where(torch.isinf(ordered), 0, ordered)
    running = torch.cat([real.new_zeros(len(d), 1), real.cumsum(1)], 1)
    hinge = behind * torch.where(near, limit, 0) - running.gather(1, behind)
    pairs = (near.sum(1) * far.sum(1)).to(d.dtype)
    count = torch.where(near, behind, 0).sum(1).to(d.dtype) if violating else pairs
    return torch.where(near, hinge, 0).sum(1), count + _unordered(ordered)


@entry
class TripletHard(Composition):
    """Batch-hard: each anchor with its farthest near and its nearest far candidate.

    Args:
        margin: of the hinge, in distance.
        soft: softplus(d_near - d_far) in place of the hinge; averaged over all anchors.

    With the hinge the average is over violating anchors. Shapes as `TripletAll`. When all rows are equal the value is
    the margin (soft: log 2) and the gradient vanishes: the known trap of this objective.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(TripletHard(soft=True)(z, labels=y)), 4)    # log 2
    0.6931
    """

    formula: ClassVar[str] = "mean_i [max_(near) d - min_(far) d + margin]_+   (soft: softplus of the difference)"
    source: ClassVar[str] = "Hermans et al. 2017, eq. 5"
    use: ClassVar[str] = (
        "re-identification with several rows per class in a batch; watch for the value resting at the margin"
    )
    at_chance: ClassVar[str] = "0.2"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    margin: float = 0.2
    soft: bool = False

    def per_anchor(self, scores: Scores) -> Terms:
        """Hinge or softplus of the hardest triplet."""
        near, far = scores.reduce(Min("near"), Max("far"))
        valid = (scores.near_count > 0) & (scores.far_count > 0)
        gap = torch.where(valid, far, 0) - torch.where(valid, near, 0)
        if self.soft:
            return {"triplets": softplus(gap)}
        value = (gap + self.margin).relu()
        # Not a number counts too, so that it is seen in the value.
        return {"triplets": (value, (valid & (value != 0)).to(value.dtype))}


@entry
class TripletSemiHard(Composition):
    """FaceNet's semi-hard triplets: for each near pair the nearest far candidate that is farther than the near one.

    Where none is farther, the farthest far candidate stands in. Squared distances by default; averaged over all near
    pairs. Shapes as `TripletAll`.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(TripletSemiHard(margin=0.2)(z, labels=y)), 4)
    0.2
    """

    formula: ClassVar[str] = (
        "mean_(i, p near) [d_ip - d_in + margin]_+,  n = nearest far with d_in > d_ip, else farthest"
    )
    source: ClassVar[str] = "Schroff et al. 2015, section 3.2; TensorFlow's triplet_semihard_loss for the fallback"
    use: ClassVar[str] = "as `TripletHard`, where the hardest rows are outliers or wrong labels"
    at_chance: ClassVar[str] = "0.2"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeSquaredEuclidean)
    margin: float = 0.2

    def per_anchor(self, scores: Scores) -> Terms:
        """Sums and counts over the near pairs of every anchor."""
        each = scores.near_each(SORTED_FROM)
        if not each:
            total, count = scores.rows(self._rows)
            return {"triplets": _averaged(total, count)}
        below = [Max("far", of=Below(), given=(limit.detach(),)) for limit, _ in each]
        farthest, *chosen = scores.reduce(Min("far"), *below)
        total, count = torch.zeros_like(farthest), torch.where(farthest.isnan(), farthest.detach(), 0)
        for (limit, there), nearest in zip(each, chosen, strict=True):
            counted = there & (scores.far_count > 0)
            far = torch.where(nearest == -torch.inf, farthest, nearest)
            gap = torch.where(counted, far, 0) - torch.where(counted, limit, 0)
            total = total + torch.where(counted, (gap + self.margin).relu(), 0)
            count = count + counted
        return {"triplets": _averaged(total, count)}

    def _rows(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        d, near, far = -s, near > 0, far > 0
        n_far = far.sum(1)
        ordered, _ = torch.where(far, d, torch.inf).sort(1)
        place = torch.searchsorted(ordered.detach(), d.detach().contiguous(), right=True)
        last = (n_far - 1).clamp_min(0)[:, None]
        chosen = ordered.gather(1, torch.minimum(place, last))
        counted = near & (n_far > 0)[:, None]
        hinge = torch.where(counted, d + self.margin - torch.where(torch.isinf(chosen), 0, chosen), 0).relu()
        return hinge.sum(1), counted.sum(1) + _unordered(ordered)
