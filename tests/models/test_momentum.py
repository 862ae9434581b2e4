from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nearfar.models import MomentumCopy, ramp


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    for _ in range(seed + 1):
        made(torch.randn(8, 4))  # running statistics and a counter worth copying
    return made


def equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_momentum_one_freezes_and_zero_copies_every_bit() -> None:
    copy, other = MomentumCopy(net(0)), net(1)
    weights = {k: v.clone() for k, v in copy.module.state_dict().items() if v.is_floating_point()}
    copy.follow(other, 1.0)
    assert all(torch.equal(v, copy.module.state_dict()[k]) for k, v in weights.items())
    copy.follow(other, 0.0)
    assert equal(copy.module, other)


def test_parameters_and_running_statistics_move_as_the_average_and_counters_are_taken_over() -> None:
    first, other = net(0), net(2)
    copy = MomentumCopy(first)
    copy.follow(other, 0.9)
    for name, value in copy.module.state_dict().items():
        old, new = first.state_dict()[name], other.state_dict()[name]
        want = 0.9 * old + 0.1 * new if value.is_floating_point() else new
        torch.testing.assert_close(value, want)
    assert int(copy.module[1].num_batches_tracked) == 3


def test_the_copy_has_no_gradient_and_is_never_changed_by_being_asked() -> None:
    copy = MomentumCopy(net(0))
    before = {k: v.clone() for k, v in copy.state_dict().items()}
    rows = torch.randn(8, 4, requires_grad=True)
    out = copy.train()(rows)
    assert not out.requires_grad and all(not p.requires_grad for p in copy.parameters())
    assert all(torch.equal(v, copy.state_dict()[k]) for k, v in before.items())


def test_the_copy_normalises_by_its_batch_in_training_and_by_running_statistics_in_evaluation() -> None:
    original, rows = net(3), torch.randn(8, 4)
    copy = MomentumCopy(original)
    assert torch.equal(copy.eval()(rows), original.eval()(rows))
    assert torch.equal(copy.train()(rows), original.train()(rows))
    assert not torch.equal(copy.eval()(rows), copy.train()(rows))


def test_the_original_is_not_touched_by_its_copy() -> None:
    original = net(0)
    copy = MomentumCopy(original)
    assert all(p.requires_grad for p in original.parameters()) and original[1].track_running_stats
    assert not {p.data_ptr() for p in original.parameters()} & {p.data_ptr() for p in copy.parameters()}


@pytest.mark.parametrize("step", range(11))
def test_the_ramp_is_half_a_cosine(step: int) -> None:
    assert ramp(step, 10, 0.99, 0.99) == 0.99
    assert ramp(step, 10, 0.5) == pytest.approx(1 - 0.5 * math.cos(math.pi * step / 20) ** 2)
