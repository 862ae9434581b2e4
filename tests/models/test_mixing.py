from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.models import hard_mixtures, mixed_together, mixing, moved_apart

A = normalize(torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.float64), dim=1)
B = normalize(torch.tensor([[2, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]], dtype=torch.float64), dim=1)


def unit_rows(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, width, dtype=torch.float64, generator=generator), dim=1)


def all_usable(queries: Tensor, held: Tensor) -> Tensor:
    return torch.ones(len(queries), len(held), dtype=torch.bool)


def parts_of(mixture: Tensor, first: Tensor, second: Tensor) -> tuple[float, float, float]:
    """Coefficients of two vectors in a mixture, and what is left."""
    basis = torch.stack([first, second], 1)
    found = torch.linalg.lstsq(basis, mixture[:, None]).solution.flatten()
    return float(found[0]), float(found[1]), float((basis @ found - mixture).norm())


def test_mixtures_are_of_unit_length_between_the_two_hardest_and_take_no_gradient():
    torch.manual_seed(0)
    queries, held = unit_rows(4, 6, 0).requires_grad_(), unit_rows(9, 6, 1)
    made = hard_mixtures(queries, held, all_usable(queries, held), hardest=2, between=30, with_query=0)
    assert made.shape == (4, 30, 6) and not made.requires_grad
    torch.testing.assert_close(made.norm(dim=2), torch.ones(4, 30, dtype=torch.float64))
    for query, mixtures in zip(queries.detach(), made, strict=True):
        order = (held @ query).argsort(descending=True)
        seen = [parts_of(m, held[order[0]], held[order[1]]) for m in mixtures]
        assert all(a > -1e-9 and b > -1e-9 and left < 1e-9 for a, b, left in seen)
        assert any(a > 0.1 and b > 0.1 for a, b, _ in seen)  # both, and not one of them alone


def test_mixtures_with_the_query_have_less_than_half_of_it_and_are_harder_than_what_they_are_made_of():
    torch.manual_seed(0)
    queries, held = unit_rows(4, 6, 0), unit_rows(9, 6, 1)
    made = hard_mixtures(queries, held, all_usable(queries, held), hardest=1, between=0, with_query=50)
    for query, mixtures in zip(queries, made, strict=True):
        nearest = held[(held @ query).argmax()]
        shares = []
        for mixture in mixtures:
            of_query, of_key, left = parts_of(mixture, query, nearest)
            assert left < 1e-9 and -1e-9 < of_query < of_key
            assert float(mixture @ query) >= float(nearest @ query) - 1e-9
            shares.append(of_query / (of_query + of_key))
        assert min(shares) < 0.1 and 0.4 < max(shares) < 0.5  # b in U(0, 1/2)


def test_one_key_mixed_with_itself_is_that_key():
    queries, held = unit_rows(4, 6, 0), unit_rows(9, 6, 1)
    made = hard_mixtures(queries, held, all_usable(queries, held), hardest=1, between=3, with_query=0)
    nearest = held[(queries @ held.T).argmax(1)]
    torch.testing.assert_close(made, nearest[:, None].expand(-1, 3, -1))


def test_keys_of_the_same_item_are_never_mixed_in_however_near_or_few_the_others_are():
    torch.manual_seed(0)
    queries, held = unit_rows(3, 6, 0), unit_rows(5, 6, 1)
    usable = torch.tensor([[True, False, True, False, False], [False, False, False, False, True], [False] * 5])
    made = hard_mixtures(queries, held, usable, hardest=4, between=40, with_query=0)
    for mixture in made[0]:
        a, b, left = parts_of(mixture, held[0], held[2])
        assert left < 1e-9 and a > -1e-9 and b > -1e-9
    torch.testing.assert_close(made[1], held[4].expand(40, -1))
    assert made[2].isfinite().all()  # nothing to mix: whatever it is, it is not to count


def test_near_pairs_are_moved_apart_by_the_published_amount(monkeypatch: pytest.MonkeyPatch):
    """q' k' = (1 - 2 w (1 - w)) q k + 2 w (1 - w); w = 1.3 gives .812080, .478650, .812080, .761525."""
    monkeypatch.setattr(mixing, "_beta", lambda alpha, like: torch.full_like(like, 0.3))
    q, k = moved_apart(A, B, 2.0)
    want = torch.tensor([0.812080, 0.478650, 0.812080, 0.761525], dtype=torch.float64)
    torch.testing.assert_close((q * k).sum(1), want, rtol=0, atol=1e-6)
    torch.testing.assert_close(q + k, A + B)  # about the same middle
    monkeypatch.setattr(mixing, "_beta", lambda alpha, like: torch.zeros_like(like))
    assert all(torch.equal(x, y) for x, y in zip(moved_apart(A, B, 2.0), (A, B), strict=True))


def test_the_gradient_reaches_the_query_through_both():
    q = A.clone().requires_grad_()
    one, other = moved_apart(q, B, 2.0)
    assert torch.autograd.grad(one.sum(), q, retain_graph=True)[0].min() > 1  # w > 1
    assert torch.autograd.grad(other.sum(), q)[0].max() < 0


@pytest.mark.parametrize("alpha", [1.6, 2.0])
def test_what_is_drawn_is_symmetric_beta(alpha: float):
    """Mean 1/2 and variance 1 / (4 (2 a + 1)), for every number anew."""
    torch.manual_seed(0)
    zeros = torch.zeros(400, 50, dtype=torch.float64)
    w, _ = moved_apart(zeros + 1, zeros, alpha)
    assert w.min() >= 1 and w.max() <= 2
    assert w.mean() - 1 == pytest.approx(0.5, abs=0.01)
    assert float(w.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_far_rows_are_mixed_with_rows_of_their_own_number_by_number():
    torch.manual_seed(0)
    held = unit_rows(6, 4, 3)
    made = mixed_together(held, 1.6)
    assert made.shape == held.shape and not torch.equal(made, held)
    # Every number lies between that of the row and that of some other row, the same one for all numbers of the row.
    for row, mixture in zip(held, made, strict=True):
        within = [((mixture - row) * (other - mixture) >= -1e-12).all() for other in held]
        assert any(within)


def test_of_no_rows_there_are_no_mixtures():
    nothing = torch.zeros(0, 4)
    assert mixed_together(nothing, 1.6).shape == (0, 4)
    assert [z.shape for z in moved_apart(nothing, nothing, 2.0)] == [(0, 4), (0, 4)]
    held = torch.eye(4)
    assert hard_mixtures(nothing, held, all_usable(nothing, held), 2, 3, 1).shape == (0, 4, 4)
