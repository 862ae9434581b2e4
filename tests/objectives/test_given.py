"""Rows that bring their own far rows: what the battery does not ask."""

from __future__ import annotations

import pytest
import torch
from case import rows

from nearfar.objectives import InfoNCE, MultipleNegatives, harder, noise_rows


def test_negatives_of_all_rows_are_those_of_infonce():
    a, p, n, m = (rows(k, 5) for k in range(4))
    plain = InfoNCE(temperature=0.1)
    for ids in (torch.tensor([3, 1, 3, 0, 2]), torch.tensor([3, -1, 3, -1, -1])):
        want = plain(a, p, ids=ids, negatives=torch.cat([n, m]))
        for margin, guide in ((0.0, None), (-3.0, torch.ones(5, 4, 2))):  # and a guide that lets everything pass
            loss = MultipleNegatives(temperature=0.1, guide_margin=margin)
            torch.testing.assert_close(loss(a, p, n, m, ids=ids, guide=guide), want)


def test_a_guide_that_finds_everything_as_near_leaves_nothing_to_learn():
    a, p, n = (rows(k, 4).requires_grad_() for k in range(3))
    guide = torch.ones(4, 3, 2)
    value = MultipleNegatives(same_view="both", guide_margin=0.01)(a, p, n, guide=guide)
    value.backward()
    assert float(value.detach()) == 0 and not n.grad.any()
    everyone = MultipleNegatives(same_view="both", guide_margin=-3.0)(a, p, n, guide=guide)
    assert torch.equal(everyone, MultipleNegatives(same_view="both")(a, p, n))


def test_the_hinge_alone_is_a_triplet_with_the_hardest_far_row():
    a, p = rows(0, 5), rows(1, 5)
    seen = MultipleNegatives(hinge=1.0).inspect(a, p).terms["hinge"]
    s = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(p).T
    hardest = s.masked_fill(torch.eye(5, dtype=torch.bool), -2).max(1).values
    torch.testing.assert_close(seen, (0.2 - s.diagonal() + hardest).relu().mean())


def test_noise_moves_to_where_it_hurts_and_takes_no_gradient():
    z, p, loss = rows(0, 6).requires_grad_(), rows(1, 6), InfoNCE(temperature=0.05)
    noise = noise_rows(z, 9, generator=torch.Generator().manual_seed(0))
    assert noise.dtype == z.dtype and not noise.requires_grad
    values = [float(loss(z, p, negatives=noise).detach())]
    for _ in range(3):
        noise = harder(lambda n: loss(z.detach(), p, negatives=n), noise, steps=1, rate=0.01)
        values.append(float(loss(z, p, negatives=noise).detach()))
    assert values == sorted(values) and values[0] < values[-1] and z.grad is None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"guide": torch.ones(4, 2, 3)}, r"guide must be \(4, 3, P\)"),
        ({"given": torch.ones(4, 2)}, r"given must be \(4, 1\)"),
        ({"ids": torch.ones(3)}, r"ids must be \(4,\)"),
        ({"targets": torch.ones(3)}, "one per row"),
    ],
)
def test_what_does_not_fit_the_rows_is_named(how: dict, message: str):
    with pytest.raises(ValueError, match=message):
        MultipleNegatives()(rows(0, 4), rows(1, 4), rows(2, 4), **how)
