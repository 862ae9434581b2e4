"""Graded pairs: what the battery does not ask."""

from __future__ import annotations

import math

import pytest
import torch
from case import rows

from nearfar.objectives import AnglE, CoSENT, CosineMSE, NTXent, order_loss


def test_only_the_order_of_targets_matters_to_cosent():
    a, b, y = rows(0, 9), rows(1, 9), torch.tensor([0.0, 2, 1, 1, 5, 4, 4, 3, 0])
    want = CoSENT()(a, b, targets=y)
    for other in (y.long(), (y * 3).exp().double(), -1 / (1 + y)):
        assert torch.equal(CoSENT()(a, b, targets=other), want)
    assert not torch.equal(CoSENT()(a, b, targets=-y), want)


def test_a_hundred_thousand_pairs_need_no_matrix():
    scores = torch.zeros(100_000, dtype=torch.float64).requires_grad_()
    value = order_loss(scores, torch.arange(100_000))
    value.backward()
    pairs = 100_000 * 99_999 / 2
    assert float(value.detach()) == pytest.approx(math.log(1 + pairs), rel=1e-9)
    assert float(scores.grad[0]) == pytest.approx(99_999 / (1 + pairs), rel=1e-9)  # below all others


def test_the_second_term_of_angle_is_ntxent_of_the_near_pairs():
    a, b, y = rows(0, 4), rows(1, 4), torch.tensor([1.0, 0.8, 0.0, 1.0])
    seen = NTXent(temperature=0.05).inspect(a, b).per_anchor.view(2, 4)
    value = AnglE(cosine=0.0, angle=0.0)(a, b, targets=y)
    torch.testing.assert_close(value, seen[:, [0, 3]].sum() / 8)


@pytest.mark.parametrize("targets", [None, torch.ones(3), torch.ones(4, 1)])
def test_targets_that_are_missing_or_of_other_rows_are_refused(targets: torch.Tensor | None):
    with pytest.raises(ValueError, match=r"CosineMSE.*targets"):
        CosineMSE()(rows(0, 4), rows(1, 4), targets=targets)
