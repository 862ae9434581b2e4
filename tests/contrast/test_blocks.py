"""Strategies: what is chosen, what is refused, how rows are cut, and that the sweep agrees with the reference."""

from __future__ import annotations

import pytest
import torch

from nearfar.contrast import Cosine, LogSumExp, Max, Mean, NegativeEuclidean, Scores, Strategy, Sum, same_key
from nearfar.contrast.blocks import slices
from nearfar.contrast.tiled import Plan


def rows(seed: int, n: int) -> torch.Tensor:
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_auto_keeps_scores_while_they_fit_the_budget():
    like = torch.empty(0)
    assert Strategy(budget=4000).keeps(1000, like)
    assert not Strategy(budget=4000).keeps(1001, like)
    assert not Strategy(budget=4000).keeps(1000, like.double())
    assert not Strategy("tiled", budget=1 << 40).keeps(1, like)


def test_a_named_strategy_is_what_it_says():
    assert Strategy.of("dense").dense
    assert not Strategy.of("tiled").dense and not Strategy.of("auto").dense
    assert Strategy.of(None) == Strategy.of("auto") == Strategy()
    chosen = Strategy("tiled", 7)
    assert Strategy.of(chosen) is chosen


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Strategy("fast"), "one of auto, dense, tiled, gathered, ring, not 'fast'"),
        (lambda: Strategy.of("cached"), "not 'cached'"),
        (lambda: Strategy("tiled", tile=0), "a tile has at least one row, got 0"),
    ],
)
def test_what_is_no_strategy_is_refused(make, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_tiles_are_two_to_a_side_at_least_and_bounded():
    like = torch.empty(0)
    assert Strategy("tiled").side((100, 30), like) == 50
    assert Strategy("tiled").side((10**6, 10), like) == 512
    assert Strategy("tiled", 9).side((100, 100), like) == 9
    assert Strategy("tiled").side((1, 1), like) == 1


@pytest.mark.parametrize(("n", "side"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 1), (4, 100)])
def test_slices_cover_everything_once(n: int, side: int):
    parts = slices(n, side)
    assert [i for s in parts for i in range(s.start, s.stop)] == list(range(n))
    assert all(0 < s.stop - s.start <= side for s in parts)


@pytest.mark.parametrize("tile", [1, 2, 3, 64])
def test_the_tiles_of_a_symmetric_relation_hold_about_half_of_the_scores(tile: int):
    relation = same_key(torch.arange(6).repeat(2))
    plan = Plan(Cosine(), relation, (), (), tile, bounded=True)
    seen = torch.zeros(12, 12)
    for r, c, mirrored in plan.tiles((12, 12)):
        seen[r, c] += 1
        if mirrored:
            seen[c, r] += 1
    assert (seen == 1).all()
    assert plan.scores_in((12, 12)) == sum((r.stop - r.start) * (c.stop - c.start) for r, c, _ in plan.tiles((12, 12)))
    assert plan.scores_in((12, 12)) <= (12 * 12 + 12 * min(tile, 12)) / 2


@pytest.mark.parametrize("tile", [1, 2, 3, 64])
@pytest.mark.parametrize("similarity", [Cosine(), NegativeEuclidean()], ids=repr)
def test_many_reductions_in_one_sweep_are_those_of_the_reference(similarity, tile: int):  # type: ignore[no-untyped-def]
    work = [LogSumExp("any"), LogSumExp("far", scale=2.0), Mean("far"), Max("near"), Sum("any", of=torch.square)]
    results = []
    for strategy in (Strategy("dense"), Strategy("tiled", tile), Strategy("auto", tile)):
        u, v = rows(0, 5).requires_grad_(), rows(1, 4).requires_grad_()
        relation = same_key(torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 0, 2, 2]))
        values = Scores(similarity, u, v, relation, 0.1, strategy, two_way=True).reduce(*work)
        loss = sum((k + 1) * x.sin().sum() for k, x in enumerate(values))
        results.append([*(x.detach() for x in values), *torch.autograd.grad(loss, [u, v])])
    for want, *others in zip(*results, strict=True):
        for got in others:
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("strategy", [Strategy("dense"), Strategy("tiled", 2)], ids=["dense", "tiled"])
def test_a_statistic_that_nobody_uses_costs_no_gradient(strategy: Strategy):
    u = rows(0, 5).requires_grad_()
    scores = Scores(Cosine(), u, u, same_key(torch.tensor([0, 1, 2, 0, 1])), 0.5, strategy)
    used, _ = scores.reduce(LogSumExp("any"), Mean("far"))
    alone = Scores(Cosine(), u, u, same_key(torch.tensor([0, 1, 2, 0, 1])), 0.5, strategy).reduce(LogSumExp("any"))[0]
    got, want = (torch.autograd.grad(x.sum(), u)[0] for x in (used, alone))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("strategy", [Strategy("dense"), Strategy("tiled", 2)], ids=["dense", "tiled"])
def test_whole_rows_are_seen_with_their_weights(strategy: Strategy):
    u, v = rows(0, 5).requires_grad_(), rows(1, 3).requires_grad_()
    relation = same_key(torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 0, 2]))
    scores = Scores(Cosine(), u, v, relation, 0.5, strategy, two_way=True)

    def spread(s: torch.Tensor, near: torch.Tensor, far: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (s * near).sum(1), (s * far).square().sum(1)

    near, far = scores.rows(spread)
    sums = Scores(Cosine(), u, v, relation, 0.5, "dense", two_way=True).reduce(Sum("near"), Sum("far", of=torch.square))
    torch.testing.assert_close(near, sums[0])
    torch.testing.assert_close(far, sums[1])
    got, want = (torch.autograd.grad((a + b).sum(), [u, v]) for a, b in ((near, far), sums))
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y)
