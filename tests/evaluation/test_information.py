"""Bounds on mutual information: by plain loops, by the objectives of the catalogue, and against a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar import objectives
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import correlated_gaussians, gaussian_information, information
from nearfar.evaluation.information import BOUNDS, CRITICS, make_critic


def by_hand(name: str, f: list[list[float]]) -> float:
    k = len(f)
    own = [f[i][i] for i in range(k)]
    other = [f[i][j] for i in range(k) for j in range(k) if i != j]
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    if name == "InfoNCE":
        return mean([f[i][i] - math.log(mean([math.exp(v) for v in f[i]])) for i in range(k)])
    if name == "NWJ":
        return mean(own) - mean([math.exp(v) for v in other]) / math.e
    if name == "JensenShannon":
        return mean(own) + 1 - mean([math.exp(v) for v in other])
    clip = 0.4 if name == "SMILE" else math.inf
    return mean(own) - math.log(mean([min(max(math.exp(v), math.exp(-clip)), math.exp(clip)) for v in other]))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_what_the_publication_says(name: str) -> None:
    f = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = BOUNDS[name](f, **({"clip": 0.4} if name == "SMILE" else {}))
    assert float(got) == pytest.approx(by_hand(name, f.tolist()), rel=1e-12)


@pytest.mark.parametrize("name", ["InfoNCE", "NWJ", "DonskerVaradhan"])
def test_a_bound_is_minus_the_objective_of_the_catalogue(name: str) -> None:
    x, y = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kind = objectives.catalogue()[name]
    dot = {"similarity": objectives.NWJ().similarity, "temperature": 1.0}
    want = -kind(**dot)(x, y) + (math.log(6) if name == "InfoNCE" else 0)
    assert float(BOUNDS[name](x @ y.T)) == pytest.approx(float(want), rel=1e-9)


def test_information_of_gaussians_is_the_closed_form() -> None:
    """By the determinant of the covariance of both sides together."""
    for width, rho in ((1, 0.5), (3, 0.9)):
        joint = np.block([[np.eye(width), rho * np.eye(width)], [rho * np.eye(width), np.eye(width)]])
        assert gaussian_information(width, rho) == pytest.approx(-0.5 * math.log(np.linalg.det(joint)))
    x, y = correlated_gaussians(200_000, 2, information=1.5, seed=3)
    rho = [np.corrcoef(x[:, k], y[:, k])[0, 1] for k in range(2)]
    assert sum(gaussian_information(1, r) for r in rho) == pytest.approx(1.5, abs=0.02)
    assert abs(np.corrcoef(x[:, 0], y[:, 1])[0, 1]) < 0.01


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_scores_every_row_with_every_other(name: str) -> None:
    torch.manual_seed(0)
    critic = make_critic(name, 3, 2, hidden=8)
    x, y = torch.randn(4, 3), torch.randn(4, 2)
    scores = critic(x, y)
    for i in range(4):
        for j in range(4):
            alone: Tensor = critic(x[i : i + 1], y[j : j + 1])
            assert scores[i, j].item() == pytest.approx(alone.item(), abs=1e-5)


@pytest.mark.parametrize("bound", BOUNDS)
def test_estimates_come_near_what_gaussians_share(bound: str) -> None:
    x, y = correlated_gaussians(6000, 2, information=1.0)
    told = information(x, y, bound, "separable", steps=600, batch=64, hidden=32, lr=3e-3, held=0.4)
    assert told.value == pytest.approx(1.0, abs=0.2)
    assert told.low < told.value < told.high and told.n == 2400 // 64


def test_rows_that_know_nothing_of_each_other_share_nothing() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 3000, 3))
    told = information(x, y, steps=60, batch=64, hidden=16)
    assert told.value == pytest.approx(0, abs=0.05)
    linear = information(x, y, "DonskerVaradhan", "bilinear", steps=200, batch=64, lr=0.01)
    assert linear.value == pytest.approx(0, abs=0.05)


def test_infonce_stops_at_the_logarithm_of_the_batch_and_others_do_not() -> None:
    x, y = correlated_gaussians(6000, 4, information=6.0)
    how = {"steps": 300, "batch": 16, "hidden": 64, "lr": 3e-3, "held": 0.4}
    low = information(x, y, "InfoNCE", **how)
    assert math.log(16) - 0.4 < low.value < math.log(16) == low.settings["ceiling"]
    assert information(x, y, "SMILE", **how).value > math.log(16) + 0.5


def test_what_is_measured_was_not_trained_on_and_comes_again_by_its_seed() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(160, 8)), rng.normal(size=(160, 8))  # few rows, which a critic learns by heart
    told = information(x, y, steps=400, batch=32, hidden=64, lr=3e-3)
    assert told.value < 0.1
    assert information(x, y, steps=20, batch=32) == information(x, y, steps=20, batch=32)


def test_what_does_not_pair_or_is_unknown_is_refused() -> None:
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(DataError, match="50 rows and 49 rows do not pair"):
        information(x, x[1:])
    with pytest.raises(DataError, match="50 pairs leave 10 to measure on and 40 to train on, and a batch has 32"):
        information(x, x, batch=32)
    with pytest.raises(ConfigError, match="there is no bound 'MINE'; there are InfoNCE, NWJ"):
        information(x, x, "MINE")
    with pytest.raises(ConfigError, match="there is no critic 'deep'; there are bilinear, separable, concatenated"):
        information(x, x, critic="deep", batch=8)
