"""Prefixes: what the battery does not ask."""

from __future__ import annotations

import pytest
import torch
from case import rows

from nearfar.objectives import CoSENT, InfoNCE, LearnedTemperature, Matryoshka, build


def test_the_whole_width_alone_is_the_objective():
    a, b, queue = rows(0, 5), rows(1, 5), rows(2, 7)
    loss = InfoNCE()
    assert torch.equal(Matryoshka(of=loss, widths=(3,))(a, b, negatives=queue), loss(a, b, negatives=queue))
    assert torch.equal(Matryoshka(of=loss)(a, b), loss(a, b) + loss(a[:, :1], b[:, :1]))


def test_arguments_go_to_the_objective_and_a_queue_is_cut():
    a, b, queue, y = rows(0, 5), rows(1, 5), rows(2, 7), torch.arange(5)
    seen = Matryoshka(of=InfoNCE(), widths=(2,)).inspect(a, b, negatives=queue)
    torch.testing.assert_close(seen.total, InfoNCE()(a[:, :2], b[:, :2], negatives=queue[:, :2]))
    assert list(seen.terms) == ["2 columns"]
    graded = Matryoshka(of=CoSENT(), widths=(3, 1))
    torch.testing.assert_close(
        graded(a, b, targets=y), CoSENT()(a, b, targets=y) + CoSENT()(a[:, :1], b[:, :1], targets=y)
    )


def test_it_is_made_again_from_plain_data_with_what_it_holds():
    made = Matryoshka(of=InfoNCE(temperature=LearnedTemperature(0.2)), widths=(4, 2))
    again = build(made.config())
    assert again.widths == (4, 2) and float(again.of.temperature().detach()) == pytest.approx(0.2)
    assert "of=InfoNCE(similarity=Cosine(), temperature=LearnedTemperature(0.2" in repr(made)


@pytest.mark.parametrize(
    ("given", "message"), [({"widths": (0,)}, "at least 1"), ({"widths": (2,), "weights": (1.0, 2.0)}, "one for each")]
)
def test_impossible_widths_are_refused(given: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Matryoshka(**given)


def test_rows_that_are_too_narrow_are_named():
    with pytest.raises(ValueError, match="rows have 3 columns, and 4 are asked for"):
        Matryoshka(widths=(4, 2))(rows(0, 2), rows(1, 2))
