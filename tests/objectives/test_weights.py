"""Weights of rows: how much each of them counts as an anchor."""

from __future__ import annotations

import pytest
import torch
from cases import EVERY, Case, rows, strategies
from test_battery import gradients
from torch.nn.functional import normalize

from nearfar.objectives import InfoNCE, NTXent, SupCon, SymmetricInfoNCE

COMPARING = [c for c in EVERY if c.compares]
W = torch.tensor([2.0, 0.0, 1.0, 0.5, 3.0], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 1, 2])


def mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (values * weights).sum() / weights.sum()


def test_the_value_is_the_weighted_mean_over_the_anchors_of_all_views():
    views = [rows(k, 5) for k in range(3)]
    z = normalize(torch.cat(views), dim=1)
    s = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
    item = torch.arange(5).repeat(3)
    near = (item[:, None] == item) & ~torch.eye(15).bool()
    values = s.logsumexp(1) - torch.where(near, s, 0).sum(1) / 2
    for strategy in ("dense", "tiled"):
        got = NTXent(temperature=0.5)(*views, weights=W, strategy=strategy)
        torch.testing.assert_close(got, mean(values, W.repeat(3)))


def test_both_directions_weigh_their_own_rows():
    a, b = rows(0, 5), rows(1, 5)
    s = normalize(a, dim=1) @ normalize(b, dim=1).T / 0.5
    there, back = (m.logsumexp(1) - s.diagonal() for m in (s, s.T))
    one, both = InfoNCE(temperature=0.5), SymmetricInfoNCE(temperature=0.5)
    torch.testing.assert_close(one(a, b, weights=W), mean(there, W))
    torch.testing.assert_close(both(a, b, weights=W), (mean(there, W) + mean(back, W)) / 2)
    torch.testing.assert_close(one(a, b, weights=W, negatives=a[:0]), mean(there, W))


@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_an_anchor_of_weight_zero_says_nothing_and_has_no_value(strategy: str):
    a, b = rows(0, 5), rows(1, 5)
    known, free = (
        NTXent().inspect(a, b, weights=W, strategy=strategy, **how) for how in ({"ids": torch.arange(5)}, {})
    )
    assert (free.per_anchor == 0).tolist() == [False, True, False, False, False] * 2
    torch.testing.assert_close(free.per_anchor, known.per_anchor)


def test_weights_come_on_top_of_which_anchors_count_at_all():
    z = rows(2, 5)
    seen = SupCon().inspect(z, labels=LABELS)
    assert seen.weight.tolist() == [1, 1, 1, 1, 0]  # nobody is near the last one
    weighed = SupCon().inspect(z, labels=LABELS, weights=W)
    assert weighed.weight.tolist() == [2, 0, 1, 0.5, 0]
    torch.testing.assert_close(weighed.total, mean(seen.per_anchor, weighed.weight))
    torch.testing.assert_close(
        weighed.total, torch.stack(list(SupCon().terms(z, labels=LABELS, weights=W).values())).sum()
    )
    assert weighed.chance == pytest.approx(seen.chance)


def test_a_row_without_weight_is_still_a_candidate():
    views = [rows(k, 5).requires_grad_() for k in range(2)]
    one = torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)
    value = InfoNCE()(*views, weights=one)
    own, others = torch.autograd.grad(value, views)
    assert own[0].any() and not own[1:].any()
    assert others.abs().sum(1).gt(0).all()


@pytest.mark.parametrize("case", COMPARING, ids=lambda c: c.name)
def test_equal_weights_change_nothing(case: Case):
    keys = {"labels": LABELS} if case.layout in ("joint", "apart") else case.how(5)
    views = [rows(k, 5).requires_grad_() for k in range(2)]
    for how in strategies(case):
        value, weighed = (case.objective()(*views, **keys, **how, **w) for w in ({}, {"weights": W * 0 + 3}))
        torch.testing.assert_close(weighed, value)
        for got, want in zip(gradients(weighed, views), gradients(value, views), strict=True):
            torch.testing.assert_close(got, want)


def test_no_weight_at_all_gives_zero_and_training_goes_on():
    views = [rows(k, 5).requires_grad_() for k in range(2)]
    value = NTXent()(*views, weights=W * 0)
    assert float(value.detach()) == 0 and not any(g.any() for g in torch.autograd.grad(value, views))


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"NTXent: weights must be one per row, got \(4,\) for 10 anchors"):
        NTXent()(rows(0, 5), rows(1, 5), weights=W[:4])
    with pytest.raises(
        ValueError, match=r"SymmetricInfoNCE: weights must be one per row, got \(5,\) for 5 and 10 anchors"
    ):
        SymmetricInfoNCE()(rows(0, 5), rows(1, 5), negatives=rows(2, 5), weights=W)
    with pytest.raises(ValueError, match="weights must not be below 0, got -2"):
        NTXent()(rows(0, 5), rows(1, 5), weights=-W.clamp_max(2))
