"""Strategies `gathered` and `ring`: the statistics of one batch whose rows are spread over several processes.

Every process computes the statistics of its own anchors against all candidates: with `gathered` it holds all candidate
rows, O(N D); with `ring` the rows of the processes travel round, one block at a time, and so do their gradients on the
way back. The statistics, one number per anchor, are then gathered, so that the finish of an objective sees all anchors
and need not know. See `ranks` for how gradients come back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .arrange import Arrangement, arrange, check_views
from .blocks import Strategy, pair_scores
from .pairs import Pairs
from .ranks import Ranks, Shares, in_order, own_part, shared, statistic, statistics, whole
from .reductions import Reduction
from .relation import Relation
from .scores import RowFunction, Scores
from .similarity import Similarity
from .tiled import SAFE_EXPONENT, Plan, Return, Sweep, begin, deal, unpack, visit


def arrange_over(
    ranks: Ranks,
    name: str,
    layout: str,
    views: tuple[Tensor, ...],
    ids: Tensor | None,
    labels: Tensor | None,
    relation: Relation | None,
    negatives: Tensor | None,
    negative_ids: Tensor | None,
) -> Arrangement:
    """The rows of this process, with the relation over those of all; arguments as for `arrange`.

    The batch of all processes is theirs one after the other, in order of rank; a relation that is given is over all
    of it. Negatives that are given belong to the process that gives them: a common queue is to be shared out.
    """
    rows = check_views(name, views)
    device, many = rows[0].device, layout != "cross" and len(rows) > 1
    keys = labels if labels is not None else ids
    if keys is not None:
        keys = torch.as_tensor(keys, device=device).long()
    anchors = torch.cat(rows) if many else rows[0]
    asked = (rows[0], anchors, rows[-1], keys, negatives, negative_ids)
    counts = ranks.counts([0 if t is None else len(t) for t in asked], device)
    n, first, last, extra = counts[0], *(in_order(counts[k], device) for k in (1, 2, 4))
    if relation is not None:
        first = in_order(n, device)
        ghosts = [_ghost(row, places) for row, places in zip(rows[:1] + rows[1:][-1:], (first, last), strict=False)]
        made = arrange(name, layout, tuple(ghosts), ids, labels, relation, negatives, negative_ids)
        return Arrangement(rows[0], rows[-1], made.relation, Shares(ranks, first, last))
    everyone = views_of = None
    if keys is not None or many:
        each = in_order(n, device) if keys is None else ranks.gather(keys, counts[3])
        everyone = torch.cat([own.repeat(len(rows) if many else 1) for own in each])
    if layout == "apart" and many:
        views_of = torch.cat([torch.arange(len(rows), device=device).repeat_interleave(own) for own in n])
    if negative_ids is not None:
        negative_ids = torch.cat(ranks.gather(negative_ids.long(), counts[5]))
    rows = [anchors] if many else rows
    made = arrange(
        name, layout, tuple(_ghost(row, first) for row in rows),
        everyone if labels is None else None, everyone if labels is not None else None, None,
        None if negatives is None else _ghost(rows[0], extra), negative_ids, views_of,
    )  # fmt: skip
    own, candidates = rows[0], rows[-1]
    if negatives is None:
        return Arrangement(own, candidates, made.relation, Shares(ranks, first, first))
    places = [torch.cat([mine, more + sum(counts[1])]) for mine, more in zip(first, extra, strict=True)]
    return Arrangement(
        own, torch.cat([candidates, negatives.to(own.dtype)]), made.relation, Shares(ranks, first, places)
    )


def arranged(
    strategy: Strategy,
    name: str,
    layout: str,
    views: tuple[Tensor, ...],
    ids: Tensor | None = None,
    labels: Tensor | None = None,
    relation: Relation | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
) -> Arrangement:
    """What `arrange` says, over the processes where the strategy is over several."""
    given = name, layout, views, ids, labels, relation, negatives, negative_ids
    return arrange_over(Ranks(strategy.group), *given) if strategy.spread else arrange(*given)


def _ghost(row: Tensor, places: list[Tensor]) -> Tensor:
    """As many rows as all processes have, without content: who is near whom depends on their number alone."""
    return row.new_zeros((sum(len(p) for p in places), 1))


class Ring(torch.autograd.Function):
    """All reductions of this process's anchors, while the candidates of the processes travel past.

    `plans[s]` is for the candidates of process s.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, u: Tensor, v: Tensor, plans: list[Plan], ranks: Ranks, sizes: list[int], *given: Tensor
    ) -> tuple[Tensor, ...]:
        """One statistic per reduction and own anchor."""
        plan = plans[ranks.rank]
        states = begin(plan, [len(u)] * len(plan.reductions), u)
        block = v
        for hop in range(ranks.world):
            source = (ranks.rank - hop) % ranks.world
            coming = ranks.pass_on(block, sizes[source - 1]) if hop < ranks.world - 1 else None
            visit(plans[source], u, block, states, deal(plan, given))
            block = block if coming is None else coming()
        out = tuple(r.value(tuple(s)) for r, s in zip(plan.reductions, states, strict=True))
        ctx.set_materialize_grads(False)
        ctx.plans, ctx.ranks, ctx.sizes = plans, ranks, sizes  # type: ignore[attr-defined]
        ctx.lengths = [len(s) for s in states]  # type: ignore[attr-defined]
        ctx.save_for_backward(u, v, *given, *(t for s in states for t in s))
        ctx.mark_non_differentiable(*(x for x, r in zip(out, plan.reductions, strict=True) if not r.differentiable))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        """The candidates travel once more, and their gradients with them, home."""
        ranks: Ranks = ctx.ranks
        plan: Plan = ctx.plans[ranks.rank]
        u, v, *rest = ctx.saved_tensors
        given, states, _ = unpack(plan, rest, ctx.lengths)
        way = Return(plan, states, upstream, given)
        du, block, gradient = torch.zeros_like(u), v, torch.zeros_like(v)
        for hop in range(ranks.world):
            source = (ranks.rank - hop) % ranks.world
            incoming = ctx.sizes[source - 1]
            coming = ranks.pass_on(block, incoming) if hop < ranks.world - 1 else None
            way.visit(ctx.plans[source], u, block, du, gradient)
            gradient = ranks.pass_on(gradient, incoming)()
            block = block if coming is None else coming()
        return du, gradient, None, None, None, *(t for tensors in way.dgiven for t in tensors)


class RankScores(Scores):
    """Scores of one batch over several processes: the same statistics, of all anchors, on every process."""

    def __init__(
        self,
        similarity: Similarity,
        made: Arrangement,
        temperature: float | Tensor,
        strategy: Strategy,
        two_way: bool,
    ) -> None:
        assert made.shares is not None
        self.shares = made.shares
        super().__init__(similarity, made.anchors, made.candidates, made.relation, temperature, strategy, two_way)

    @property
    def t(self) -> RankScores:
        """See `Scores.t`."""
        made = cast(RankScores, super().t)
        made.shares = self.shares.t
        return made

    @cached_property
    def anchors(self) -> Tensor:
        """The anchors of all processes."""
        return whole(self._anchors, self.shares.ranks, self.shares.anchors)

    @cached_property
    def candidates(self) -> Tensor:
        """The candidates of all processes."""
        return whole(self._candidates, self.shares.ranks, self.shares.candidates)

    def near_scores(self) -> tuple[Pairs, Tensor] | None:
        """None: ends of a pair may be in different processes."""
        return None

    def reduce(self, *reductions: Reduction) -> list[Tensor]:
        """See `Scores.reduce`."""
        one = self._side(self.u, self.v, self.relation, self.shares, [self._for_side(r, "anchors") for r in reductions])
        if not self.two_way:
            return one
        turned = [self._for_side(r, "candidates") for r in reductions]
        other = self._side(self.v, self.u, self.relation.t, self.shares.t, turned)
        return [torch.cat(pair) for pair in zip(one, other, strict=True)]

    def _side(
        self, u: Tensor, v: Tensor, relation: Relation, shares: Shares, reductions: list[Reduction]
    ) -> list[Tensor]:
        ranks, anchors = shares.ranks, shares.anchors
        local = [
            replace(r, given=tuple(t if t.ndim == 0 else own_part(t, ranks, anchors) for t in r.given))
            for r in reductions
        ]
        done: dict[int, Tensor] = {}
        if _at_home(relation, shares):
            home = relation.part(anchors[ranks.rank], shares.candidates[ranks.rank]).near
            assert home is not None
            values = pair_scores(self.similarity, u[home.rows], v[home.columns])
            weights = None if home.weights is None else home.weights.to(values.dtype)
            for k, r in enumerate(local):
                if r.over == "near":
                    of = (
                        values if r.of is None else r.of(values, *(t if t.ndim == 0 else t[home.rows] for t in r.given))
                    )
                    done[k] = r.of_pairs(of, weights, home.rows, len(u))
        left = [k for k in range(len(local)) if k not in done]
        if left:
            work = tuple(local[k] for k in left)
            visited = self._gathered if self.strategy.kind == "gathered" else self._ring
            done.update(zip(left, visited(u, v, relation, shares, work), strict=True))
        return statistics([done[k] for k in range(len(local))], ranks, anchors)

    def _gathered(
        self, u: Tensor, v: Tensor, relation: Relation, shares: Shares, work: tuple[Reduction, ...]
    ) -> tuple[Tensor, ...]:
        own = shares.anchors[shares.ranks.rank]
        everyone = whole(v, shares.ranks, shares.candidates)
        plan = self._plan(relation.part(own, torch.arange(len(everyone), device=own.device)), work, u, everyone)
        made: tuple[Tensor, ...] = Sweep.apply(u, everyone, plan, *(t for r in work for t in r.given))
        return made

    def _ring(
        self, u: Tensor, v: Tensor, relation: Relation, shares: Shares, work: tuple[Reduction, ...]
    ) -> tuple[Tensor, ...]:
        ranks = shares.ranks
        own, sizes = shares.anchors[ranks.rank], [len(c) for c in shares.candidates]
        both = ranks.gather(torch.stack([_longest(u), _longest(v)], 1), [1] * ranks.world)
        longest = torch.cat(both).unbind(1)
        plans = [self._plan(relation.part(own, theirs), work, *longest) for theirs in shares.candidates]
        for source, plan in enumerate(plans):
            plan.first = sum(sizes[:source])
        made: tuple[Tensor, ...] = Ring.apply(u, v, plans, ranks, sizes, *(t for r in work for t in r.given))
        return made

    def _plan(self, relation: Relation, work: tuple[Reduction, ...], u: Tensor, v: Tensor) -> Plan:
        tile = self.strategy.side(relation.shape, u)
        bounded = self.similarity.bound(u, v) <= SAFE_EXPONENT
        return Plan(self.similarity, relation.in_tiles(tile), work, ("anchors",) * len(work), tile, bounded)

    def of_anchors(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Scores.of_anchors`."""
        return statistic(function(self._anchors), self.shares.ranks, self.shares.anchors)

    def shared(self, values: Tensor) -> Tensor:
        """See `Scores.shared`."""
        return shared(values, self.shares.ranks)

    def rows(self, function: RowFunction, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """See `Scores.rows`; whole rows need all candidates in one place."""
        sides = [(self.u, self.v, self.relation, self.shares, self._cut(given, "anchors"))]
        if self.two_way:
            sides.append((self.v, self.u, self.relation.t, self.shares.t, self._cut(given, "candidates")))
        parts = []
        for u, v, relation, shares, more in sides:
            own = shares.anchors[shares.ranks.rank]
            everyone = whole(v, shares.ranks, shares.candidates)
            part = relation.part(own, torch.arange(len(everyone), device=own.device))
            # A process without rows takes part in the backward pass too, or the others would wait for it.
            nothing = u[:0].sum() + everyone[:0].sum()
            mine = tuple(own_part(t, shares.ranks, shares.anchors) for t in more)
            found = (t + nothing for t in self._rows(u, everyone, part, function, mine))
            parts.append([statistic(t, shares.ranks, shares.anchors) for t in found])
        return tuple(torch.cat(t) for t in zip(*parts, strict=True))


def scored(
    similarity: Similarity, made: Arrangement, temperature: float | Tensor, strategy: Strategy, two_way: bool = False
) -> Scores:
    """The scores of an arrangement, over the processes where it is spread over several."""
    if made.shares is not None:
        return RankScores(similarity, made, temperature, strategy, two_way)
    return Scores(similarity, made.anchors, made.candidates, made.relation, temperature, strategy, two_way)


def _at_home(relation: Relation, shares: Shares) -> bool:
    """Whether the near pairs are listed and each has both ends in one process, as the views of an item have."""
    near = relation.near
    if near is None:
        return False
    homes = []
    for numbers, places in ((near.rows, shares.anchors), (near.columns, shares.candidates)):
        home = numbers.new_empty(sum(len(p) for p in places))
        for rank, place in enumerate(places):
            home[place] = rank
        homes.append(home[numbers])
    return torch.equal(*homes)


def _longest(rows: Tensor) -> Tensor:
    """The row of greatest length, (1, K); zeros of none."""
    rows = rows.detach()
    return rows[rows.square().sum(1).argmax()][None] if len(rows) else rows.new_zeros(1, rows.shape[1])
