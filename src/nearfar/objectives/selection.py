"""Triplets that are selected: by how hard they are, or by chance.

d is the Euclidean distance between unit rows; scores are -d. `sampled_far` draws far rows for any objective.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, Max, Min, NegativeEuclidean, PairRelation, Pairs, Scores, Similarity, Sum, entry
from ..contrast.blocks import slices
from ..contrast.objective import Terms
from ..contrast.similarity import unit
from .pairs import _share, _violations
from .triplets import _averaged, _unordered

PANEL = 1024  # anchors for which far rows are drawn at once


@entry
class TripletBand(Composition):
    """Every triplet whose far row is farther than its near row, but by less than the margin; or every one that is not.

    Args:
        margin: of the hinge, in distance.
        band: "semihard" for 0 < d_far - d_near < margin, "hard" for d_far <= d_near.

    The average is over the triplets of the band. Shapes: (R, D) with labels or ids, or views. Value in [0, margin] when
    semi-hard, where no triplet is left as all rows become equal; at least the margin when hard.

    >>> z, y = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), torch.tensor([0, 0, 1])
    >>> round(float(TripletBand(margin=0.5)(z, labels=y)), 4)                      # sqrt .4 - sqrt .8 + .5
    0.238
    """

    formula: ClassVar[str] = "mean over triplets with 0 < d_far - d_near < margin of d_near - d_far + margin"
    source: ClassVar[str] = "Schroff et al. 2015, section 3.2; pytorch-metric-learning TripletMarginMiner"
    use: ClassVar[str] = "as `TripletSemiHard`, with all semi-hard triplets and no others in their place"
    at_chance: ClassVar[str] = "0"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    margin: float = 0.2
    band: str = "semihard"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.band not in ("semihard", "hard"):
            raise ValueError(f"band must be 'semihard' or 'hard', got {self.band!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Sums and counts over the triplets of every anchor."""
        total, count = scores.rows(self._rows)
        return {"triplets": _averaged(total, count)}

    def _rows(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        """Far distances in order, so that those of a band stand together and sums are differences of running sums."""
        d, near = -s, near > 0
        ordered, _ = torch.where(far > 0, d, torch.inf).sort(1)
        own = torch.where(near, d, -torch.inf).detach()
        not_farther = torch.searchsorted(ordered.detach(), own, right=True)
        within = torch.searchsorted(ordered.detach(), own + self.margin)
        first, last = (not_farther, within) if self.band == "semihard" else (not_farther * 0, not_farther)
        real = torch.where(torch.isinf(ordered), 0, ordered)
        running = torch.cat([real.new_zeros(len(d), 1), real.cumsum(1)], 1)
        count = torch.where(near, last - first, 0)
        sums = running.gather(1, last) - running.gather(1, first)
        total = count * torch.where(near, d + self.margin, 0) - torch.where(near, sums, 0)
        return total.sum(1), count.sum(1).to(d.dtype) + _unordered(ordered)


@entry
class TripletEasyHard(Composition):
    """One near and one far row for each anchor, each chosen by how easy or hard it is.

    - "easy": the nearest near row, the farthest far row;
    - "hard": the farthest near row, the nearest far row;
    - "semihard": the hardest that still leaves the far row farther than the near one; the other choice comes first, and
      anchors for which none is left do not count;
    - "all": every one, each with the choice of the other kind.

    Args:
        margin: of the hinge, in distance.
        near_choice, far_choice: not both "semihard" or both "all", nor one of each.

    The average is over violating triplets. Shapes: (R, D) with labels or ids, or views. Value >= 0.

    >>> z, y = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), torch.tensor([0, 0, 1])
    >>> round(float(TripletEasyHard(margin=0.5)(z, labels=y)), 4)                  # sqrt .4 - sqrt .8 + .5
    0.238
    """

    formula: ClassVar[str] = "mean+_i [ d(chosen near) - d(chosen far) + margin ]_+"
    source: ClassVar[str] = "Xuan et al. 2020 (easy near rows); pytorch-metric-learning BatchEasyHardMiner"
    use: ClassVar[str] = "classes of several kinds: with easy near rows an item need only be close to its like"
    at_chance: ClassVar[str] = "0"
    equal_to: ClassVar[str] = "TripletHard with 'hard' for both"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    margin: float = 0.2
    near_choice: str = "easy"
    far_choice: str = "semihard"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = (self.near_choice, self.far_choice)
        if any(choice not in ("easy", "hard", "semihard", "all") for choice in choices):
            raise ValueError(f"near_choice and far_choice are 'easy', 'hard', 'semihard' or 'all', got {choices}")
        if all(choice in ("semihard", "all") for choice in choices):
            raise ValueError(f"one of near_choice and far_choice must be 'easy' or 'hard', got {choices}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Hinge of the chosen triplet, or of all near or all far rows with the chosen one."""
        near: Tensor | None = None
        far: Tensor | None = None
        if self.near_choice in ("easy", "hard"):
            (near,) = scores.reduce(Max("near") if self.near_choice == "easy" else Min("near"))
        if self.far_choice in ("easy", "hard"):
            (far,) = scores.reduce(Min("far") if self.far_choice == "easy" else Max("far"))
        # What is left out is named, so that what is not a number is left in, to be seen in the value.
        if near is not None and self.far_choice == "semihard":
            nearer = Max("far", of=lambda s, p: torch.where(s >= p, -torch.inf, s), given=(near.detach(),))
            (far,) = scores.reduce(nearer)
        if far is not None and self.near_choice == "semihard":
            farther = Min("near", of=lambda s, n: torch.where(s <= n, torch.inf, s), given=(far.detach(),))
            (near,) = scores.reduce(farther)
        if near is None:
            assert far is not None
            return {"triplets": self._with_each(scores, "near", far)}
        if far is None:
            return {"triplets": self._with_each(scores, "far", near)}
        value = (torch.where(far.isinf(), -torch.inf, far - near) + self.margin).relu()
        value = torch.where(near.isinf(), 0, value)
        return {"triplets": (value, _violations(value))}

    def _with_each(self, scores: Scores, over: str, chosen: Tensor) -> tuple[Tensor, Tensor]:
        def excess(s: Tensor, chosen: Tensor) -> Tensor:
            gap = chosen - s if over == "near" else s - chosen
            return torch.where(chosen.isinf(), 0, gap + self.margin).relu()

        total, count = scores.reduce(
            Sum(over, of=excess, given=(chosen,)),
            Sum(over, of=lambda s, x: _violations(excess(s, x)), given=(chosen.detach(),)),
        )
        return _share(total, count), count.detach()


@torch.no_grad()
def sampled_far(
    rows: Tensor,
    labels: Tensor,
    count: int,
    by: str = "distance",
    cutoff: float = 0.5,
    limit: float = 1.4,
    generator: torch.Generator | None = None,
) -> PairRelation:
    """A relation with `count` far rows for each anchor, drawn without replacement; near are all of the same label.

    By distance, a far row at distance d between unit rows is drawn with a weight of 1 / q(max(d, cutoff)), where q is
    how often such a distance occurs between random points of the sphere, q(d) = d^(D - 2) (1 - d^2 / 4)^((D - 3) / 2):
    near and far distances are seen alike often. Rows at `limit` and beyond are not drawn: they would violate no margin.
    "uniform" draws far rows alike. Rows of label -1 take no part. Hand it to any objective over one set of rows, such
    as `BoundaryMargin()(z, relation=sampled_far(z, labels, 8))`.

    Args:
        rows: (R, D), of which the distances are measured. labels: (R,).
        count: far rows for each anchor; fewer where there are not as many.
        generator: of random numbers, on the device of the rows; over several processes all need the same draws.

    Raises:
        ValueError: a count below 1, or another `by`.

    Source: Wu et al. 2017, section 4; pytorch-metric-learning DistanceWeightedMiner.

    >>> relation = sampled_far(torch.eye(4), torch.tensor([0, 0, 1, 1]), 1, by="uniform")
    >>> relation.counts().near.tolist(), relation.counts().far.tolist()
    ([1, 1, 1, 1], [1, 1, 1, 1])
    """
    if count < 1 or by not in ("distance", "uniform"):
        raise ValueError(f"count is at least 1 and by is 'distance' or 'uniform', got {count!r} and {by!r}")
    z, place = unit(rows.float() if rows.dtype != torch.float64 else rows), torch.arange(len(rows), device=rows.device)
    near, far = [], []
    for part in slices(len(z), PANEL):
        same, known = labels[part, None] == labels, (labels[part, None] >= 0) & (labels >= 0)
        near.append((same & known & (place[part, None] != place)).nonzero() + place.new_tensor([part.start, 0]))
        distance = (2 - 2 * z[part] @ z.T).clamp_min(0).sqrt()
        weight = _log_rarity(distance.clamp_min(cutoff), z.shape[1]) if by == "distance" else distance * 0
        outside = same | ~known | (distance >= limit if by == "distance" else torch.zeros_like(same))
        # The largest of logarithms of weights with Gumbel noise are a draw without replacement by these weights.
        noise = -torch.empty_like(weight).exponential_(generator=generator).log()
        drawn = torch.where(outside, -torch.inf, weight + noise).topk(min(count, len(z)), dim=1)
        there = (drawn.values > -torch.inf).nonzero()
        far.append(torch.stack([there[:, 0] + part.start, drawn.indices[there[:, 0], there[:, 1]]], 1))
    empty = place.new_empty(0, 2)
    p, n = torch.cat([empty, *near]), torch.cat([empty, *far])
    return PairRelation((len(z), len(z)), Pairs(p[:, 0], p[:, 1]), far=Pairs(n[:, 0], n[:, 1]), own=place)


def _log_rarity(distance: Tensor, width: int) -> Tensor:
    """-log q(distance), the rarity of a distance on the sphere of that many dimensions."""
    room = (1 - distance.square() / 4).clamp_min(torch.finfo(distance.dtype).tiny)
    return (2 - width) * distance.log() - (width - 3) / 2 * room.log()
