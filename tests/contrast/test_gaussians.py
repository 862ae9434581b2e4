"""Gaussian rows, against the divergence that torch works out."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from nearfar import testing
from nearfar.contrast import NegativeGaussianKL
from nearfar.objectives import InfoNCE, build

ROWS = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gaussian(row: torch.Tensor) -> Independent:
    return Independent(Normal(row[:3], (row[3:] / 2).exp()), 1)


def test_scores_are_minus_the_divergence():
    q, d = ROWS
    u, v = NegativeGaussianKL().prepare(q, d, 0.5)
    want = torch.stack([torch.stack([-kl_divergence(gaussian(a), gaussian(b)) for b in d]) for a in q])
    torch.testing.assert_close(u @ v.T, want / 0.5)
    assert u.shape == v.shape == (5, 8) and not torch.allclose(want, want.T)
    own = NegativeGaussianKL().prepare(q, q, 1.0)
    torch.testing.assert_close((own[0] * own[1]).sum(1), torch.zeros(5, dtype=torch.float64))


def test_equal_variances_rank_by_distance():
    means = [torch.cat([z[:, :3], torch.zeros(5, 3)], 1) for z in ROWS]
    u, v = NegativeGaussianKL().prepare(*means, 1.0)
    torch.testing.assert_close(u @ v.T, -torch.cdist(ROWS[0, :, :3], ROWS[1, :, :3]).square() / 2)


def test_an_objective_keeps_its_contract_and_odd_rows_are_refused():
    objective = InfoNCE(similarity=NegativeGaussianKL(floor=0.01), temperature=1.0)
    assert testing.check(objective, width=6, processes=0)
    assert build(objective.config()).similarity == NegativeGaussianKL(floor=0.01)
    with pytest.raises(ValueError, match="got 5 columns"):
        objective(ROWS[0, :, :5], ROWS[1, :, :5])
