"""Dropout of few random bits: its rate, its mean, its gradients, and that seeds repeat it."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch import nn

from nearfar.models.dropout import Dropout, dropped, quickened


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1 / 65536])
def test_the_rate_is_right_and_the_mean_stays(rate):
    torch.manual_seed(0)
    made = dropped(torch.ones(400_001, dtype=torch.float64), rate)
    gone = int((made == 0).sum())
    exact = round(rate * 65536) / 65536
    assert binomtest(gone, len(made), exact).pvalue > 1e-3
    assert torch.allclose(made[made != 0], torch.tensor(1 / (1 - exact), dtype=torch.float64), atol=1e-15)


def test_neighbours_are_independent():
    torch.manual_seed(1)
    gone = (dropped(torch.ones(100_000, 4), 0.5) == 0).long()
    patterns = (gone * torch.tensor([1, 2, 4, 8])).sum(1).bincount(minlength=16)
    assert chisquare(patterns.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (2, 3, 7)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_shapes_and_kinds_stay(shape, kind):
    made = dropped(torch.ones(shape, dtype=kind), 0.3)
    assert made.shape == shape and made.dtype == kind


def test_gradients_are_those_of_what_is_kept():
    values = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    made = dropped(values, 0.25)
    made.sum().backward()
    assert torch.equal(values.grad, (made != 0).double() / 0.75)


def test_a_seed_repeats_it():
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(dropped(torch.ones(99), 0.5))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_nothing_or_all_is_dropped_at_the_ends():
    assert torch.equal(dropped(torch.ones(9), 0.0), torch.ones(9))
    assert torch.equal(dropped(torch.ones(9), 1.0), torch.zeros(9))
    with pytest.raises(ValueError):
        dropped(torch.ones(9), 1.5)


def test_a_net_is_quickened_and_is_still_where_nothing_is_learned():
    net = quickened(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.2))))
    assert type(net[1]) is Dropout and type(net[2][0]) is Dropout and net[2][0].p == 0.2
    values = torch.randn(8, 4)
    assert torch.equal(net.eval()(values), net[0](values))
    assert not torch.equal(net.train()(values), net[0](values))
