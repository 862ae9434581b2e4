"""Shares of the push against the gradient of the objective, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.diagnosing.temperature import DIAGNOSIS as TEMPERATURE
from nearfar.diagnosing.temperature import penalties, reach, top_share
from nearfar.objectives import InfoNCE

SMALL = {"batch": 64, "width": 16, "columns": 8, "lr": 0.01}
A = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=float)
B = np.array([[2, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]], dtype=float)


def cosines() -> np.ndarray:
    return (A / np.linalg.norm(A, axis=1, keepdims=True)) @ (B / np.linalg.norm(B, axis=1, keepdims=True)).T


def test_the_golden_shares_of_the_first_row():
    assert penalties(cosines(), 0.07)[0] == pytest.approx([0.001067, 0.634998, 0.363935], abs=1e-6)
    assert penalties(cosines(), 0.5)[0] == pytest.approx([0.175178, 0.428473, 0.396350], abs=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_shares_are_those_of_the_gradient(temperature: float):
    scores = torch.from_numpy(cosines()).requires_grad_()
    torch.nn.functional.cross_entropy(scores / temperature, torch.arange(4)).backward()
    assert scores.grad is not None
    pushed = scores.grad.numpy()[~np.eye(4, dtype=bool)].reshape(4, 3)
    assert penalties(cosines(), temperature) == pytest.approx(pushed / pushed.sum(1, keepdims=True))


def test_limits_of_the_temperature():
    assert penalties(cosines(), 1e-4)[0] == pytest.approx([0, 1, 0])  # the nearest far row gets all
    assert penalties(cosines(), 1e6) == pytest.approx(np.full((4, 3), 1 / 3), abs=1e-5)
    # The objective itself: (1 / t) (largest far score - near)+ at 0, and log M - near / t + mean far / t far away.
    s = cosines()
    far = s[~np.eye(4, dtype=bool)].reshape(4, 3)
    a, b = torch.from_numpy(A), torch.from_numpy(B)
    sharp = np.maximum(far.max(1) - np.diagonal(s), 0).mean()
    assert 1e-3 * float(InfoNCE(temperature=1e-3)(a, b)) == pytest.approx(sharp, abs=1e-3)
    flat = np.log(4) + (s.mean(1) - np.diagonal(s)).mean() / 1e3
    assert float(InfoNCE(temperature=1e3)(a, b)) == pytest.approx(flat, abs=1e-6)


def test_reach_and_top_share_of_even_and_single_shares():
    even, single = np.full((2, 20), 1 / 20), np.eye(2, 20)
    assert reach(even) == pytest.approx(20) and reach(single) == pytest.approx(1)
    assert top_share(even) == pytest.approx(0.1) and top_share(single) == 1


def test_the_claim_on_a_small_scale():
    found = TEMPERATURE(seeds=2, temperatures=(0.07, 0.3, 1.0), items=200, steps=60, classes=4, **SMALL)
    by_temperature = {row["temperature"]: row for row in found.table}
    assert by_temperature.keys() == {"0.07", "0.3", "1", "0.07 hard", "0.3 hard", "1 hard"}
    assert found.figures["tolerance"].value == found.figures["far rows that share the push"].value == 1
    assert found.figures["uniformity"].value > 0
    assert found.figures["hard"].value < 0  # the hard variant spreads more evenly at the same temperature
