"""Strategy `tiled`: statistics from tiles that fit the cache, O(R) state, every tile computed again in the backward
pass.

When the anchors are the candidates and the relation is symmetric, only the tiles on and above the diagonal are visited:
each serves its rows and, transposed, its columns, so half of the products are enough. Memory is O((R + C) K) plus a few
tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .blocks import keep_freed_blocks, slices
from .exponential import exponential
from .maps import Map
from .pairs import Weights
from .reductions import Joint, LogSumExp, Max, Mean, Reduction, State, Sum
from .relation import Relation
from .similarity import Similarity

SAFE_EXPONENT = 70.0  # exp(70) summed over 10^7 candidates is still finite in float32, and exp(-70) is still normal

End = tuple[slice, bool]  # whom a tile serves: a range of anchors (False) or, transposed, of candidates (True)

keep_freed_blocks()


@dataclass
class Plan:
    """All that a sweep needs besides tensors; `sides` says if a reduction is per anchor or per candidate."""

    similarity: Similarity
    relation: Relation
    reductions: tuple[Reduction, ...]
    sides: tuple[str, ...]
    tile: int
    bounded: bool  # |scores| <= SAFE_EXPONENT: exponentials need no shift, so rows and columns share them
    keep: bool = False  # whether the scores of all tiles wait for the backward pass
    first: int = 0  # number of the first candidate, where the candidates come in several blocks

    def shares(self, k: int) -> bool:
        """True for a log-sum-exp whose exponentials need no shift."""
        r = self.reductions[k]
        return self.bounded and isinstance(r, LogSumExp) and r.of is None and abs(r.scale) <= 1

    @property
    def keeps_exponentials(self) -> bool:
        """True when exponentials wait in place of scores: nothing else would need the scores."""
        return self.keep and len(self.reductions) == 1 and self.shares(0) and self.similarity.linear

    def tiles(self, shape: tuple[int, int]) -> Iterator[tuple[slice, slice, bool]]:
        """(rows, columns, mirrored): a mirrored tile stands for its transpose too."""
        symmetric = self.relation.symmetric and self.similarity.symmetric
        for rows in slices(shape[0], self.tile):
            for columns in slices(shape[1], self.tile):
                if not symmetric or columns.start >= rows.start:
                    yield rows, columns, symmetric and columns.start > rows.start

    def scores_in(self, shape: tuple[int, int]) -> int:
        """How many scores the tiles hold together."""
        return sum((r.stop - r.start) * (c.stop - c.start) for r, c, _ in self.tiles(shape))

    def ends(self, k: int, rows: slice, columns: slice, mirrored: bool) -> list[End]:
        """Whom a tile serves: its anchors, its candidates, or both when it stands for its mirror image too."""
        if self.sides[k] == "candidates":
            return [(columns, True)]
        return [(rows, False), (columns, True)] if mirrored else [(rows, False)]

    def scores(self, u: Tensor, v: Tensor, buffer: Tensor) -> Tensor:
        """The scores of one tile, in a buffer."""
        if not self.similarity.products:
            return _matrix(buffer, len(u), len(v)).copy_(self.similarity.block(u, v))
        return self.similarity.link_(torch.mm(u, v.T, out=_matrix(buffer, len(u), len(v))))

    def exponentials(self, k: int, scores: Tensor, weights: Weights, buffer: Tensor) -> Tensor:
        """w exp(scale s) of one tile, in a buffer."""
        scale = self.reductions[k].scale  # type: ignore[attr-defined]
        return weights.zero_(exponential(scores, scale, out=_matrix(buffer, *scores.shape)))


def _matrix(buffer: Tensor, rows: int, columns: int) -> Tensor:
    return buffer[: rows * columns].view(rows, columns)


def _given(tensors: tuple[Tensor, ...], end: End) -> list[Tensor]:
    """The given tensors of a tile, shaped to broadcast against its scores."""
    where, transposed = end
    return [t if t.ndim == 0 else (t[where][None, :] if transposed else t[where][:, None]) for t in tensors]


def begin(plan: Plan, lengths: list[int], like: Tensor) -> list[list[Tensor]]:
    """The state of every reduction before any tile."""
    # Of shared exponentials the state is their sum, beside a shift of 0.
    return [
        [like.new_zeros(n), like.new_zeros(n)] if plan.shares(k) else list(plan.reductions[k].empty(n, like))
        for k, n in enumerate(lengths)
    ]


def visit(
    plan: Plan,
    u: Tensor,
    v: Tensor,
    states: list[list[Tensor]],
    given: list[tuple[Tensor, ...]],
    kept: list[Tensor] | None = None,
) -> None:
    """Merge all tiles of u against v into the states; scores (or exponentials) are added to `kept`."""
    shared = [plan.shares(k) for k in range(len(plan.reductions))]
    x_buffer, e_buffer = u.new_empty(plan.tile**2), u.new_empty(plan.tile**2)
    for rows, columns, mirrored in plan.tiles((len(u), len(v))):
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        scores = plan.scores(u[rows], v[columns], x_buffer if kept is None else u.new_empty(size))
        if kept is not None:
            kept.append(scores)
        for k, reduction in enumerate(plan.reductions):
            weights = plan.relation.weights(reduction.over, rows, columns)
            ends = plan.ends(k, rows, columns, mirrored)
            if shared[k]:
                e = plan.exponentials(k, scores, weights, scores.view(-1) if plan.keeps_exponentials else e_buffer)
                for where, transposed in ends:
                    states[k][1][where] += e.sum(0 if transposed else 1)
                continue
            if isinstance(reduction, Joint):
                sums = [
                    [p.sum(0 if transposed else 1) for _, transposed in ends] for p in reduction.parts(scores, weights)
                ]
                for (where, _), own in zip(ends, zip(*sums, strict=True), strict=True):
                    for state, piece in zip(states[k], reduction.collected(list(own)), strict=True):
                        state[where] += piece
                continue
            values = scores
            if reduction.of is not None and reduction.even:
                values = reduction.of(scores, *given[k])
            for where, transposed in ends:
                if reduction.of is not None and not reduction.even:
                    values = reduction.of(scores, *_given(given[k], (where, transposed)))
                part = tuple(t[where] for t in states[k])
                if transposed:
                    merged = reduction.update(part, values.T, weights.t, plan.first + rows.start)
                else:
                    merged = reduction.update(part, values, weights, plan.first + columns.start)
                for whole, new in zip(states[k], merged, strict=True):
                    whole[where] = new


class Return:
    """What the backward pass knows before it visits the tiles, and the gradients of given tensors that it adds up."""

    def __init__(
        self, plan: Plan, states: list[State], upstream: tuple[Tensor | None, ...], given: list[tuple[Tensor, ...]]
    ) -> None:
        self.states, self.given = states, given
        wanted = {k: g for k, g in enumerate(upstream) if g is not None and plan.reductions[k].differentiable}
        # The best score of an anchor is that of one pair, and needs no tile.
        self.picked = {k: g for k, g in wanted.items() if _picks(plan.reductions[k])}
        self.active = {k: g for k, g in wanted.items() if k not in self.picked}
        # d/ds log sum exp(c s) = c exp(c s) / sum: one rate per anchor beside the shared exponentials.
        self.rates = {k: _rate(plan.reductions[k], states[k][1], g) for k, g in self.active.items() if plan.shares(k)}
        # Sums and means have one too, whatever is summed.
        self.linear = {
            k: r.rate(states[k], g)
            for k, g in self.active.items()
            if isinstance(r := plan.reductions[k], Sum | Mean) and r.even
        }
        self.joint = {
            k: r.rates(states[k], g) for k, g in self.active.items() if isinstance(r := plan.reductions[k], Joint)
        }
        # A sum of a function of scores less a score of each anchor: two rates, and one slope for both.
        self.differences = {k: r for k in self.active if _differs(r := plan.reductions[k])}
        self.dgiven = [[torch.zeros_like(t) for t in tensors] for tensors in given]

    def visit(
        self,
        plan: Plan,
        u: Tensor,
        v: Tensor,
        du: Tensor | None,
        dv: Tensor | None,
        kept: Iterator[Tensor] | None = None,
    ) -> None:
        """Add the gradients of all tiles of u against v to du and dv, where they are wanted.

        `kept` is what the forward pass kept.
        """
        for k in self.picked:
            self._carry_picked(plan, k, u, v, du, dv)
        active, rates = self.active, self.rates
        x_buffer, e_buffer, r_buffer = (u.new_empty(plan.tile**2) for _ in range(3))
        s_buffer = u.new_empty(plan.tile**2) if len(active) > 1 else e_buffer
        slope: Tensor | None
        for rows, columns, mirrored in plan.tiles((len(u), len(v))) if active else ():
            if plan.keeps_exponentials and kept is not None:
                e = next(kept)
                slope = torch.mul(
                    e, _laid_out(rates[0], plan.ends(0, rows, columns, mirrored), _matrix(r_buffer, *e.shape)),
                    out=_matrix(x_buffer, *e.shape),
                )  # fmt: skip
                _carry(plan.similarity, slope, u[rows], v[columns], du, dv, rows, columns)
                continue
            scores = plan.scores(u[rows], v[columns], x_buffer) if kept is None else next(kept)
            slope = None
            for k, g in active.items():
                reduction = plan.reductions[k]
                weights = plan.relation.weights(reduction.over, rows, columns)
                ends = plan.ends(k, rows, columns, mirrored)
                if k in self.differences:
                    slope = self._add_differences(k, scores, weights, ends, slope, _matrix(s_buffer, *scores.shape))
                    continue
                if k in rates:
                    e = plan.exponentials(k, scores, weights, e_buffer)
                    parts = [e.mul_(_laid_out(rates[k], ends, _matrix(r_buffer, *e.shape)))]
                elif k in self.joint:
                    assert isinstance(reduction, Joint)
                    seen = [(tuple(r[where] for r in self.joint[k]), transposed) for where, transposed in ends]
                    parts = [reduction.slope(scores, weights, seen)]
                elif k in self.linear:
                    laid = _laid_out(self.linear[k], ends, _matrix(r_buffer, *scores.shape))
                    laid = weights.zero_(_matrix(e_buffer, *scores.shape).copy_(laid))
                    parts = [_mapped(reduction, partial(_known, laid), scores, self.given[k], self.dgiven[k])]
                elif reduction.of is not None and reduction.even:
                    both = partial(self._of_ends, plan, k, weights, ends, rows, columns)
                    parts = [_mapped(reduction, both, scores, self.given[k], self.dgiven[k])]
                else:
                    parts = [
                        _slope(reduction, scores, weights, self.states[k], g, self.given[k], self.dgiven[k], end,
                               plan.first + (rows.start if end[1] else columns.start))
                        for end in ends
                    ]  # fmt: skip
                for part in parts:
                    if slope is not None:
                        slope.add_(part)
                    elif len(active) == 1 and len(parts) == 1:
                        slope = part
                    else:
                        slope = _matrix(s_buffer, *part.shape).copy_(part)
            assert slope is not None
            if not plan.similarity.linear:
                slope.mul_(plan.similarity.link_slope(scores))
            _carry(plan.similarity, slope, u[rows], v[columns], du, dv, rows, columns)

    def _carry_picked(self, plan: Plan, k: int, u: Tensor, v: Tensor, du: Tensor | None, dv: Tensor | None) -> None:
        """From the best score of every anchor to the two rows of its pair, where the candidate is in this block."""
        best, place = self.states[k]
        first, last = plan.first, plan.first + (len(v) if plan.sides[k] == "anchors" else len(u))
        rows = ((place >= first) & (place < last)).nonzero().squeeze(1)
        columns = place[rows] - first
        slope = self.picked[k][rows]
        if not plan.similarity.linear:
            slope = slope * plan.similarity.link_slope(plan.reductions[k].value((best[rows], place[rows])))
        if plan.sides[k] == "candidates":
            rows, columns = columns, rows
        of_u, of_v = _pairs_back(plan.similarity, slope, u[rows], v[columns])
        if du is not None:
            du.index_add_(0, rows, of_u)
        if dv is not None:
            dv.index_add_(0, columns, of_v)

    def _add_differences(
        self, k: int, scores: Tensor, weights: Weights, ends: list[End], slope: Tensor | None, room: Tensor
    ) -> Tensor:
        """The slope of a tile with what this reduction brings; in `room`, where there is none yet."""
        reduction = self.differences[k]
        assert isinstance(reduction, Sum | Mean) and isinstance(reduction.of, Map)
        for where, transposed in ends:
            axis = 0 if transposed else 1
            rate = reduction.rate(tuple(t[where] for t in self.states[k]), self.active[k][where])
            own = weights.zero_(reduction.of.slope(scores, *_given(self.given[k], (where, transposed))))
            if reduction.given[0].requires_grad:
                self.dgiven[k][0][where] -= own.sum(axis).mul_(rate)
            laid = rate.unsqueeze(axis)
            slope = torch.mul(own, laid, out=room) if slope is None else slope.addcmul_(own, laid)
        assert slope is not None
        return slope

    def _of_ends(
        self, plan: Plan, k: int, weights: Weights, ends: list[End], rows: slice, columns: slice, values: Tensor
    ) -> Tensor:
        """d loss / d mapped scores of a tile, for all whom it serves."""
        reduction, g = plan.reductions[k], self.active[k]
        total: Tensor | None = None
        for where, transposed in ends:
            state = tuple(t[where] for t in self.states[k])
            if transposed:
                part = reduction.grad(values.T, weights.t, state, g[where], plan.first + rows.start).T
            else:
                part = reduction.grad(values, weights, state, g[where], plan.first + columns.start)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total


class Sweep(torch.autograd.Function):
    """All reductions in one pass over the tiles; the backward pass makes a second one."""

    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, v: Tensor, plan: Plan, *given: Tensor) -> tuple[Tensor, ...]:
        """One statistic per reduction, per anchor or per candidate."""
        states = begin(plan, [len(u) if side == "anchors" else len(v) for side in plan.sides], u)
        kept: list[Tensor] = []
        visit(plan, u, v, states, deal(plan, given), kept if plan.keep else None)
        out = tuple(r.value(tuple(s)) for r, s in zip(plan.reductions, states, strict=True))
        ctx.set_materialize_grads(False)  # what only counts has no gradient, and no part in the backward pass
        ctx.plan, ctx.lengths = plan, [len(s) for s in states]  # type: ignore[attr-defined]
        ctx.save_for_backward(u, v, *given, *(t for s in states for t in s), *kept)
        ctx.mark_non_differentiable(*(x for x, r in zip(out, plan.reductions, strict=True) if not r.differentiable))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        """Gradients of both sides and of the given tensors."""
        plan: Plan = ctx.plan
        u, v, *rest = ctx.saved_tensors
        given, states, kept = unpack(plan, rest, ctx.lengths)
        way = Return(plan, states, upstream, given)
        du, dv = (torch.zeros_like(t) if k else None for t, k in zip((u, v), ctx.needs_input_grad, strict=False))
        way.visit(plan, u, v, du, dv, kept if plan.keep else None)
        return du, dv, None, *(t for tensors in way.dgiven for t in tensors)


def unpack(
    plan: Plan, saved: list[Tensor], lengths: list[int]
) -> tuple[list[tuple[Tensor, ...]], list[State], Iterator[Tensor]]:
    """Given tensors, states and whatever else was saved, from one list of tensors."""
    count = sum(len(r.given) for r in plan.reductions)
    pieces = iter(saved[count:])
    states: list[State] = [tuple(next(pieces) for _ in range(n)) for n in lengths]
    return deal(plan, tuple(saved[:count])), states, pieces


def deal(plan: Plan, given: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Hand the given tensors back to their reductions."""
    pieces = iter(given)
    return [tuple(next(pieces) for _ in r.given) for r in plan.reductions]


def _pairs_back(similarity: Similarity, slope: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """From the scores of pairs (P,) to the rows of both ends."""
    if similarity.products:
        return v * slope[:, None], u * slope[:, None]
    with torch.enable_grad():
        ends = [rows.detach().requires_grad_() for rows in (u, v)]
        scores = similarity.matched(*ends)
    of_u, of_v = torch.autograd.grad(scores, ends, slope)
    return of_u, of_v


def _carry(
    similarity: Similarity,
    slope: Tensor,
    u: Tensor,
    v: Tensor,
    du: Tensor | None,
    dv: Tensor | None,
    rows: slice,
    columns: slice,
) -> None:
    """From the scores of a tile to its rows; a queue, say, wants no gradient."""
    if not similarity.products:
        for whole, where, part in zip((du, dv), (rows, columns), similarity.carry(slope, u, v), strict=True):
            if whole is not None:
                whole[where] += part
        return
    if du is not None:
        du[rows].addmm_(slope, v)
    if dv is not None:
        dv[columns].addmm_(slope.T, u)


def _picks(reduction: Reduction) -> bool:
    of = reduction.of
    return isinstance(reduction, Max) and (of is None or (isinstance(of, Map) and of.picks))


def _differs(reduction: Reduction) -> bool:
    of = reduction.of
    return isinstance(reduction, Sum | Mean) and isinstance(of, Map) and of.difference and not reduction.even


def _rate(reduction: Reduction, total: Tensor, upstream: Tensor) -> Tensor:
    some = total > 0
    return torch.where(some, upstream * reduction.scale / torch.where(some, total, 1), 0)  # type: ignore[attr-defined]


def _mapped(
    reduction: Reduction,
    upstream: Callable[[Tensor], Tensor],
    scores: Tensor,
    given: tuple[Tensor, ...],
    dgiven: list[Tensor],
) -> Tensor:
    """From the mapped scores of a tile to its scores, for all whom it serves at once.

    `upstream` gives the gradient of the mapped scores, from them, in a matrix that may be used up.
    """
    if reduction.of is None:
        return upstream(scores)
    if isinstance(reduction.of, Map):
        through = upstream(scores if isinstance(reduction, Sum | Mean) else reduction.of(scores, *given))
        slope, *more = reduction.of.slopes(scores, *given)
        for total, piece in zip(dgiven, more, strict=True):
            total += (through * piece).sum()
        return through.mul_(slope)
    with torch.enable_grad():
        leaf, extra = scores.detach().requires_grad_(), [t.detach().requires_grad_() for t in given]
        values = reduction.of(leaf, *extra)
    through = upstream(values.detach())
    if not values.requires_grad:  # a step function, such as a count of violations
        return through.zero_()
    found, *rest = torch.autograd.grad(values, [leaf, *extra], through, allow_unused=True)
    for total, piece in zip(dgiven, rest, strict=True):
        if piece is not None:
            total += piece
    return through.zero_() if found is None else found


def _known(upstream: Tensor, values: Tensor) -> Tensor:
    """An upstream gradient that does not depend on the values."""
    return upstream


def _laid_out(rates: Tensor, ends: list[End], out: Tensor) -> Tensor:
    """One number per anchor laid over a tile: along rows, along columns, or the sum of both for a mirrored tile."""
    parts = [rates[where][None, :] if transposed else rates[where][:, None] for where, transposed in ends]
    return parts[0] if len(parts) == 1 else torch.add(*parts, out=out)


def _slope(
    reduction: Reduction,
    scores: Tensor,
    weights: Weights,
    state: State,
    upstream: Tensor,
    given: tuple[Tensor, ...],
    dgiven: list[Tensor],
    end: End,
    start: int,
) -> Tensor:
    """d loss / d scores of a tile through one reduction; adds to the gradients of its given tensors on the way."""
    where, transposed = end
    part = tuple(t[where] for t in state)

    def grad(values: Tensor) -> Tensor:
        if transposed:
            return reduction.grad(values.T, weights.t, part, upstream[where], start).T
        return reduction.grad(values, weights, part, upstream[where], start)

    if reduction.of is None:
        return grad(scores)
    if isinstance(reduction.of, Map):
        seen = _given(given, end)
        wanted = any(t.requires_grad for t in reduction.given)
        axis = 0 if transposed else 1
        part_slope, *pieces = reduction.of.slopes(scores, *seen) if wanted else (reduction.of.slope(scores, *seen),)
        if isinstance(reduction, Sum | Mean):  # not by way of a transposed matrix, which takes several times longer
            rate = reduction.rate(part, upstream[where])
            for total, piece in zip(dgiven, pieces, strict=wanted):
                found = weights.times(piece).sum(axis).mul_(rate)
                total[where if total.ndim else ()] += found if total.ndim else found.sum()
            return weights.zero_(part_slope).mul_(rate.unsqueeze(axis))
        through = grad(reduction.of(scores, *seen))
        for total, piece in zip(dgiven, pieces, strict=wanted):
            if total.ndim:
                total[where] += (through * piece).sum(axis)
            else:
                total += (through * piece).sum()
        return through * part_slope
    with torch.enable_grad():
        leaf = scores.detach().requires_grad_()
        extra = [t.detach().requires_grad_() for t in _given(given, end)]
        values = reduction.of(leaf, *extra)
    if not values.requires_grad:  # a step function, such as a count of violations
        return torch.zeros_like(scores)
    slope, *more = torch.autograd.grad(values, [leaf, *extra], grad(values.detach()), allow_unused=True)
    for total, piece in zip(dgiven, more, strict=True):
        if piece is not None:
            target = total[where] if total.ndim else total
            target += piece.reshape(target.shape)
    return torch.zeros_like(scores) if slope is None else slope
