"""Learned numbers: where they start, where they are held, and that they can always learn."""

from __future__ import annotations

import math

import pytest
import torch

from nearfar.contrast import LearnedBias, LearnedTemperature, current
from nearfar.objectives import NTXent


def test_a_temperature_starts_where_it_is_told_and_stores_the_logarithm_of_its_inverse():
    temperature = LearnedTemperature(0.07)
    assert float(temperature().detach()) == pytest.approx(0.07)
    assert float(temperature.log_inverse.detach()) == pytest.approx(math.log(1 / 0.07))


def test_its_gradient_is_that_of_the_exponential():
    temperature = LearnedTemperature(0.5).double()
    temperature().backward()
    assert float(temperature.log_inverse.grad) == pytest.approx(-float(temperature().detach()))


@pytest.mark.parametrize(("wanted", "low", "high"), [(0.001, 0.01, 10), (20, 0.01, 10), (0.1, 0, 1), (0.1, 0.5, 0.2)])
def test_it_must_start_inside_its_range(wanted: float, low: float, high: float):
    with pytest.raises(ValueError, match="must start inside"):
        LearnedTemperature(wanted, low, high)


@pytest.mark.parametrize(("beyond", "bound"), [(-100.0, 10.0), (100.0, 0.01)])
def test_beyond_a_bound_it_is_held_and_only_the_way_back_is_open(beyond: float, bound: float):
    temperature = LearnedTemperature()
    with torch.no_grad():
        temperature.log_inverse.fill_(beyond)
    assert float(temperature().detach()) == pytest.approx(bound)
    outward = 1.0 if beyond < 0 else -1.0  # the sign of d loss / d log_inverse that descent follows further out
    for sign, open_ in ((outward, False), (-outward, True)):
        temperature.log_inverse.grad = None
        (-sign * temperature()).backward()
        assert bool(temperature.log_inverse.grad != 0) == open_


def test_a_temperature_that_stepped_too_far_learns_its_way_back():
    z = torch.nn.functional.normalize(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    other = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))  # unrelated: a low temperature is costly
    loss = NTXent(temperature=LearnedTemperature(0.05))
    with torch.no_grad():
        loss.temperature.log_inverse.fill_(math.log(1 / 0.005))  # below the least of 0.01
    descent = torch.optim.SGD(loss.parameters(), lr=0.1)
    for _ in range(20):
        descent.zero_grad()
        loss(z, other).backward()
        descent.step()
    assert float(loss.temperature().detach()) > 0.011


def test_numbers_fixed_and_learned_are_read_alike():
    assert current(0.5) == 0.5
    assert float(current(LearnedBias(-3.0)).detach()) == -3.0
    assert "0.07 in [0.01, 10]" in repr(LearnedTemperature(0.07)) and "-10" in repr(LearnedBias(-10.0))
