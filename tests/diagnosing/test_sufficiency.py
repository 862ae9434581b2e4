"""The two-view model against densities of scipy and regressions on samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nearfar.diagnosing.sufficiency import DIAGNOSIS as SUFFICIENCY
from nearfar.diagnosing.sufficiency import TwoViews, best_of, gaussian_ratio, info_nce

RHO = np.array([0.9, 0.6])
MODEL = TwoViews(RHO, width=5, seed=3)


def ratio_by_scipy(x: np.ndarray, y: np.ndarray, across: np.ndarray) -> np.ndarray:
    """log p(x, y) - log p(x) - log p(y) of every pair."""
    d = len(across)
    both = multivariate_normal(np.zeros(2 * d), np.block([[np.eye(d), across], [across.T, np.eye(d)]]))
    alone = multivariate_normal(np.zeros(d), np.eye(d))
    return np.array([[both.logpdf(np.r_[a, b]) - alone.logpdf(a) - alone.logpdf(b) for b in y] for a in x])


def test_the_ratio_of_densities_is_that_of_scipy():
    x, y = MODEL.pairs(6, np.random.default_rng(0))
    assert gaussian_ratio(x, y, MODEL.covariance()) == pytest.approx(ratio_by_scipy(x, y, MODEL.covariance()), abs=1e-9)


def test_pairs_have_the_covariance_that_is_said():
    x, y = MODEL.pairs(100_000, np.random.default_rng(1))
    assert x.T @ y / len(x) == pytest.approx(MODEL.covariance(), abs=0.02)
    assert x.T @ x / len(x) == pytest.approx(np.eye(5), abs=0.02)


def test_the_best_critic_of_an_encoder_is_the_ratio_of_what_it_gives():
    encoder = np.random.default_rng(2).normal(size=(3, 5))
    x, y = MODEL.pairs(4, np.random.default_rng(0))
    # Whitened by another road: the Cholesky factor of F F', not its singular vectors.
    white = np.linalg.solve(np.linalg.cholesky(encoder @ encoder.T), encoder)
    expected = ratio_by_scipy(x @ white.T, y @ white.T, white @ MODEL.covariance() @ white.T)
    assert best_of(encoder, MODEL, x, y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_excess_risk_is_that_of_least_squares(columns: int):
    rng = np.random.default_rng(columns)
    encoder = rng.normal(size=(columns, 5))
    n = 200_000
    cause, noise = rng.normal(size=(2, n, 2))
    rest = rng.normal(size=(n, 3))
    x = np.c_[np.sqrt(RHO) * cause + np.sqrt(1 - RHO) * noise, rest] @ MODEL.rotation.T
    target = cause @ np.full(2, 2**-0.5)

    def error(rows: np.ndarray) -> float:
        return float(np.square(target - rows @ np.linalg.lstsq(rows, target, rcond=None)[0]).mean())

    assert MODEL.error_of_views() == pytest.approx(0.25) == pytest.approx(error(x), abs=0.01)
    assert MODEL.excess(encoder) == pytest.approx(error(x @ encoder.T) - error(x), abs=0.01)


def test_an_encoder_that_sees_all_that_is_shared_loses_nothing():
    shared = MODEL.rotation.T[:2]
    x, y = MODEL.pairs(50, np.random.default_rng(4))
    assert MODEL.excess(shared) == pytest.approx(0, abs=1e-12)
    least = info_nce(gaussian_ratio(x, y, MODEL.covariance()))
    assert info_nce(best_of(shared, MODEL, x, y)) == pytest.approx(least, abs=1e-9)
    assert info_nce(best_of(MODEL.rotation.T[2:], MODEL, x, y)) == pytest.approx(np.log(50))  # it sees noise alone


def test_info_nce_is_cross_entropy():
    scores = np.random.default_rng(0).normal(size=(4, 4)) * 5
    expected = np.mean([np.log(sum(np.exp(v) for v in row)) - row[i] for i, row in enumerate(scores)])
    assert info_nce(scores) == pytest.approx(expected)


def test_the_claim_holds_where_the_encoder_is_wide_enough_and_the_gap_stays_where_it_is_not():
    how = {"seeds": 2, "steps": 300, "batch": 64, "held": 16, "width": 6, "shared": 2}
    wide, narrow = (SUFFICIENCY(columns=columns, **how) for columns in (2, 1))
    assert wide.figures["lowest"].value > -3 and wide.figures["correlation"].value > 0.8
    assert wide.figures["last_gap"].value < 0.02 and wide.figures["last_excess"].value < 0.02
    # One column can keep the one of correlation 0.9 and loses the other, of 0.5: its information, and its target.
    assert narrow.figures["last_gap"].value == pytest.approx(-np.log(1 - 0.5**2) / 2, abs=0.03)
    assert narrow.figures["last_excess"].value == pytest.approx(0.5 * 0.5, abs=0.02)
