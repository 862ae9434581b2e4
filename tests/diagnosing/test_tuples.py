"""Labelled triplets: their order, the loss, where curves cross a level."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.diagnosing.tuples import DIAGNOSIS as TUPLES
from nearfar.diagnosing.tuples import TuplesOptions, crossing, labelled, margins, one_fit


def test_triplets_are_of_different_points_and_in_order():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(7, 3))
    found = labelled(points, 400, rng)
    for anchor, near, far in found:
        assert len({anchor, near, far}) == 3
        assert np.linalg.norm(points[anchor] - points[near]) <= np.linalg.norm(points[anchor] - points[far])
    # Every one of the 7 * 15 triplets is as likely: each anchor has a seventh of them.
    share = np.bincount(found[:, 0], minlength=7) / 400
    assert share == pytest.approx(1 / 7, abs=0.07)


def test_margins_are_differences_of_squared_distances():
    rng = np.random.default_rng(1)
    points, triplets = rng.normal(size=(6, 2)), rng.integers(0, 6, size=(9, 3))
    expected = [((points[a] - points[f]) ** 2).sum() - ((points[a] - points[c]) ** 2).sum() for a, c, f in triplets]
    assert margins(torch.from_numpy(points), torch.from_numpy(triplets)).numpy() == pytest.approx(expected)


def test_errors_cross_a_level_between_looks():
    shares = np.array([1.0, 2.0, 8.0])
    assert crossing(shares, np.array([0.4, 0.3, 0.1]), 0.2) == pytest.approx(4.0)  # half way from 2 to 8 in logarithms
    assert crossing(shares, np.array([0.1, 0.1, 0.0]), 0.2) == 1.0
    assert np.isnan(crossing(shares, np.array([0.4, 0.4, 0.3]), 0.2))


def test_without_a_fit_half_of_the_triplets_are_wrong_and_many_triplets_mend_it():
    few = TuplesOptions(points=(20, 30), lr=1e-9, steps=1, held=1000)
    assert one_fit(few, 20, 2, 1.0, seed=0) == pytest.approx(0.5, abs=0.15)
    assert one_fit(TuplesOptions(points=(20, 30), steps=100, held=1000), 20, 2, 40.0, seed=0) < 0.06


def test_errors_that_stay_high_decide_nothing():
    found = TUPLES(seeds=2, points=(10, 12), columns=(2,), shares=(0.1, 0.2, 0.3), steps=2, held=200)
    assert found.holds is None and "larger shares" in found.verdict
