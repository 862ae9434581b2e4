"""The first step of a linear network against the covariance of augmentation means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.contrast import NegativeSquaredEuclidean
from nearfar.diagnosing.growth import DIAGNOSIS as GROWTH
from nearfar.diagnosing.growth import spectra
from nearfar.objectives import ExactCovariance


def test_one_step_is_the_covariance_of_means_of_the_batch():
    rng = np.random.default_rng(0)
    n, d, t = 12, 3, 1e4
    x, y = rng.normal(size=(2, n, d))
    weight = torch.from_numpy(rng.normal(size=(d, d)) * 0.1).requires_grad_()
    loss = ExactCovariance(similarity=NegativeSquaredEuclidean(normalize=False), temperature=t)
    (slope,) = torch.autograd.grad(loss(torch.from_numpy(x) @ weight.T, torch.from_numpy(y) @ weight.T), weight)
    rows = np.concatenate([x, y])
    far, near = np.zeros((d, d)), np.zeros((d, d))
    for i in range(2 * n):
        for j in range(2 * n):
            if i != j:
                apart = np.outer(rows[i] - rows[j], rows[i] - rows[j])
                if j == (i + n) % (2 * n):
                    near += apart / (2 * n)
                else:
                    far += apart / (2 * n * (2 * n - 2))
    # Weights are sigmoid((s - 1) / t) / t, 1 / (2 t) for scores far below t; s = -|W delta|^2.
    expected = -weight.detach().numpy() @ (far - near) / t
    assert slope.numpy() == pytest.approx(expected, rel=1e-3)


def test_rows_and_means_order_directions_the_other_way_round():
    means, noise = spectra(5)
    assert (np.diff(means) < 0).all() and (np.diff(means + noise) > 0).all() and (noise > 0).all()


def test_growth_follows_the_eigenvalues():
    found = GROWTH(seeds=2, steps=60, batch=128, width=4)
    assert found.figures["slope"].value == pytest.approx(1, abs=0.15)
    assert found.figures["offset"].value == pytest.approx(0, abs=0.1)
    assert found.figures["exact covariance"].value > 0.9
