"""Several heads against plain loops, however visited; what temperatures cost; rows made by the heads themselves."""

from __future__ import annotations

import pytest
import torch
from cases import rows
from judges.multihead import adaptive

from nearfar.contrast import Strategy
from nearfar.models import AdaptiveHeads
from nearfar.objectives import AdaptiveMultiHead, NTXent

WAYS = [Strategy("dense"), Strategy("auto"), Strategy("tiled", tile=3), Strategy("tiled", tile=64)]


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("strategy", WAYS, ids=lambda s: f"{s.kind} {s.tile}")
def test_three_heads_are_those_of_plain_loops(strategy: Strategy, views: int):
    leaves = [rows(k, 5, 12).requires_grad_() for k in range(views)]
    objective = AdaptiveMultiHead(heads=3, codes=2, low=0.2, high=1.5, price=0.3)
    want = adaptive(3, 2, 0.2, 1.5, 0.3)(*leaves)
    got = objective(*leaves, strategy=strategy)
    torch.testing.assert_close(got, want)
    for g, w in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(want, leaves), strict=True):
        torch.testing.assert_close(g, w)


def test_heads_may_change_places():
    a, b = rows(0, 5, 12), rows(1, 5, 12)
    # Columns: 3 heads of 3 numbers, then 3 codes of 1.
    order = torch.tensor([6, 7, 8, 0, 1, 2, 3, 4, 5, 11, 9, 10])
    objective = AdaptiveMultiHead(heads=3, codes=1)
    torch.testing.assert_close(objective(a, b), objective(a[:, order], b[:, order]))
    assert not torch.allclose(objective(a, b), objective(a[:, order.flip(0)], b[:, order.flip(0)]))


def test_one_head_with_equal_codes_is_nt_xent_and_a_constant():
    a, b = rows(0, 6, 5), rows(1, 6, 5)
    a[:, 4], b[:, 4] = 0.0, 0.0
    t = (0.1 + 0.5) / 2
    plain = NTXent(temperature=t)(a[:, :4], b[:, :4])
    for price in (0.0, 0.2):
        got = AdaptiveMultiHead(heads=1, low=0.1, high=0.5, price=price)(a, b)
        constant = price * float(torch.tensor(t).log() * 2 + 1 / t)
        assert float(got) == pytest.approx(float(plain) + constant, rel=1e-6)


def test_items_that_repeat_are_near_however_often():
    a, b = rows(0, 4, 3), rows(1, 4, 3)
    a[:, 2], b[:, 2] = 0.0, 0.0
    ids = torch.tensor([7, 2, 7, 3])
    got = AdaptiveMultiHead(heads=1, low=0.3, high=0.3, price=0.0)(a, b, ids=ids)
    torch.testing.assert_close(got, NTXent(temperature=0.3)(a[:, :2], b[:, :2], ids=ids))


def test_temperatures_go_to_two_over_the_width_where_nothing_but_their_price_counts():
    """The price has its least value at t = 2 / D: with nothing to gain the codes settle there."""
    width = 4
    code = torch.tensor([[0.1]], dtype=torch.float64, requires_grad=True)
    z = torch.eye(width, dtype=torch.float64)
    optimiser = torch.optim.SGD([code], lr=0.2)
    objective = AdaptiveMultiHead(heads=1, low=0.1, high=0.8, price=1e3)
    for _ in range(400):
        view = torch.cat([z, code.expand(width, 1)], 1)
        optimiser.zero_grad()
        (objective(view, view) / 1e3).backward()
        optimiser.step()
    t = 0.1 + 0.7 * torch.sigmoid(code.detach() ** 2)
    assert float(t) == pytest.approx(2 / width, abs=1e-3)


def test_the_heads_make_rows_whose_gradient_reaches_all_of_them():
    torch.manual_seed(0)
    heads = AdaptiveHeads(6, 8, out=4, heads=2, codes=3)
    embeddings = [torch.randn(8, 6) for _ in range(2)]
    views = [heads(e) for e in embeddings]
    assert views[0].shape == (8, 2 * (4 + 3))
    torch.testing.assert_close(views[0][:, 4:8], heads.projectors[1](embeddings[0]))
    unit = torch.nn.functional.normalize(views[0][:, 4:8], dim=1)
    torch.testing.assert_close(views[0][:, 11:], heads.coders[1](unit))
    AdaptiveMultiHead(heads=2, codes=3)(*views).backward()
    for name, parameter in heads.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdaptiveMultiHead(heads=0), "heads and codes are at least 1, got 0 and 1"),
        (lambda: AdaptiveMultiHead(low=0.0), r"temperatures lie in \[low, high\] above 0, got \[0.0, 2.0\]"),
        (lambda: AdaptiveMultiHead(heads=2)(rows(0, 3, 5), rows(1, 3, 5)), "does not make 5 columns"),
        (lambda: AdaptiveMultiHead(heads=3)(rows(0, 3, 3), rows(1, 3, 3)), "3 heads of D numbers and 1 codes"),
        (lambda: AdaptiveHeads(4, 4, 4, heads=0), "heads is 0; it must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(make, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()
