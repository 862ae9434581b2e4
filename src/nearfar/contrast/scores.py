"""Scores: what an objective sees of a batch. It asks for reductions, or for whole rows, and never for the matrix."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .blocks import Strategy, pair_scores, reduce_dense, scores_of, slices
from .kin import joint_sums
from .pairs import Counts, Pairs
from .reductions import Count, Mean, Reduction, Sum
from .relation import PairRelation, Relation
from .similarity import Constant, Similarity
from .tiled import SAFE_EXPONENT, Plan, Sweep

RowFunction = Callable[..., tuple[Tensor, ...]]


class Scores:
    """The scores of anchors (R rows) against candidates (C rows), near, far or ignored as the relation says.

    With `two_way` every statistic is asked for from both sides: (R + C,) numbers, the anchors' first. A relation that
    is symmetric over one set of rows needs no second side.
    """

    weights: Tensor | None = None  # how much each anchor counts beside the others; None: all alike

    def __init__(
        self,
        similarity: Similarity,
        anchors: Tensor,
        candidates: Tensor,
        relation: Relation,
        temperature: float | Tensor = 1.0,
        strategy: Strategy | str | None = None,
        two_way: bool = False,
    ) -> None:
        self.similarity, self.relation = similarity.at(temperature), relation
        self._anchors, self._candidates = anchors, candidates
        self.temperature = temperature
        self.u, self.v = similarity.prepare(anchors, candidates, temperature)
        self.strategy = Strategy.of(strategy)
        self.two_way = two_way and not self.symmetric
        self.dense = self.strategy.dense

    def by(self, similarity: Similarity, of: Callable[[Tensor], Tensor] | None = None) -> Scores:
        """The same pairs by another similarity, of other rows where `of` maps anchors and candidates to some.

        Where all pairs are taken to score the same, as for the value at chance, they do so by any similarity.
        """
        if isinstance(self.similarity, Constant):
            return self
        made = copy(self)
        rows = self._anchors if of is None else of(self._anchors)
        same = self._candidates is self._anchors
        others = rows if same else self._candidates if of is None else of(self._candidates)
        made.similarity = similarity.at(self.temperature)
        made.u, made.v = similarity.prepare(rows, others, self.temperature)
        return made

    @property
    def symmetric(self) -> bool:
        """True when the anchors are the candidates, and every pair is the same from both sides."""
        return self.relation.symmetric and self.similarity.symmetric

    @property
    def t(self) -> Scores:
        """The same scores from the other side: the candidates are the anchors."""
        made = copy(self)
        for name in ("anchors", "candidates", "counts"):  # what may be cached of this side
            made.__dict__.pop(name, None)
        made._anchors, made._candidates = self._candidates, self._anchors
        made.u, made.v, made.relation = self.v, self.u, self.relation.t
        return made

    @property
    def anchors(self) -> Tensor:
        """The anchors (R, D), as they were given."""
        return self._anchors

    @property
    def candidates(self) -> Tensor:
        """The candidates (C, D), as they were given."""
        return self._candidates

    @cached_property
    def counts(self) -> Counts:
        """Near, far and ignored candidates per anchor (and per candidate when two-way)."""
        one = self.relation.counts()
        if not self.two_way:
            return one
        other = self.relation.t.counts()
        pairs = ((one.near, other.near), (one.far, other.far), (one.ignored, other.ignored))
        return Counts(*(torch.cat(p) for p in pairs))

    @property
    def near_count(self) -> Tensor:
        """Near candidates per anchor, in the dtype of the scores."""
        return self.counts.near.to(self.u.dtype)

    @property
    def far_count(self) -> Tensor:
        """Far candidates per anchor, in the dtype of the scores."""
        return self.counts.far.to(self.u.dtype)

    def reduce(self, *reductions: Reduction) -> list[Tensor]:
        """One statistic per anchor for each reduction, with gradients."""
        sides = ("anchors", "candidates") if self.two_way else ("anchors",)
        jobs = [(self._for_side(r, side), side) for r in reductions for side in sides]
        done: dict[int, Tensor] = {}
        if not self.dense:
            for k, (r, side) in enumerate(jobs):
                value = self._shortcut(r, side)
                if value is not None:
                    done[k] = value
        left = [k for k in range(len(jobs)) if k not in done]
        if left:
            work, ends = tuple(jobs[k][0] for k in left), tuple(jobs[k][1] for k in left)
            values = self._dense(work, ends) if self.dense else self._tiled(work, ends)
            done.update(zip(left, values, strict=True))
        step = len(sides)
        return [
            torch.cat([done[k + s] for s in range(step)]) if step > 1 else done[k] for k in range(0, len(jobs), step)
        ]

    def near_pairs(self) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """(anchors, candidates, weights) of the near pairs one by one, or None when there are too many to list."""
        near = self.relation.near
        return None if near is None else (near.rows, near.columns, near.weights)

    def near_scores(self) -> tuple[Pairs, Tensor] | None:
        """The near pairs and their scores one by one, with gradient; None when they are not listed, or far ones have
        weights, and always with `dense`, which takes no shortcut."""
        relation = self.relation
        listed = isinstance(relation, PairRelation) and (relation.far is None or relation.far.weights is None)
        if self.dense or self.two_way or not listed:
            return None
        near = relation.near
        assert near is not None
        return near, pair_scores(self.similarity, self.u[near.rows], self.v[near.columns])

    def near_each(self, most: int) -> list[tuple[Tensor, Tensor]] | None:
        """The first near candidate of every anchor, the second and so on: its score (R,), inf where there is none, and
        whether there is one. None as for `near_scores`, and when an anchor has more than `most`."""
        found = self.near_scores()
        if found is None:
            return None
        near, values = found
        rank = torch.arange(len(near), device=values.device) - torch.searchsorted(near.rows, near.rows)
        if len(near) and int(rank.max()) >= most:
            return None
        each = []
        for k in range(int(rank.max()) + 1 if len(near) else 0):
            rows = near.rows[rank == k]
            none = values.new_full((self.relation.shape[0],), torch.inf)
            there = torch.zeros_like(none, dtype=torch.bool).index_fill(0, rows, True)
            each.append((none.index_put((rows,), values[rank == k]), there))
        return each

    def near_joint(self, rate: float) -> tuple[Pairs, Tensor, Tensor] | None:
        """The near pairs, their scores and the logarithms of sum_(j far) exp(rate (s_aj + s_pj)), one by one.

        None as for `near_scores`, and where near is not "same key" among rows that have far ones, or where the
        exponentials would need a shift.
        """
        near, keys, relation = self.near_scores(), self.relation.keys, self.relation
        plain = self.symmetric and self.similarity.products and self.similarity.linear
        if near is None or keys is None or not plain or not len(near[0]) or not bool((relation.counts().far > 0).all()):
            return None
        if not 2 * rate * self.similarity.bound(self.u, self.v) <= SAFE_EXPONENT:
            return None
        pairs, values = near
        order = torch.argsort(keys[0], stable=True)
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        u, v, tile = self.u[order] * rate, self.v[order], self.strategy.side(relation.shape, self.u)
        ends = place[pairs.rows], place[pairs.columns]
        first, apart = torch.minimum(*ends), (ends[0] - ends[1]).abs()
        return pairs, values, joint_sums(u, v, keys[0][order], tile)[apart - 1, first].log()

    def rows(self, function: RowFunction, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """Statistics that need whole rows: `function(scores, near, far)` of (B, C) matrices gives tensors (B,).

        Rows come in panels of about one tile of memory; with `tiled` a panel is computed again in the backward pass.
        Tensors `given`, one number per anchor, follow as further arguments, cut to the panel. Numbers of candidates
        that the function uses pass through `shared`.
        """
        parts = [self._rows(self.u, self.v, self.relation, function, self._cut(given, "anchors"))]
        if self.two_way:
            parts.append(self._rows(self.v, self.u, self.relation.t, function, self._cut(given, "candidates")))
        return tuple(torch.cat(t) for t in zip(*parts, strict=True))

    def of_anchors(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """One number per anchor, (R,), from its row as it was given, such as its norm."""
        return function(self._anchors)

    def shared(self, values: Tensor) -> Tensor:
        """Statistics (C,) of all candidates, for a function of rows."""
        return values

    def _rows(
        self, u: Tensor, v: Tensor, relation: Relation, function: RowFunction, given: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        def panel(own: Tensor, every: Tensor, start: int, *more: Tensor) -> tuple[Tensor, ...]:
            scores = scores_of(self.similarity, own, every)
            where = slice(start, start + len(own)), slice(0, len(every))
            near, far = (relation.weights(over, *where).full(scores) for over in ("near", "far"))
            return function(scores, near, far, *more)

        if self.dense or self.strategy.keeps(4 * len(u) * len(v), u):  # about four matrices: scores, near, far, work
            return panel(u, v, 0, *given)
        side = self.strategy.side(relation.shape, u)
        height = max(1, side * side // max(1, len(v)))
        panels = slices(len(u), height) or [slice(0, 0)]  # of no rows the statistics have no values, but there are some
        parts = [
            checkpoint(panel, u[rows], v, rows.start, *(t[rows] for t in given), use_reentrant=False) for rows in panels
        ]
        return tuple(torch.cat(t) for t in zip(*parts, strict=True))

    def _for_side(self, reduction: Reduction, side: str) -> Reduction:
        """The reduction with its given tensors cut to one side."""
        return replace(reduction, given=self._cut(reduction.given, side))

    def _cut(self, given: tuple[Tensor, ...], side: str) -> tuple[Tensor, ...]:
        """Given tensors of one side; a scalar belongs to both."""
        if not self.two_way:
            return given
        r = self.relation.shape[0]
        part = slice(0, r) if side == "anchors" else slice(r, None)
        return tuple(t if t.ndim == 0 else t[part] for t in given)

    def _shortcut(self, reduction: Reduction, side: str) -> Tensor | None:
        """Statistics over near pairs that need no tile: few pairs one by one, linear ones by sums of rows per key."""
        near = self.relation.near
        if reduction.over != "near":
            return None
        if near is not None:
            rows, n = (near.rows, len(self.u)) if side == "anchors" else (near.columns, len(self.v))
            weights = None if near.weights is None else near.weights.to(self.u.dtype)
            if isinstance(reduction, Count):
                return reduction.of_pairs(self.u.new_empty(len(rows)), weights, rows, n)
            u = self.u if self.relation.one_each else self.u.index_select(0, near.rows)
            values = pair_scores(self.similarity, u, self.v.index_select(0, near.columns))
            if reduction.of is not None:
                values = reduction.of(values, *(t if t.ndim == 0 else t[rows] for t in reduction.given))
            if self.relation.one_each and n == len(values) and type(reduction) in (Sum, Mean):
                return values  # of one
            return reduction.of_pairs(values, weights, rows, n)
        linear = self.similarity.linear and reduction.of is None
        if self.relation.keys is None or not linear or type(reduction) not in (Sum, Mean, Count):
            return None
        total, count = self._near_by_key(side)
        if isinstance(reduction, Count):
            return count
        return total / torch.where(count > 0, count, 1) if isinstance(reduction, Mean) else total

    def _near_by_key(self, side: str) -> tuple[Tensor, Tensor]:
        """Sums of near scores as u_i . (sum of the v of its key, less its own): O(N K), no pair is visited."""
        relation = self.relation if side == "anchors" else self.relation.t
        u, v = (self.u, self.v) if side == "anchors" else (self.v, self.u)
        assert relation.keys is not None
        anchors, candidates = relation.keys
        keys, inverse = torch.unique(torch.cat([anchors, candidates]), return_inverse=True)
        per_key = v.new_zeros(len(keys), v.shape[1]).index_add(0, inverse[len(u) :], v)
        total = (u * per_key[inverse[: len(u)]]).sum(1)
        own = getattr(relation, "own", None)
        if own is not None:
            total = total - torch.where(own >= 0, (u * v[own.clamp_min(0)]).sum(1), 0)
        return torch.where(anchors >= 0, total, 0), relation.counts().near.to(u.dtype)

    def _dense(self, reductions: tuple[Reduction, ...], sides: tuple[str, ...]) -> list[Tensor]:
        return reduce_dense(self.similarity, self.u, self.v, self.relation, reductions, sides)

    def _tiled(self, reductions: tuple[Reduction, ...], sides: tuple[str, ...]) -> list[Tensor]:
        tile = self.strategy.side(self.relation.shape, self.u)
        bounded = self.similarity.bound(self.u, self.v) <= SAFE_EXPONENT
        plan = Plan(self.similarity, self.relation.in_tiles(tile), reductions, sides, tile, bounded)
        plan.keep = self.strategy.keeps(plan.scores_in(self.relation.shape), self.u)
        given = [t for r in reductions for t in r.given]
        return list(Sweep.apply(self.u, self.v, plan, *given))
