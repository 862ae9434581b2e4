"""Reductions: the laws of a commutative monoid, splits, gradients, ties and empty sets, against plain loops."""

from __future__ import annotations

import math
from functools import reduce as fold
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.contrast import (
    Count,
    Dot,
    LogSumExp,
    Max,
    Mean,
    Min,
    Reduction,
    Scores,
    Strategy,
    Sum,
    WeightRelation,
    Weights,
    same_key,
)

REDUCTIONS = {
    "Sum": Sum("any"),
    "Count": Count("any"),
    "Mean": Mean("any"),
    "LogSumExp": LogSumExp("any"),
    "LogSumExp 2": LogSumExp("any", scale=2.0),
    "LogSumExp half": LogSumExp("any", scale=-0.5),
    "Max": Max("any"),
    "Min": Min("any"),
}
every = pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS.keys())
quick = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
kinds = st.sampled_from(["all", "dropped", "bool", "soft", "none"])


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def matrix(seed: int, kind: str, rows: int = 4, columns: int = 7, ties: bool = True) -> tuple[Tensor, Weights, Tensor]:
    """Values with many ties, the weights in one of their forms, and the same weights as a matrix."""
    generator = noise(seed)
    values = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    values = (values * 2).round() if ties else values
    chosen = torch.rand(rows, columns, generator=generator) < 0.6
    if kind == "none":
        chosen = torch.zeros_like(chosen)
    if kind == "all":
        return values, Weights(), torch.ones(rows, columns, dtype=torch.float64)
    if kind == "dropped":
        return values, Weights(None, (~chosen).nonzero(as_tuple=True)), chosen.double()
    if kind == "soft":
        soft = chosen * torch.rand(rows, columns, dtype=torch.float64, generator=generator).clamp_min(0.1)
        return values, Weights(soft), soft
    return values, Weights(chosen), chosen.double()


def cut(weights: Weights, columns: slice) -> Weights:
    if weights.dense is not None:
        return Weights(weights.dense[:, columns])
    if weights.dropped is None:
        return weights
    r, c = weights.dropped
    inside = (c >= columns.start) & (c < columns.stop)
    return Weights(None, (r[inside], c[inside] - columns.start))


def naive(reduction: Reduction, values: Tensor, full: Tensor) -> list[float]:
    out = []
    for v, w in zip(values.tolist(), full.tolist(), strict=True):
        seen = [(x, y) for x, y in zip(v, w, strict=True) if y > 0]
        total = sum(y for _, y in seen)
        if isinstance(reduction, Mean):
            out.append(sum(x * y for x, y in seen) / total if seen else 0.0)
        elif isinstance(reduction, Count):
            out.append(total)
        elif isinstance(reduction, Sum):
            out.append(sum(x * y for x, y in seen))
        elif isinstance(reduction, LogSumExp):
            out.append(math.log(sum(y * math.exp(reduction.scale * x) for x, y in seen)) if seen else -math.inf)
        elif isinstance(reduction, Min):
            out.append(min((x for x, _ in seen), default=math.inf))
        else:
            out.append(max((x for x, _ in seen), default=-math.inf))
    return out


def states(reduction: Reduction, seed: int, kind: str, splits: list[slice]) -> list[tuple[Tensor, ...]]:
    values, weights, _ = matrix(seed, kind)
    return [reduction.measure(values[:, part], cut(weights, part), part.start) for part in splits]


def alike(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> None:
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


THREE = [slice(0, 2), slice(2, 5), slice(5, 7)]


@every
@given(seed=seeds, kind=kinds)
@quick
def test_merging_is_associative_and_commutative_and_empty_is_neutral(reduction: Reduction, seed: int, kind: str):
    a, b, c = states(reduction, seed, kind, THREE)
    alike(reduction.merge(a, b), reduction.merge(b, a))
    alike(reduction.merge(reduction.merge(a, b), c), reduction.merge(a, reduction.merge(b, c)))
    empty = reduction.empty(4, torch.empty(0, dtype=torch.float64))
    alike(reduction.merge(a, tuple(empty)), a)
    alike(reduction.merge(tuple(empty), a), a)


@every
@given(seed=seeds, kind=kinds, ends=st.sets(st.integers(1, 6)), order=st.randoms(use_true_random=False))
@quick
def test_any_split_in_any_order_gives_the_whole(reduction: Reduction, seed: int, kind: str, ends: set[int], order):  # type: ignore[no-untyped-def]
    bounds = [0, *sorted(ends), 7]
    parts = states(reduction, seed, kind, [slice(a, b) for a, b in pairwise(bounds)])
    order.shuffle(parts)
    values, _, full = matrix(seed, kind)
    got = reduction.value(fold(reduction.merge, parts))
    torch.testing.assert_close(got, torch.tensor(naive(reduction, values, full), dtype=torch.float64))


@every
@given(seed=seeds, kind=kinds, order=st.permutations(THREE))
@quick
def test_an_update_is_a_merge_with_what_is_measured(reduction: Reduction, seed: int, kind: str, order: list[slice]):
    values, weights, _ = matrix(seed, kind)
    found = tuple(reduction.empty(4, values))
    for part in order:
        found = reduction.update(found, values[:, part], cut(weights, part), part.start)
    alike(found, fold(reduction.merge, states(reduction, seed, kind, order)))


@every
@given(seed=seeds, kind=kinds)
@quick
def test_gradients_of_blocks_are_those_of_autograd_over_listed_values(reduction: Reduction, seed: int, kind: str):
    values, weights, full = matrix(seed, kind)
    whole = fold(reduction.merge, states(reduction, seed, kind, THREE))
    upstream = torch.randn(4, dtype=torch.float64, generator=noise(seed + 1))
    leaf = values.clone().requires_grad_()
    rows, columns = full.nonzero(as_tuple=True)
    listed = reduction.of_pairs(leaf[rows, columns], full[rows, columns], rows, 4)
    torch.testing.assert_close(listed.detach(), reduction.value(whole), rtol=1e-12, atol=1e-12)
    want = torch.zeros_like(values)
    if listed.requires_grad:
        (want,) = torch.autograd.grad(listed, leaf, upstream)
    for part in THREE:
        got = reduction.grad(values[:, part], cut(weights, part), whole, upstream, part.start)
        torch.testing.assert_close(got, want[:, part], rtol=1e-12, atol=1e-12)


@every
def test_listed_values_need_no_weights(reduction: Reduction):
    values, _, full = matrix(3, "bool")
    rows, columns = full.nonzero(as_tuple=True)
    plain = reduction.of_pairs(values[rows, columns], None, rows, 4)
    torch.testing.assert_close(plain, reduction.of_pairs(values[rows, columns], full[rows, columns], rows, 4))


@every
def test_nothing_to_reduce_has_a_value_and_no_gradient(reduction: Reduction):
    values, weights, _ = matrix(0, "none")
    state = reduction.measure(values, weights, 0)
    neutral = {"Max": -math.inf, "Min": math.inf, "LogSumExp": -math.inf}.get(type(reduction).__name__, 0.0)
    assert reduction.value(state).tolist() == [neutral] * 4
    assert reduction.value(tuple(reduction.empty(4, values))).tolist() == [neutral] * 4
    assert not reduction.grad(values, weights, state, torch.ones(4, dtype=torch.float64), 0).any()
    nobody = torch.empty(0, dtype=torch.long)
    assert reduction.of_pairs(values.new_empty(0), None, nobody, 4).tolist() == [neutral] * 4


def test_of_equal_candidates_the_first_counts_wherever_blocks_end():
    values = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0]])
    for reduction, v in ((Max("any"), values), (Min("any"), -values)):
        for end in range(1, 5):
            blocks = slice(0, end), slice(end, 5)
            parts = [reduction.measure(v[:, s], Weights(), s.start) for s in blocks]
            for state in (reduction.merge(*parts), reduction.merge(*parts[::-1])):
                slopes = [reduction.grad(v[:, s], Weights(), state, torch.ones(1), s.start) for s in blocks]
                assert torch.cat(slopes, 1).tolist() == [[0, 1, 0, 0, 0]]
        leaf = v.clone().requires_grad_()
        reduction.of_pairs(leaf[0], None, torch.zeros(5, dtype=torch.long), 1).sum().backward()
        assert leaf.grad.tolist() == [[0, 1, 0, 0, 0]]


def test_log_sum_exp_is_exact_for_any_range():
    values = torch.tensor([[1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype=torch.float64)
    reduction = LogSumExp("any")
    state = reduction.measure(values, Weights(), 0)
    assert reduction.value(state).tolist() == pytest.approx([1e4 + math.log(2), -1e4 + math.log(3)])
    slope = reduction.grad(values, Weights(), state, torch.ones(2, dtype=torch.float64), 0)
    assert slope.flatten().tolist() == pytest.approx([0.5, 0.5, 0, 1 / 3, 1 / 3, 1 / 3])


def test_what_takes_no_part_may_lie_far_above():
    values = torch.tensor([[1e4, 0.0, 0.0]], dtype=torch.float64)
    for weights in (
        Weights(torch.tensor([[False, True, True]])),
        Weights(None, (torch.tensor([0]), torch.tensor([0]))),
    ):
        state = LogSumExp("any").measure(values, weights, 0)
        assert LogSumExp("any").value(state).tolist() == pytest.approx([math.log(2)])
        slope = LogSumExp("any").grad(values, weights, state, torch.ones(1, dtype=torch.float64), 0)
        assert slope.flatten().tolist() == pytest.approx([0, 0.5, 0.5])


@every
def test_not_a_number_is_kept_through_merges(reduction: Reduction):
    if isinstance(reduction, Count):
        return
    values = torch.tensor([[1.0, 2.0, torch.nan, 0.5]])
    for end in range(1, 4):
        parts = [reduction.measure(values[:, s], Weights(), s.start) for s in (slice(0, end), slice(end, 4))]
        assert reduction.value(reduction.merge(*parts)).isnan().all()
        assert reduction.value(reduction.merge(*parts[::-1])).isnan().all()
    assert reduction.of_pairs(values[0], None, torch.zeros(4, dtype=torch.long), 1).isnan().all()


def test_a_reduction_runs_over_near_far_or_any():
    with pytest.raises(ValueError, match="'near', 'far' or 'any', not 'all'"):
        Sum("all")


# A map before the reduction, and what it is given -----------------------------------------------------------------


def bend(s: Tensor, per_anchor: Tensor, number: Tensor) -> Tensor:
    return torch.tanh(s * number) + per_anchor * s.square() / 4


@pytest.mark.parametrize("two_way", [False, True], ids=["one way", "two way"])
@pytest.mark.parametrize("set_of", ["one set", "two sets", "soft"])
@pytest.mark.parametrize("over", ["near", "far", "any"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_gradients_reach_all_that_a_map_is_given(name: str, over: str, set_of: str, two_way: bool):
    like = REDUCTIONS[name]
    extra = {"scale": like.scale} if isinstance(like, LogSumExp) else {}
    y = torch.tensor([0, 1, 0, 2, 1])
    if set_of == "soft":
        near, far = torch.rand(2, 5, 4, dtype=torch.float64, generator=noise(5)).clamp_min(0.4).sub(0.4)
        relation = WeightRelation(lambda a, c: (near[a][:, c], far[a][:, c]), torch.arange(5), torch.arange(4))
    else:
        relation = same_key(y) if set_of == "one set" else same_key(y, torch.tensor([1, 0, 2, 3]))
    results = []
    for strategy in (Strategy("dense"), Strategy("tiled", 1), Strategy("tiled", 2), Strategy("tiled", 8)):
        u = torch.randn(5, 3, dtype=torch.float64, generator=noise(1)).requires_grad_()
        v = u if set_of == "one set" else torch.randn(4, 3, dtype=torch.float64, generator=noise(2)).requires_grad_()
        length = 5 if not two_way or set_of == "one set" else 9
        per_anchor = torch.randn(length, dtype=torch.float64, generator=noise(3)).requires_grad_()
        number = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        scores = Scores(Dot(), u, v, relation, 1.0, strategy, two_way)
        mapped = type(like)(over, bend, (per_anchor, number), **extra)
        plain = type(like)(over, **extra)
        one, other = scores.reduce(mapped, plain)
        finite = torch.where(torch.isfinite(one), one, 0), torch.where(torch.isfinite(other), other, 0)
        weight = torch.arange(1.0, length + 1, dtype=torch.float64)
        loss = (finite[0] * weight).sum() + (finite[1] * weight.flip(0)).sum()
        leaves = [u, v, per_anchor, number]
        grads = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None] * 4
        full = [torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True)]
        results.append((one.detach(), other.detach(), *full))
    for other_way in results[1:]:
        for got, want in zip(other_way, results[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
