"""A teacher's scores: what the battery does not ask."""

from __future__ import annotations

import pytest
import torch
from case import rows
from judges.taught import better

from nearfar.objectives import AdaptiveMargin, ListMLE, ListNet, MarginMSE, ScoreDistillation


def test_a_constant_for_every_row_of_scores_changes_nothing():
    a, p, n, scores = rows(0, 5), rows(1, 5), rows(2, 5), rows(3, 5, 2)
    for loss in (MarginMSE(), ScoreDistillation()):
        torch.testing.assert_close(loss(a, p, n, scores=scores), loss(a, p, n, scores=scores + rows(4, 5, 1)))


def test_the_order_alone_counts_for_listmle_and_a_student_who_is_the_teacher_has_nothing_to_learn_from_listnet():
    a, b, teacher = rows(0, 6), rows(1, 6), better(6)["teacher"]
    longer = teacher * torch.rand(6, 2, 1, dtype=torch.float64).add(0.5)
    assert torch.equal(ListMLE()(a, b, teacher=teacher), ListMLE()(a, b, teacher=longer))
    own = torch.stack([a, b], 1)
    assert float(ListNet()(a, b, teacher=own)) == pytest.approx(0, abs=1e-12)
    assert float(ListNet(teacher_temperature=0.5)(a, b, teacher=own)) > 0.1


def test_one_triple_has_the_same_target_in_three_forms():
    q, p, n = rows(0, 1), rows(1, 1), rows(2, 1)
    values = [AdaptiveMargin(target=target)(q, p, n) for target in ("distributed", "adaptive", "in_batch")]
    torch.testing.assert_close(values[1:], values[:1] * 2)


@pytest.mark.parametrize("loss", [MarginMSE(), ScoreDistillation()], ids=lambda o: type(o).__name__)
def test_scores_that_are_missing_or_do_not_fit_are_named(loss: MarginMSE):
    for scores in (None, torch.ones(4, 3)):
        with pytest.raises(ValueError, match=r"pass scores= \(4, 2\)"):
            loss(rows(0, 4), rows(1, 4), rows(2, 4), scores=scores)
    with pytest.raises(ValueError, match=r"pass teacher= \(4, 2, P\)"):
        ListNet()(rows(0, 4), rows(1, 4), teacher=torch.ones(4, 5))
