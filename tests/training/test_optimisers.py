from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from nearfar.errors import ConfigError
from nearfar.training.optimisers import LARS, optimiser, parameter_groups


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.GroupNorm(1, 3)
        self.table = nn.LayerNorm([2, 2])  # its weight has two dimensions
        self.head = nn.Linear(3, 2)
        self.log_temperature = nn.Parameter(torch.zeros(1, 1))
        self.score_bias = nn.Parameter(torch.zeros(1, 1))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_groups_split_by_what_a_parameter_is() -> None:
    groups = {group["name"]: [name for name, _ in group["params"]] for group in parameter_groups(Mixed())}
    assert groups["decayed"] == ["conv.weight", "head.weight"]
    assert set(groups["plain"]) == {
        "conv.bias", "norm.weight", "norm.bias", "table.weight", "table.bias", "head.bias", 
        "log_temperature", "score_bias",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_plain_parameters_do_not_decay(name: str) -> None:
    model = nn.Linear(3, 2)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    chosen = optimiser(name, parameter_groups(model), lr=0.1, weight_decay=0.5)  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chosen.step()
    assert torch.equal(model.bias, before["bias"])
    assert model.weight.norm() < before["weight"].norm()


def naive_lars(
    weights: np.ndarray, gradients: list[np.ndarray], rates: list[float], adapt: bool, decay: float
) -> np.ndarray:
    """SimCLR's lars_optimizer.py with classic momentum, entry by entry."""
    momentum, eta = 0.9, 0.001
    weights, velocity = weights.copy(), np.zeros_like(weights)
    for gradient, rate in zip(gradients, rates, strict=True):
        update = np.zeros_like(weights)
        for place in np.ndindex(weights.shape):
            update[place] = gradient[place] + decay * weights[place]
        ratio = 1.0
        if adapt:
            of_weights = math.sqrt(sum(float(w) ** 2 for w in weights.ravel()))
            of_update = math.sqrt(sum(float(u) ** 2 for u in update.ravel()))
            if of_weights > 0 and of_update > 0:
                ratio = eta * of_weights / of_update
        for place in np.ndindex(weights.shape):
            velocity[place] = momentum * velocity[place] + rate * ratio * update[place]
            weights[place] -= velocity[place]
    return weights


@pytest.mark.parametrize("start", ["random", "zero weights", "zero gradient"])
def test_lars_against_a_naive_loop(start: str) -> None:
    random = np.random.default_rng(0)
    matrix, bias = random.normal(size=(3, 4)), random.normal(size=3)
    if start == "zero weights":
        matrix[:] = 0
    gradients = [(random.normal(size=(3, 4)), random.normal(size=3)) for _ in range(6)]
    if start == "zero gradient":
        gradients[0] = (np.zeros((3, 4)), np.zeros(3))
    decay = 0.0 if start == "zero gradient" else 0.01
    rates = [0.5, 1.0, 2.0, 1.5, 1.0, 0.2]
    layer = nn.Linear(4, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(matrix)), layer.bias.copy_(torch.tensor(bias))
    lars = LARS(parameter_groups(layer), lr=1.0, weight_decay=decay)
    for rate, (of_matrix, of_bias) in zip(rates, gradients, strict=True):
        for group in lars.param_groups:
            group["lr"] = rate
        layer.weight.grad, layer.bias.grad = torch.tensor(of_matrix), torch.tensor(of_bias)
        lars.step()
    expected = naive_lars(matrix, [g for g, _ in gradients], rates, adapt=True, decay=decay)
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-12)
    expected = naive_lars(bias, [g for _, g in gradients], rates, adapt=False, decay=0.0)
    np.testing.assert_allclose(layer.bias.detach().numpy(), expected, rtol=1e-12)


def test_lars_steps_by_a_share_of_the_norm_whatever_the_gradient() -> None:
    for scale in (1e-6, 1.0, 1e6):
        weights = nn.Parameter(torch.full((4, 4), 2.0))
        weights.grad = torch.full((4, 4), scale)
        before = weights.detach().clone()
        LARS([weights], lr=1.0).step()
        assert ((weights - before).norm() / before.norm()).item() == pytest.approx(0.001, rel=1e-3)


def test_lars_takes_a_closure_and_skips_what_has_no_gradient() -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    lars = LARS([used, unused], lr=1.0)

    def closure() -> torch.Tensor:
        lars.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return loss

    assert lars.step(closure).item() == 4.0  # type: ignore[arg-type,union-attr]
    assert torch.equal(unused, torch.ones(2, 2)) and not torch.equal(used, torch.ones(2, 2))


def test_refusals() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="adamw, sgd, lars"):
        optimiser("adam", parameter_groups(layer), lr=0.1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="nothing to train"):
        optimiser("sgd", parameter_groups(layer.requires_grad_(False)), lr=0.1)
    with pytest.raises(ConfigError, match="momentum is -1"):
        LARS(nn.Linear(2, 2).parameters(), lr=0.1, momentum=-1)


class Deep(nn.Module):
    """An encoder of three stages and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)


def test_layer_decay_slows_each_stage_by_the_same_share() -> None:
    model = Deep()
    scales = {
        name: (group["scale"], group["adapt"])
        for group in parameter_groups(model, layer_decay=0.5)
        for name, _ in group["params"]
    }
    depth = {"encoder.0": 3, "encoder.1": 3, "encoder.2": 2, "encoder.4": 1, "head": 0}  # stages to the head
    for name, _ in model.named_parameters():
        layer, _, kind = name.rpartition(".")
        assert scales[name] == (0.5 ** depth[layer], kind == "weight" and layer != "encoder.1")
    assert len(scales) == len(list(model.parameters()))


def test_without_layer_decay_groups_are_what_they_were() -> None:
    groups = parameter_groups(Deep())
    assert [group["name"] for group in groups] == ["decayed", "plain"]
    assert not any("scale" in group for group in groups)


def test_a_step_of_sgd_is_scaled_by_depth() -> None:
    model = Deep()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    chosen = optimiser("sgd", parameter_groups(model, layer_decay=0.1), lr=1.0, momentum=0.0)
    for group in chosen.param_groups:
        group["lr"] = 0.5 * group["scale"]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    chosen.step()
    moved = {name: (before[name] - p.detach()).mean().item() for name, p in model.named_parameters()}
    assert moved["head.weight"] == pytest.approx(0.5)
    assert moved["encoder.4.weight"] == pytest.approx(0.05)
    assert moved["encoder.0.bias"] == pytest.approx(0.0005, rel=1e-3)


def test_layer_decay_needs_an_encoder() -> None:
    with pytest.raises(ConfigError, match="layer_decay is set, but this method has no encoder"):
        parameter_groups(nn.Linear(2, 2), layer_decay=0.5)


@pytest.mark.parametrize("pixel_by_pixel", [False, True])
def test_adamw_is_its_formula_in_every_layout_and_after_its_state_was_read_again(pixel_by_pixel: bool) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 4, 3, bias=False).double()
    if pixel_by_pixel:
        net = net.to(memory_format=torch.channels_last)
    want = net.weight.detach().clone().numpy()
    first, second = np.zeros_like(want), np.zeros_like(want)
    chosen = optimiser("adamw", parameter_groups(net), lr=0.1, weight_decay=0.2)
    for step in range(1, 6):
        gradient = torch.randn(4, 3, 3, 3, dtype=torch.float64)
        net.weight.grad = torch.empty_like(net.weight).copy_(gradient)
        chosen.step()
        g = gradient.numpy()
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        want = want - 0.1 * 0.2 * want
        want = want - 0.1 * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        assert np.abs(net.weight.detach().numpy() - want).max() < 1e-9
        kept = chosen.state_dict()
        for state in kept["state"].values():
            state.update({name: value.contiguous() for name, value in state.items() if name != "step"})
        chosen = optimiser("adamw", parameter_groups(net), lr=0.1, weight_decay=0.2)
        chosen.load_state_dict(kept)
