"""Feature maps with gradients, and cells smoothed by those like them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nearfar.errors import ConfigError
from nearfar.modalities.images.encoders import encoder
from nearfar.models import Propagation, cells_of, map_width, with_map


def test_gradients_pass_through_map_and_embedding() -> None:
    torch.manual_seed(0)
    net = encoder("small", 1, 32)
    embedding, found = with_map(net, torch.randn(4, 1, 32, 32))
    assert embedding.shape == (4, 1024) and found.shape == (4, 256, 4, 4)
    for made in (embedding, found):
        net.zero_grad()
        made.square().sum().backward(retain_graph=True)
        assert float(net[0].weight.grad.abs().max()) > 0
    # In training mode it is what the pooling takes in, by the statistics of this very batch.
    torch.testing.assert_close(nn.Sequential(*list(net)[-2:])(found), embedding)
    assert net.training and not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(("name", "size", "width"), [("small", 32, 256), ("timm/resnet18", 64, 512)])
def test_the_width_of_the_map_is_found_by_a_blank_picture(name: str, size: int, width: int) -> None:
    net = encoder(name, 3, size).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert net.takes == (3, size, size) and map_width(net) == width
    assert net.training and all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    embedding, cells = cells_of(net, torch.randn(2, 3, size, size), width)
    assert embedding.shape == (2, net.width) and cells.shape[0] == 2 and cells.shape[3] == width


def test_an_encoder_that_does_not_say_what_it_takes_is_as_wide_as_its_map() -> None:
    net = nn.Sequential(nn.Conv2d(1, 5, 3), nn.Flatten())
    net.width = 5  # type: ignore[assignment]
    assert map_width(net) == 5


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_propagation_in_loops(gamma: float) -> None:
    torch.manual_seed(0)
    smooth = Propagation(4, gamma).double()
    cells = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    flat, want = cells.flatten(1, 2), torch.zeros(2, 6, 4, dtype=torch.float64)
    for b in range(2):
        for i in range(6):
            for j in range(6):
                alike = max(float(torch.cosine_similarity(flat[b, i], flat[b, j], dim=0)), 0.0)
                value = smooth.value(flat[b, j])
                want[b, i] += alike**gamma * value / value.norm()
    torch.testing.assert_close(smooth(cells).flatten(1, 2), want)


def test_a_gamma_below_one_has_no_slope_at_zero_and_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gamma is 0\.5; it must be at least 1"):
        Propagation(4, 0.5)
