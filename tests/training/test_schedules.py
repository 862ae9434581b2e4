from __future__ import annotations

import math

import pytest
import torch

from nearfar.errors import ConfigError
from nearfar.training.schedules import cosine, learning_rate, simclr_rate


def test_warm_up_then_cosine_against_torchs_own_schedulers() -> None:
    total, warmup, base = 50, 8, 0.7
    parameter = torch.nn.Parameter(torch.zeros(1))
    oracle = torch.optim.SGD([parameter], lr=base)
    rise = torch.optim.lr_scheduler.LinearLR(oracle, 1 / warmup, 1.0, total_iters=warmup - 1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(oracle, total - warmup)
    for step in range(total):
        expected = oracle.param_groups[0]["lr"]
        assert learning_rate(step, total, base, warmup) == pytest.approx(expected, rel=1e-9)
        oracle.step()
        if step < warmup - 1:
            rise.step()
        elif step >= warmup:
            fall.step()


def test_constant_and_ends() -> None:
    assert [learning_rate(s, 10, 2.0, 4, "constant") for s in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert learning_rate(10, 10, 2.0) == 0.0
    assert learning_rate(0, 1, 2.0) == 2.0


def test_momentum_ramp_of_the_method_card() -> None:
    k, total, first, last = 3, 11, 0.996, 1.0
    expected = last - (last - first) * (1 + math.cos(math.pi * k / total)) / 2
    assert cosine(k, total, first, last) == pytest.approx(expected, abs=1e-15)
    assert cosine(0, total, first, last) == pytest.approx(first) and cosine(total, total, first, last) == last


def test_simclr_rates_of_the_paper() -> None:
    assert simclr_rate(4096) == pytest.approx(4.8) and simclr_rate(1024, "sqrt") == pytest.approx(2.4)
    with pytest.raises(ConfigError, match="linear, sqrt"):
        simclr_rate(2, "cubic")  # type: ignore[arg-type]
