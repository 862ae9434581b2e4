"""Rows that bring their own far rows: anchors, positives and negatives, with a guide that knows false negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..contrast import (
    Cosine,
    Count,
    LearnedTemperature,
    LogSumExp,
    Max,
    Relation,
    Scores,
    Similarity,
    Strategy,
    Sum,
    WeightRelation,
    current,
    entry,
    paired,
)
from ..contrast.arrange import Arrangement, check_views
from ..contrast.blocks import pair_scores
from ..contrast.objective import Inspection, Objective
from ..contrast.ranks import Ranks, Shares
from ..contrast.ring import scored
from ..contrast.similarity import Constant

SAME_VIEW = ("none", "anchors", "both")


@dataclass(frozen=True)
class _Batch:
    """Rows of this process, and what is known of those of all."""

    rows: list[Tensor]
    total: int
    ids: Tensor
    given: Tensor  # (N, K) whether the k-th negative of a row is there
    guide: Tensor | None  # (N, V, P) unit rows of the guide
    places: list[Tensor]
    ranks: Ranks | None

    def block(self, anchors: Tensor, candidates: list[Tensor], relation: Relation) -> Arrangement:
        """Anchors against candidates, kind after kind; candidate k * total + j is the k-th kind of row j."""
        shares = None
        if self.ranks is not None:
            every = [torch.cat([p + k * self.total for k in range(len(candidates))]) for p in self.places]
            shares = Shares(self.ranks, self.places, every)
        return Arrangement(anchors, torch.cat(candidates), relation, shares)


@entry
class MultipleNegatives(Objective):
    """Cross-entropy of finding each anchor's positive among all positives and all given negatives of the batch.

    View 1 are anchors, view 2 their positives, any further view holds a negative for each row. What is far of an anchor
    i, besides the other positives:

    - its own negatives, each with weight `own_weight`; those of other rows with weight 1, or not at all;
    - with `same_view="anchors"` the other anchors too, with "both" also the other positives seen from its positive;
    - nothing that a guide finds as near as the positive: with `guide`, rows of another encoder, a candidate j does not
      count where g_ij > g_i+ - guide_margin, or g_ij > g_i+ (1 - guide_margin) if `relative`, or, in place of both,
      g_ij >= `threshold`. g are cosines, g_i+ that of anchor and positive. The positive itself always counts.

    Called with `targets` (N,), the confidence y_i in each positive, the rest 1 - y_i of the target is spread evenly
    over the far candidates. A positive that should merely count less gets `weights=` (N,).

    Shapes: two or more views (N, D); `given` (N, K), which of the K negatives are there (all where left out); `guide`
    (N, V, P), a row for each view; `ids` (N,), rows of one id are duplicates, neither near nor far; -1 is like none.
    Masks are computed block by block. Value >= 0; at chance log N for two views, log(N (1 + K)) with K negatives.

    Args:
        own_weight: w, how often the anchor's own negatives stand in the denominator; e^(hard weight) of SimCSE.
        shared: negatives of other rows are candidates too.
        same_view: "none", "anchors" or "both".
        guide_margin, relative, threshold: which candidates the guide leaves out.
        hinge: weight of a term max(0, hinge_margin - s_ip + max_(j far) s_ij) of plain similarities (PromCSE takes 10).

    >>> loss = MultipleNegatives()
    >>> z = torch.ones(4, 3)
    >>> round(float(loss(z, z)), 4), round(float(loss(z, z, z)), 4)            # log 4 and log 8
    (1.3863, 2.0794)
    """

    formula: ClassVar[str] = (
        "mean_i [ log( e^(s_ip / t) + sum_(j far) w_ij e^(s_ij / t) ) - s_ip / t ]  [+ h max(0, m - s_ip + max_j s_ij)]"
    )
    source: ClassVar[str] = (
        "Gao et al. 2021 (SimCSE, supervised); Solatorio 2024 (GISTEmbed); Zhou et al. 2022 (DCLR); Lee et al. 2024 "
        "(Gecko); Jiang et al. 2022 (PromCSE); UKPLab/sentence-transformers MultipleNegativesRankingLoss, GISTEmbedLoss"
    )
    use: ClassVar[str] = "pairs, or triples with a hard negative: search, questions and answers, entailment"
    compares: ClassVar[str] = "cosine"
    near: ClassVar[str] = "the item's row in view 2"
    far: ClassVar[str] = "the other rows of view 2, and all rows of further views"
    at_chance: ClassVar[str] = "log(N)"
    cost: ClassVar[str] = "one sweep over the tiles of N x N (1 + K), and one of N x N for each block of the same view"
    equal_to: ClassVar[str] = "InfoNCE for two views without further arguments"

    similarity: Similarity = field(default_factory=Cosine)
    temperature: float | LearnedTemperature = 0.05
    own_weight: float = 1.0
    shared: bool = True
    same_view: str = "none"
    guide_margin: float = 0.0
    relative: bool = False
    threshold: float | None = None
    hinge: float = 0.0
    hinge_margin: float = 0.2

    def __post_init__(self) -> None:
        if self.same_view not in SAME_VIEW:
            raise ValueError(f"same_view must be 'none', 'anchors' or 'both', got {self.same_view!r}")
        if self.own_weight < 0 or self.hinge < 0:
            raise ValueError(f"own_weight and hinge are 0 or more, got {self.own_weight} and {self.hinge}")

    def forward(
        self,
        *views: Tensor,
        ids: Tensor | None = None,
        given: Tensor | None = None,
        guide: Tensor | None = None,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> Tensor:
        """The scalar value; arguments as of the class."""
        terms, each = self._terms(views, ids, given, guide, targets, weights, strategy)
        return torch.stack([_pooled(value, each) for value in terms.values()]).sum()

    def inspect(
        self,
        *views: Tensor,
        ids: Tensor | None = None,
        given: Tensor | None = None,
        guide: Tensor | None = None,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> Inspection:
        """The value with its terms and those of every anchor, at chance and at collapse."""

        call = views, ids, given, guide, targets, weights, strategy
        terms, each = self._terms(*call)
        means = {name: _pooled(value, each) for name, value in terms.items()}

        def if_all_score(value: float | None) -> float | None:
            if value is None:
                return None
            with torch.no_grad():
                return float(sum(_pooled(one, each) for one in self._terms(*call, Constant(value))[0].values()))

        return Inspection(
            torch.stack(list(means.values())).sum(),
            means,
            per_anchor=torch.stack(list(terms.values())).sum(0).detach(),
            weight=each,
            chance=if_all_score(self.similarity.unrelated),
            collapsed=if_all_score(self.similarity.equal),
        )

    def _terms(
        self,
        views: tuple[Tensor, ...],
        ids: Tensor | None,
        given: Tensor | None,
        guide: Tensor | None,
        targets: Tensor | None,
        weights: Tensor | None,
        strategy: str | Strategy | None,
        similarity: Similarity | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Named values of all anchors, and how much each anchor counts."""
        batch = self._batch(views, ids, given, guide, strategy)
        n, like = len(batch.rows[0]), batch.rows[0]
        t, chosen = current(self.temperature), self.chosen(strategy)
        with torch.autocast(like.device.type, enabled=False):
            blocks = [scored(similarity or self.similarity, made, t, chosen) for made in self._blocks(batch)]
            first = blocks[0]
            near = self.together(pair_scores(first.similarity, first.u, first.v[:n]), strategy)
            far = torch.stack([s.reduce(LogSumExp("far"))[0] for s in blocks]).logsumexp(0)
            found = {"contrast": torch.logaddexp(far, near) - near}
            if targets is not None:
                found["contrast"] = found["contrast"] + self._spread(
                    blocks, near, self._of_all(targets, like, strategy)
                )
            if self.hinge:
                hardest = first.reduce(Max("far"))[0]
                gap = torch.where(hardest > -torch.inf, self.hinge_margin + (hardest - near) * t, 0)
                found["hinge"] = self.hinge * gap.relu()
        every = like.new_ones(n) if weights is None else weights
        return found, self._of_all(every, like, strategy)

    def _of_all(self, values: Tensor, like: Tensor, strategy: str | Strategy | None) -> Tensor:
        """Numbers (N,) of all rows, taken as constants."""
        if values.shape != like.shape[:1]:
            raise ValueError(
                f"MultipleNegatives: weights and targets are one per row, got {tuple(values.shape)} for {len(like)}"
            )
        return self.together(values.detach().to(like.dtype), strategy)

    def _spread(self, blocks: list[Scores], near: Tensor, confidence: Tensor) -> Tensor:
        """What a target that is spread over the far candidates adds: (1 - y) (s_ip - mean_(j far) s_ij)."""
        found = [s.reduce(Sum("far"), Count("far")) for s in blocks]
        total, count = (torch.stack(part).sum(0) for part in zip(*found, strict=True))
        return (1 - confidence) * torch.where(count > 0, near - total / torch.where(count > 0, count, 1), 0)

    def _batch(
        self,
        views: tuple[Tensor, ...],
        ids: Tensor | None,
        given: Tensor | None,
        guide: Tensor | None,
        strategy: str | Strategy | None,
    ) -> _Batch:
        rows = check_views("MultipleNegatives", views)
        n, k, device = len(rows[0]), len(rows) - 2, rows[0].device
        if k < 0 or any(len(r) != n for r in rows):
            raise ValueError(
                f"MultipleNegatives needs two or more views of the same rows, got {[len(r) for r in rows]} rows"
            )
        for name, what, shape in (("ids", ids, (n,)), ("given", given, (n, k))):
            if what is not None and what.shape != shape:
                raise ValueError(f"MultipleNegatives: {name} must be {shape} for {n} rows, got {tuple(what.shape)}")
        if guide is not None and (guide.ndim != 3 or guide.shape[:2] != (n, k + 2)):
            raise ValueError(
                f"MultipleNegatives: guide must be ({n}, {k + 2}, P), a row for each view, got {tuple(guide.shape)}"
            )
        chosen = self.chosen(strategy)
        ranks = Ranks(chosen.group) if chosen.spread else None
        places = [torch.arange(n, device=device)] if ranks is None else ranks.places(n, device)
        total = sum(len(p) for p in places)
        there = torch.ones(n, k, dtype=torch.long, device=device) if given is None else given.to(device).long()
        known = torch.arange(total, device=device) if ids is None else self.together(ids.to(device).long(), strategy)
        seen = None if guide is None else self.together(normalize(guide.detach().float(), dim=2), strategy)
        return _Batch(rows, total, known, self.together(there, strategy), seen, places, ranks)

    def _blocks(self, batch: _Batch) -> list[Arrangement]:
        """Anchors against positives and negatives, and rows of one view against each other."""
        a, p, *negatives = batch.rows
        made = [batch.block(a, [p, *negatives], self._relation(batch))]
        for view, rows in enumerate((a, p)[: SAME_VIEW.index(self.same_view)]):
            made.append(batch.block(rows, [rows], self._within(batch, view)))
        return made

    def _relation(self, batch: _Batch) -> Relation:
        """Anchors against positives and negatives."""
        allowed, plain = self._guided(batch), self.own_weight == 1 and self.shared
        number = torch.arange(batch.total * (len(batch.rows) - 1), device=batch.ids.device)
        like = batch.rows[0]
        if allowed is None and (not batch.given.shape[1] or (plain and bool(batch.given.all()))):
            highest = int(batch.ids.max()) + 1 if batch.total else 0
            return paired(batch.total, batch.ids, torch.cat([batch.ids, highest + number[batch.total :]]))

        def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            kind, row = c.div(batch.total, rounding_mode="floor"), c % batch.total
            own = a[:, None] == row
            far = self._others(batch, a, row).to(like.dtype)
            if batch.given.shape[1]:
                there = batch.given[row, (kind - 1).clamp_min(0)].to(like.dtype)
                far = torch.where(kind == 0, far, there * torch.where(own, self.own_weight, float(self.shared)))
            return own & (kind == 0), far if allowed is None else far * allowed(a, 0, row, kind + 1)

        return WeightRelation(weight, number[: batch.total], number)

    def _within(self, batch: _Batch, view: int) -> WeightRelation:
        """Rows of one view against each other: all of other items are far."""
        allowed = self._guided(batch)
        number = torch.arange(batch.total, device=batch.ids.device)

        def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            far = self._others(batch, a, c)
            return torch.zeros_like(far), far if allowed is None else far & allowed(
                a, view, c, torch.full_like(c, view)
            )

        return WeightRelation(weight, number, number)

    def _others(self, batch: _Batch, a: Tensor, c: Tensor) -> Tensor:
        """Whether rows are of other items; one of an unknown item (-1) is like none but itself."""
        return (a[:, None] != c) & ((batch.ids[a][:, None] != batch.ids[c]) | (batch.ids[c] < 0))

    def _guided(self, batch: _Batch) -> Callable[[Tensor, int, Tensor, Tensor], Tensor] | None:
        """Which candidates the guide lets pass, of rows in views against rows in views; None without a guide."""
        guide = batch.guide
        if guide is None:
            return None
        limit = torch.linalg.vecdot(guide[:, 0], guide[:, 1])
        limit = limit * (1 - self.guide_margin) if self.relative else limit - self.guide_margin

        def allowed(a: Tensor, view: int, c: Tensor, views: Tensor) -> Tensor:
            cosine = guide[a, view] @ guide[c, views].T
            return cosine <= limit[a][:, None] if self.threshold is None else cosine < self.threshold

        return allowed


def _pooled(values: Tensor, each: Tensor) -> Tensor:
    """Mean, weighted by how much each anchor counts."""
    total = each.sum()
    return (values * each).sum() / torch.where(total > 0, total, 1)
