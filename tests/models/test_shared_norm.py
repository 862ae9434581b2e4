"""Batch norm over processes, here with a group of one; `tests/methods/sharing.py` has several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from nearfar.errors import ConfigError
from nearfar.models import MomentumCopy, SharedBatchNorm, average_gradients, projector, share_norms

LAYERS = {
    "rows": (lambda: nn.BatchNorm1d(3), (7, 3)),
    "sequences": (lambda: nn.BatchNorm1d(3, eps=1e-3), (4, 3, 5)),
    "pictures": (lambda: nn.BatchNorm2d(3, momentum=0.3), (4, 3, 5, 2)),
    "volumes": (lambda: nn.BatchNorm3d(3), (2, 3, 2, 2, 2)),
    "cumulative": (lambda: nn.BatchNorm1d(3, momentum=None), (7, 3)),
    "no scale": (lambda: nn.BatchNorm1d(3, affine=False), (7, 3)),
    "no memory": (lambda: nn.BatchNorm1d(3, track_running_stats=False), (7, 3)),
}
layers = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def pair(name: str) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """torch's layer, and the same one shared, in float64 and with weights of no special value."""
    make, shape = LAYERS[name]
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        layer = nn.Sequential(make().double())
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(torch.randn_like(p))
        made.append(layer)
    share_norms(made[1])
    assert isinstance(made[1][0], SharedBatchNorm)
    return made[0], made[1], shape


def drawn(seed: int, shape: tuple[int, ...]) -> Tensor:
    return 5 + 2 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(one: Any, other: Any) -> None:
    torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@layers
def test_outputs_gradients_and_running_statistics_are_those_of_torch(name: str, group: None):
    plain, shared, shape = pair(name)
    for step in range(3):
        said = []
        for layer in (plain, shared):
            rows = drawn(step, shape).requires_grad_()
            out = layer(rows)
            found = torch.autograd.grad((out * drawn(9, shape)).sum(), [rows, *layer.parameters()])
            said.append([out.detach(), *found, *layer.state_dict().values()])
        same(*said)
    plain.eval(), shared.eval()
    same(plain(drawn(8, shape)), shared(drawn(8, shape)))


def test_numbers_far_from_zero_lose_no_digits(group: None):
    rows = (torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) + 1000).requires_grad_()
    layer = nn.Sequential(nn.BatchNorm1d(3))
    share_norms(layer)
    want = nn.functional.batch_norm(rows.double(), None, None, training=True)
    torch.testing.assert_close(layer(rows), want.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_in_single_precision(dtype: torch.dtype, group: None):
    plain, shared, shape = pair("pictures")
    rows = drawn(0, shape).to(dtype)
    out = shared.float()(rows)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), plain.float()(rows.float()), rtol=1e-2, atol=1e-2)


def test_the_gradient_is_the_numerical_one(group: None):
    _, shared, shape = pair("rows")
    assert torch.autograd.gradcheck(lambda rows: shared(rows), drawn(0, shape).requires_grad_())


def test_all_norms_inside_are_shared_and_names_and_tensors_stay(group: None):
    net = nn.ModuleDict({"head": projector(4, 5, 3, last_norm=True), "more": nn.Sequential(nn.BatchNorm2d(3))})
    net["copy"] = MomentumCopy(net["head"])
    net["layer"] = nn.LayerNorm(3)
    before = net.state_dict(keep_vars=True)
    share_norms(net.eval())
    after = net.state_dict(keep_vars=True)
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)
    norms = [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 5 and all(type(norm) is SharedBatchNorm and not norm.training for norm in norms)
    assert [norm.track_running_stats for norm in net["copy"].modules() if isinstance(norm, SharedBatchNorm)] == [
        False
    ] * 2
    assert type(net["layer"]) is nn.LayerNorm


def test_a_copy_is_not_changed_by_being_asked(group: None):
    copy = nn.Sequential(MomentumCopy(nn.Sequential(nn.BatchNorm1d(3))))
    share_norms(copy)
    before = {name: value.clone() for name, value in copy.state_dict().items()}
    copy(torch.randn(5, 3))
    assert all(torch.equal(value, before[name]) for name, value in copy.state_dict().items())


def test_a_norm_that_does_more_is_refused():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, rows: Tensor) -> Tensor:
            return super().forward(rows).relu()

    with pytest.raises(ConfigError, match="WithActivation normalises by the batch of its own process"):
        share_norms(nn.Sequential(WithActivation(3)))


def test_one_value_per_channel_is_refused(group: None):
    layer = nn.Sequential(nn.BatchNorm1d(3))
    share_norms(layer)
    with pytest.raises(ValueError, match="at least 2 values per channel over all processes, got 1"):
        layer(torch.ones(1, 3))


def test_averaging_keeps_what_has_no_gradient_without(group: None):
    net = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1).double(), nn.Linear(2, 1)])
    (net[0](torch.ones(1, 2)).sum() + 3 * net[1](torch.ones(1, 2).double()).sum()).backward()
    want = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    average_gradients(net)
    got = [p.grad for p in net.parameters()]
    assert got[4:] == want[4:] == [None, None]
    same(want[:4], got[:4])
