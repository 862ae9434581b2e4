"""The contract battery, second part: precision, extreme temperatures, degenerate batches, permutations, duplicates."""

from __future__ import annotations

import pytest
import torch
from cases import BY_NAME, CASES, DENSE, EVERY, KEPT, TILED, Case, rows, strategies, tiled
from golden import CHANCE, COLLAPSED, orthonormal
from scenes import SCENE, Scene
from test_battery import gradients, meetings

from nearfar.contrast import Scores, Sum, matching, opposite
from nearfar.contrast.tiled import SAFE_EXPONENT

every = pytest.mark.parametrize("case", EVERY, ids=lambda c: c.name)
comparing = pytest.mark.parametrize("case", [c for c in CASES if c.compares], ids=lambda c: c.name)
softmax = pytest.mark.parametrize("case", [c for c in CASES if c.softmax and c.score.__name__ == "cosine"],
                                  ids=lambda c: c.name)  # fmt: skip
LABELS = torch.tensor([0, 0, 1, 1, 2])


def keys(case: Case) -> dict:
    return {"labels": LABELS} if case.layout in ("joint", "apart") else case.how(len(LABELS))


# Precision ---------------------------------------------------------------------


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_rows_give_the_float32_value(case: Case, dtype: torch.dtype):
    views = [rows(k, 5).to(dtype).requires_grad_() for k in range(case.views)]
    wide = [v.detach().float().requires_grad_() for v in views]
    for how in strategies(case):
        value = case.make()(*views, **keys(case), **how)
        want = case.make()(*wide, **keys(case), **how)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, want)
        for got, grad in zip(gradients(value, views), gradients(want, wide), strict=True):
            assert got.dtype == dtype and torch.isfinite(got).all()
            torch.testing.assert_close(got, grad.to(dtype))


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_rounding_the_rows_moves_the_value_little(case: Case, dtype: torch.dtype):
    """Rounded rows differ by at most 2^-9 (bfloat16), so values differ by about a percent of their scale."""
    views = [rows(k, 5) for k in range(case.views)]
    value = case.make()(*(v.to(dtype) for v in views), **keys(case))
    want = case.make()(*(v.float() for v in views), **keys(case))
    assert float(value.detach()) == pytest.approx(float(want.detach()), rel=0.02, abs=0.02)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(case: Case, dtype: torch.dtype):
    views = [rows(k, 5).to(dtype).requires_grad_() for k in range(case.views)]
    for how in strategies(case):
        want = case.make()(*views, **keys(case), **how)
        with torch.autocast("cpu", torch.bfloat16):
            value = case.make()(*views, **keys(case), **how)
            inspected = case.make().inspect(*views, **keys(case), **how).total
        assert torch.equal(value, want) and torch.equal(inspected, want)
        assert all(torch.isfinite(g).all() for g in gradients(value, views))


@comparing
def test_views_of_different_precision_meet_in_the_wider_one(case: Case):
    a, b = rows(0, 5), rows(1, 5).float()
    want = case.objective()(a, b.double(), **keys(case))
    for how in strategies(case):
        torch.testing.assert_close(case.objective()(a, b, **keys(case), **how), want)


@comparing
def test_not_a_number_is_never_swallowed(case: Case):
    """One row that is not a number makes the value not a number, whatever is near it."""
    views = [rows(k, 5) for k in range(2)]
    views[0][4] = torch.nan
    for strategy in (DENSE, TILED, KEPT, tiled(64)):
        assert torch.isnan(case.objective()(*views, **keys(case), strategy=strategy))


@pytest.mark.parametrize("case", [c for c in CASES if c.compares and c.far], ids=lambda c: c.name)
def test_not_a_number_in_a_queue_is_not_swallowed_either(case: Case):
    views, queue = [rows(k, 5) for k in range(2)], rows(2, 4)
    queue[3] = torch.nan
    for strategy in (DENSE, TILED, KEPT, tiled(64)):
        assert torch.isnan(case.objective()(*views, negatives=queue, strategy=strategy))


# Temperatures ------------------------------------------------------------------


@softmax
def test_a_temperature_of_a_thousandth_overflows_nothing(case: Case):
    views = [rows(k, 6).float() for k in range(2)]
    cold = {"labels": torch.tensor([0, 0, 1, 1, 2, 2])} if case.layout in ("joint", "apart") else {}
    for strategy in (DENSE, TILED, KEPT):
        single = [v.clone().requires_grad_() for v in views]
        double = [v.double().requires_grad_() for v in views]
        objective = case.make().replace(temperature=0.001, strategy=strategy)
        value, want = objective(*single, **cold), objective(*double, **cold)
        assert float(value.detach()) == pytest.approx(float(want.detach()), rel=1e-5)
        for got, grad in zip(gradients(value, single), gradients(want, double), strict=True):
            assert torch.isfinite(got).all()
            least = 1e-7 / 0.001 if case.fades else 0.0  # rounding of the pulls and pushes, 1 / t each, of which it is
            atol = max(1e-3 * float(grad.abs().max()), least)
            torch.testing.assert_close(got.double(), grad, rtol=1e-3, atol=atol)


@softmax
def test_shared_and_exact_exponentials_agree_where_one_takes_over(case: Case):
    views = [rows(k, 5) for k in range(2)]
    for temperature, shared in ((1 / 69.9, True), (1 / 70.1, False)):
        objective = case.make().replace(temperature=temperature)
        made = objective._arrange(views, None, keys(case).get("labels"), None, None, None)
        scores = objective._scores(made, TILED)
        assert (scores.similarity.bound(scores.u, scores.v) <= SAFE_EXPONENT) == shared
        double = [v.clone().requires_grad_() for v in views]
        want = objective(*double, **keys(case), strategy=DENSE)
        want_grads = gradients(want, double)
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
            cast = [v.to(dtype).requires_grad_() for v in views]
            value = objective(*cast, **keys(case), strategy=TILED)
            torch.testing.assert_close(value.double(), want, rtol=tolerance, atol=tolerance)
            for got, grad in zip(gradients(value, cast), want_grads, strict=True):
                torch.testing.assert_close(got.double(), grad, rtol=tolerance, atol=tolerance * float(grad.abs().max()))


# Chance and collapse -----------------------------------------------------------


@every
def test_value_at_chance_is_that_of_unrelated_rows(case: Case):
    n = 4
    views = [rows(k, n) for k in range(case.views)]
    if CHANCE[case.name] is None:
        assert case.objective().inspect(*views, **case.how(n)).chance is None
        return
    z = orthonormal(case.views * n)
    views = z.split(n)
    want = CHANCE[case.name](n, case.views * n)
    for how in strategies(case):
        assert case.objective().inspect(*views, **case.how(n), **how).chance == pytest.approx(want, abs=1e-9)
        assert float(case.objective()(*views, **case.how(n), **how).detach()) == pytest.approx(want, abs=1e-9)


@every
def test_value_at_collapse_is_that_of_equal_rows(case: Case):
    n, width = 4, 3
    for how in strategies(case):
        views = [torch.full((n, width), 0.5, dtype=torch.float64).requires_grad_() for _ in range(case.views)]
        value = case.objective()(*views, **case.how(n), **how)
        assert all(torch.isfinite(g).all() for g in gradients(value, views))
        seen = case.objective().inspect(*views, **case.how(n), **how).collapsed
        if COLLAPSED[case.name] is None:
            assert seen is None
        else:
            want = COLLAPSED[case.name](n, width)
            assert seen == pytest.approx(want, abs=1e-7)
            assert float(value.detach()) == pytest.approx(want, abs=1e-7)


# Degenerate batches ------------------------------------------------------------


DEGENERATE = [SCENE[name] for name in ("no near", "one row", "nobody is known", "no far", "one item", "two items")]


@meetings(DEGENERATE)
def test_degenerate_batches_have_finite_values_and_gradients(case: Case, scene: Scene):
    for strategy in (DENSE, TILED, KEPT):
        leaves, objective = scene.leaves(), case.objective()
        value = scene.call(objective, leaves, strategy=strategy)
        assert value.shape == () and torch.isfinite(value)
        assert all(torch.isfinite(g).all() for g in gradients(value, [*leaves, *objective.parameters()]))


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.compares and c.objective().needs != "any"], ids=lambda c: c.name
)
@pytest.mark.parametrize("name", ["no near", "one row"])
def test_nothing_near_gives_zero_where_an_anchor_needs_something_near(case: Case, name: str):
    for strategy in (DENSE, TILED, KEPT):
        leaves, objective = SCENE[name].leaves(), case.objective()
        value = SCENE[name].call(objective, leaves, strategy=strategy)
        assert float(value.detach()) == 0.0
        assert value.requires_grad  # so that a training step does not fail on such a batch
        assert all(not g.any() for g in gradients(value, [*leaves, *objective.parameters()]))


@pytest.mark.parametrize("case", [c for c in CASES if not c.compares], ids=lambda c: c.name)
def test_one_view_or_views_of_other_rows_are_refused_and_one_row_where_two_are_needed(case: Case):
    refused = [[rows(0, 3)]] + ([[rows(0, 3), rows(1, 4)]] if case.matched else [])
    for views in refused + ([[rows(0, 1), rows(1, 1)]] if case.least > 1 else []):
        with pytest.raises(ValueError, match=r"two|2"):
            case.objective()(*views, **case.how(len(views[0])))


@comparing
def test_rows_of_norm_zero_have_finite_gradients(case: Case):
    for strategy in (DENSE, TILED, KEPT):
        views = [rows(k, 5) for k in range(2)]
        views[0][1], views[1][3] = 0, 0
        leaves = [v.requires_grad_() for v in views]
        value = case.objective()(*leaves, **keys(case), strategy=strategy)
        assert torch.isfinite(value) and all(torch.isfinite(g).all() for g in gradients(value, leaves))


# Order and duplicates ----------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in CASES if not c.in_order], ids=lambda c: c.name)
def test_the_order_of_the_rows_does_not_matter(case: Case):
    ids, order = torch.tensor([3, 1, 3, 0, 2]), torch.tensor([4, 0, 3, 1, 2])
    keyed = {"ids": ids} if case.compares else case.how(5)
    moved = {k: v[order] if isinstance(v, torch.Tensor) and v.shape[:1] == (5,) else v for k, v in keyed.items()}
    for how in strategies(case):
        views = [rows(k, 5).requires_grad_() for k in range(case.views)]
        value = case.objective()(*views, **keyed, **how)
        again = case.objective()(*(v[order] for v in views), **moved, **how)
        torch.testing.assert_close(value, again, rtol=1e-9, atol=1e-9)
        for one, other in zip(gradients(value, views), gradients(again, views), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@comparing
def test_a_duplicate_item_is_never_far(case: Case):
    """Rows of one id: no weight among the far, and the sum over the far candidates has no gradient between them.

    Where views are kept apart, rows of another view are no more than ignored; further candidates are of no view.
    """
    ids = torch.tensor([7, 8, 7])
    for queue, queue_ids in ((None, None), (rows(5, 2), torch.tensor([8, 1]))):
        for strategy in (DENSE, tiled(2)):
            views = [rows(k, 3) for k in range(2)]
            made = case.objective()._arrange(views, ids, None, None, queue, queue_ids)
            anchor_ids = ids.repeat(len(made.anchors) // 3)
            n = len(made.candidates) - (0 if queue is None else 2)
            candidate_ids = torch.cat([ids.repeat(n // 3), queue_ids if queue is not None else ids[:0]])
            v = made.candidates.clone().requires_grad_()
            one_set = made.candidates is made.anchors
            u = v if one_set else made.anchors
            (far,) = Scores(case.objective().similarity, u, v, made.relation, strategy=strategy).reduce(Sum("far"))
            seen = made.relation.weights("far", slice(0, len(u)), slice(0, len(v))).full(u.new_empty(len(u), len(v)))
            for i in range(len(u)):
                (slope,) = torch.autograd.grad(far[i], v, retain_graph=True)
                for j in [j for j in range(len(v)) if not (one_set and j == i)]:
                    met = case.layout != "apart" or j >= len(u) or i // 3 == j // 3
                    far_apart = met and bool(anchor_ids[i] != candidate_ids[j])
                    assert bool(seen[i, j] > 0) == far_apart
                    assert bool(slope[j].any()) == far_apart


def test_a_known_duplicate_leaves_the_value_of_the_others_alone():
    """Two views of an item seen twice: pushing the copy about changes only what the copy itself says."""
    case, ids = BY_NAME["InfoNCE"], torch.tensor([0, 0])
    views = [rows(k, 2) for k in range(2)]
    before = case.objective().inspect(*views, ids=ids).per_anchor[0]
    views[1][1] = rows(9, 1)[0]
    assert torch.equal(case.objective().inspect(*views, ids=ids).per_anchor[0], before)
    assert not torch.equal(case.objective().inspect(*views).per_anchor[0], before)


@every
def test_an_evaluation_in_inference_mode_does_not_spoil_the_training_after_it(case: Case):
    """What is kept from batch to batch must not be made of tensors that only inference may use."""
    matching.cache_clear()
    opposite.cache_clear()
    for how in [{}, *strategies(case)]:
        views = [rows(k, 5).requires_grad_() for k in range(case.views)]
        with torch.inference_mode():
            seen = case.objective()(*(v.detach().clone() for v in views), **case.how(5), **how)
        value = case.objective()(*views, **case.how(5), **how)
        assert torch.equal(seen, value.detach())
        assert all(torch.isfinite(g).all() for g in gradients(value, [*views]))
