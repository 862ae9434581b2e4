"""The model of two views against densities of scipy and their integrals, and probes against scikit-learn."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import Ridge

from nearfar.diagnosing.redundancy import DIAGNOSIS as REDUNDANCY
from nearfar.diagnosing.redundancy import RedundancyOptions, World, predicted

OPTIONS = RedundancyOptions(bits=2, width=4, apart=0.8)
WORLD = World(OPTIONS, seed=3)
CORNERS = np.array(list(product((-1, 1), repeat=2)))


def densities(rows: np.ndarray, coins: tuple[float, ...]) -> np.ndarray:
    """(N, states, coins) densities of rows for each state and coin."""
    return np.array(
        [
            [
                [multivariate_normal.pdf(row, WORLD.rotation @ (0.8 * np.array([*corner, u, 0.0]))) for u in coins]
                for corner in CORNERS
            ]
            for row in rows
        ]
    )


def test_the_ratio_and_the_best_predictions_are_those_of_the_densities():
    seen = WORLD.items(5, np.random.default_rng(0))
    x, z = densities(seen.x, (-1.0, 1.0)), densities(seen.z, (0.0,))[:, :, 0]
    joint = np.einsum("ihu,jh->ij", x, z) / 8  # 4 states, 2 coins
    expected = joint / np.outer(x.mean((1, 2)), z.mean(1))
    assert WORLD.ratio(seen.x, seen.z) == pytest.approx(expected, abs=1e-9)

    share = 0.3
    y = np.sqrt(share) * CORNERS.prod(1)[:, None] + np.sqrt(1 - share) * np.array([-1.0, 1.0])
    both, first, second = WORLD.best(seen, share)
    for found, weights in ((both, x * z[:, :, None]), (first, x), (second, np.repeat(z[:, :, None], 2, 2))):
        assert found == pytest.approx((weights * y).sum((1, 2)) / weights.sum((1, 2)), abs=1e-9)


def test_items_are_as_the_densities_say():
    seen = WORLD.items(40_000, np.random.default_rng(1))
    turned = seen.x @ WORLD.rotation
    for state, coin in product(range(4), (-1, 1)):
        mean = turned[(seen.state == state) & (seen.coin == coin)].mean(0)
        assert mean == pytest.approx([*(0.8 * CORNERS[state]), 0.8 * coin, 0.0], abs=0.06)
    rest = seen.z @ WORLD.rotation - 0.8 * np.c_[CORNERS[seen.state], np.zeros((40_000, 2))]
    assert np.cov(rest.T) == pytest.approx(np.eye(4), abs=0.04)
    # The best prediction of y is not correlated with its own error.
    y, best = 0.6 * CORNERS.prod(1)[seen.state] + 0.8 * seen.coin, WORLD.best(seen, 0.36)[0]
    assert np.mean((y - best) * best) == pytest.approx(0, abs=0.01)


def test_the_probe_is_ridge_on_standardised_columns():
    rng = np.random.default_rng(2)
    train, fresh, y = rng.normal(3, 2, size=(50, 4)), rng.normal(3, 2, size=(7, 4)), rng.normal(1, 1, 50)
    judge = Ridge(alpha=1e-2 * 50**0.5).fit((train - train.mean(0)) / train.std(0), y)
    assert predicted(train, y, fresh) == pytest.approx(judge.predict((fresh - train.mean(0)) / train.std(0)))


def test_landmarks_tell_what_both_views_see_and_nothing_else():
    found = REDUNDANCY(seeds=2, bits=2, width=4, steps=100, batch=64, rows=500, landmarks=(1, 64), shares=(0.0, 1.0))
    # The coin is in no landmark of the exact ratio, and a linear function of the rows knows nothing of a parity.
    assert found.figures["lost"].value == pytest.approx(0.98, abs=0.05)
    assert found.table[-1]["rows themselves"].value == pytest.approx(0.95, abs=0.1)
    assert found.figures["exact"].value < 0.08
    assert found.figures["last"].value < 0.2 and found.figures["landmarks"].value > 0.4
    assert found.figures["beyond"].value < 0
