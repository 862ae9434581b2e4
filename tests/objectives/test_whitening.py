"""What whitening and Sinkhorn promise beyond the battery."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import A, B

from nearfar.objectives import WMSE, SelfDistillation, SwappedPrediction
from nearfar.objectives.prototypes import sinkhorn
from nearfar.objectives.whitening import whiten


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_whitened_rows_have_mean_zero_and_identity_covariance():
    z = rows(40, 6) @ rows(6, 6, 1) + 3
    w = whiten(z).numpy()
    np.testing.assert_allclose(np.cov(w.T), np.eye(6), atol=1e-9)
    np.testing.assert_allclose(w.mean(0), 0, atol=1e-9)


def test_a_lower_triangular_map_leaves_whitened_rows_alone_and_a_general_one_does_not():
    z, mixing = rows(40, 4), rows(4, 4, 1)
    lower = mixing.tril(-1) + torch.diag(mixing.diagonal().abs() + 0.5)
    torch.testing.assert_close(whiten(z @ lower.T + 2), whiten(z))
    assert not torch.allclose(whiten(z @ mixing.T), whiten(z), atol=0.1)


def test_wmse_without_eps_is_the_published_value():
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    value = WMSE(eps=0.0)(a, b)
    value.backward()
    got = [float(x) for x in (value.detach(), a.grad.norm(), b.grad.norm())]
    assert got == pytest.approx([0.390524, 0.942809, 0.666667], abs=1.1e-6)


def test_several_views_are_averaged_over_their_pairs():
    a, b, c = (rows(12, 3, k) for k in range(3))
    pairs = [WMSE()(x, y) for x, y in ((a, b), (a, c), (b, c))]
    torch.testing.assert_close(WMSE()(a, b, c), torch.stack(pairs).mean())


def test_a_singular_covariance_says_what_to_do():
    with pytest.raises(ValueError, match=r"3 rows of width 4 .* at least 8 rows .* narrower projection"):
        WMSE(eps=0.0)(rows(3, 4), rows(3, 4, 1))
    for wrong in ({"eps": 1.0}, {"eps": -0.1}, {"block": 1}):
        with pytest.raises(ValueError, match=r"share|at least 2"):
            WMSE(**wrong)


def test_not_a_number_is_shown_and_not_called_singular():
    z = rows(8, 3)
    z[2] = torch.nan
    assert torch.isnan(WMSE()(z, rows(8, 3, 1)))


def test_rows_left_over_join_the_last_block():
    a, b = rows(11, 2), rows(11, 2, 1)
    parts = [WMSE()(a[:4], b[:4]) * 4, WMSE()(a[4:], b[4:]) * 7]
    torch.testing.assert_close(WMSE(block=4)(a, b), sum(parts) / 11)


# Sinkhorn ----------------------------------------------------------------------


def matrix_form(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """As the official code of SwAV has it."""
    q = np.exp(scores.T / epsilon)
    k, n = q.shape
    q /= q.sum()
    for _ in range(iterations):
        q = q / q.sum(1, keepdims=True) / k
        q = q / q.sum(0, keepdims=True) / n
    return (q * n).T


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_logarithms_give_the_numbers_of_the_matrix_form(iterations: int):
    scores = torch.rand(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    want = matrix_form(scores.numpy(), 0.05, iterations)
    np.testing.assert_allclose(sinkhorn(scores, 0.05, iterations).numpy(), want, rtol=1e-9)


def test_rows_sum_to_one_and_columns_to_an_equal_share():
    scores = torch.rand(60, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    codes = sinkhorn(scores, 0.5, 50)
    torch.testing.assert_close(codes.sum(1), torch.ones(60, dtype=torch.float64))
    torch.testing.assert_close(codes.sum(0), torch.full((5,), 12.0, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    # After three rounds the balance is rough already, where plain softmax puts all on the favourite.
    favoured = scores + torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)
    assert sinkhorn(favoured).sum(0).max() < 20 < (favoured / 0.05).softmax(1).sum(0).max()


def test_equal_scores_give_equal_codes_and_no_scale_overflows():
    assert torch.equal(sinkhorn(torch.zeros(6, 4)), torch.full((6, 4), 0.25))
    assert torch.isfinite(sinkhorn(1e4 * rows(6, 4).float(), 0.001)).all()


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.02, 0.001])
def test_codes_are_the_same_by_factors_and_by_logarithms(epsilon: float):
    """Small epsilon takes the road of logarithms, which is written out here once more."""
    scores = rows(3, 30, 7).tanh()
    logs = scores / epsilon
    for _ in range(3):
        logs = logs - logs.logsumexp(0)
        logs = logs - logs.logsumexp(1, keepdim=True)
    torch.testing.assert_close(sinkhorn(scores, epsilon), logs.exp(), rtol=1e-10, atol=1e-12)


def test_the_code_of_the_fixture():
    unit = torch.nn.functional.normalize
    scores = unit(A) @ unit(torch.tensor([[1, 0, 0], [0, 1, 1]], dtype=torch.float64)).T
    want = torch.tensor([[1, 0], [0, 1], [0, 1], [0.581732, 0.418268]], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores), want, rtol=0, atol=1.1e-6)


def test_more_rows_are_balanced_with_the_batch_and_not_counted():
    scores, more = rows(4, 3).tanh(), rows(6, 3, 1).tanh()
    together = sinkhorn(torch.cat([more, scores]), 0.05)[6:]
    objective = SwappedPrediction()
    torch.testing.assert_close(objective.codes(scores, more), together)
    assert objective(scores, scores, more=more) != objective(scores, scores)


# Distillation ------------------------------------------------------------------


def test_a_shift_of_the_teacher_and_its_centre_changes_nothing():
    student, teacher, shift = rows(5, 4), rows(5, 4, 1), rows(1, 4, 2)[0]
    plain = SelfDistillation()(student, teacher, centre=torch.zeros(4))
    torch.testing.assert_close(SelfDistillation()(student, teacher + shift, centre=shift), plain)
    torch.testing.assert_close(SelfDistillation()(student, teacher), plain)
    assert SelfDistillation()(student, teacher + shift) != plain
