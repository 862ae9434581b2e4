"""The contract battery, cached: every objective with encoders that run a micro-batch at a time, against all at once.

The oracle encodes the same micro-batches one after another, keeps all activations, and calls `backward` once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import EVERY, Case, rows, strategies
from torch import Tensor, nn

import nearfar
from nearfar.objectives import NTXent

N, WIDTH = 5, 3
SIZES = (1, 2, 3, 50)


class Encoder(nn.Module):
    """Nested rows to (N, 3), with dropout at two depths."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second, self.third = nn.Linear(4, 6), nn.Linear(2, 6), nn.Linear(6, WIDTH)
        self.dropout = nn.Dropout(0.3)
        self.double()

    def forward(self, given: dict[str, Any]) -> Tensor:
        hidden = torch.tanh(self.first(given["wide"]) + self.second(given["more"][0]))
        return self.dropout(self.third(self.dropout(hidden)))


def towers_of(case: Case) -> list[tuple[Encoder, dict[str, Any]]]:
    """Two views by one encoder, or by one each where rows of two kinds are compared."""
    first = Encoder(0)
    second = Encoder(1) if case.layout == "cross" else first
    given = [{"wide": rows(k, N, 4).requires_grad_(), "more": [rows(k + 5, N, 2), None]} for k in range(case.views)]
    return list(zip((first, *[second] * (case.views - 1)), given, strict=True))


def in_one_graph(encoder: Encoder, given: dict[str, Any], size: int) -> Tensor:
    """The micro-batches one after another, all of them in the graph."""
    parts = zip(given["wide"].split(size), given["more"][0].split(size), strict=True)
    return torch.cat([encoder({"wide": wide, "more": [more, None]}) for wide, more in parts])


def gradients(case: Case, size: int, how: dict[str, Any], cached: bool) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Value, gradients of encoders, objective and inputs, and the next random number."""
    objective, towers = case.objective(), towers_of(case)
    torch.manual_seed(7)
    if cached:
        value = nearfar.cached(objective, *towers, micro_batch=size, **how)
    else:
        value = objective(*(in_one_graph(encoder, given, size) for encoder, given in towers), **how)
    value.backward()
    leaves = {f"input {k}": given["wide"] for k, (_, given) in enumerate(towers)}
    for k, module in enumerate([objective, *(encoder for encoder, _ in towers)]):
        leaves |= {f"{k} {name}": parameter for name, parameter in module.named_parameters()}
    found = {k: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for k, leaf in leaves.items()}
    return value.detach(), found, torch.rand(1)


@pytest.mark.parametrize("case", EVERY, ids=lambda c: c.name)
def test_micro_batches_change_neither_value_nor_gradients(case: Case):
    keys = {"labels": torch.tensor([0, 1, 0, 1, 1])} if case.layout == "joint" else case.how(N)
    for how in strategies(case):
        for size in SIZES:
            value, found, number = gradients(case, size, {**keys, **how}, cached=True)
            want, wanted, same_number = gradients(case, size, {**keys, **how}, cached=False)
            torch.testing.assert_close(value, want, rtol=1e-9, atol=1e-9)
            assert found.keys() == wanted.keys()
            for name in wanted:
                torch.testing.assert_close(
                    found[name], wanted[name], rtol=1e-9, atol=1e-9, msg=f"{name}, {size}, {how}"
                )
            assert any(name[:2] in ("1 ", "in") and bool(g.any()) for name, g in wanted.items())
            assert torch.equal(number, same_number)  # random numbers go on as if nothing had been replayed


def test_without_replay_of_dropout_the_gradients_would_be_others(monkeypatch: pytest.MonkeyPatch):
    """The battery can fail: the same without putting random numbers back."""
    case = next(c for c in EVERY if c.entry == "NTXent")
    _, wanted, _ = gradients(case, 2, {}, cached=False)
    monkeypatch.setattr("nearfar.training.cache.restore_torch", lambda state: None)
    _, found, _ = gradients(case, 2, {}, cached=True)
    assert max(float((found[k] - wanted[k]).norm() / wanted[k].norm()) for k in wanted if wanted[k].any()) > 0.1


# Memory ------------------------------------------------------------------------


def most_kept(step: Callable[[], Tensor]) -> int:
    """The most numbers in the graph at any time of a forward and backward pass."""
    alive, most = 0, 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def freed(size: int) -> None:
        nonlocal alive
        alive -= size

    def pack(tensor: Tensor) -> Kept:
        nonlocal alive, most
        kept = Kept(tensor.detach())
        alive += tensor.numel()
        most = max(most, alive)
        weakref.finalize(kept, freed, tensor.numel())
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        step().backward()
    assert alive == 0
    return most


def kept_by(n: int, size: int, kind: str) -> int:
    """The most numbers in the graph for two views of n rows by an encoder of two layers of 100."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(2, 100), nn.Tanh(), nn.Linear(100, 100), nn.Tanh(), nn.Linear(100, 2))
    towers = [(encoder, view) for view in torch.randn(2, n, 2)]
    return most_kept(lambda: nearfar.cached(NTXent(strategy=kind), *towers, micro_batch=size))


def test_what_is_kept_grows_with_the_micro_batch_and_not_with_the_batch():
    few, many = kept_by(64, 8, "tiled"), kept_by(256, 8, "tiled")
    assert many - few < (256 - 64) * 2 * 40  # inputs, projections and statistics, but none of the 200 activations
    assert kept_by(64, 32, "tiled") - few > (32 - 8) * 200  # a larger micro-batch keeps more
    assert kept_by(256, 256, "tiled") - kept_by(64, 64, "tiled") > (256 - 64) * 2 * 200  # as encoding all at once does
    assert kept_by(256, 8, "dense") > (2 * 256) ** 2 > many  # scores are the strategy's
