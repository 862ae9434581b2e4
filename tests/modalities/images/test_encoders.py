"""Encoders by name: shape, width, initialisation and errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from nearfar.errors import ConfigError
from nearfar.modalities.images.encoders import default_encoder, encoder

CASES = [
    ("small", 28, 1024),
    ("small", 64, 1024),
    ("resnet18", 8, 512),
    ("torchvision/resnet18", 65, 512),
    ("mobilenet_v3_small", 32, 1024),
    ("timm/resnet10t", 32, 512),
    ("timm/vit_tiny_patch16_224", 16, 192),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are small: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "size", "width"), CASES)
def test_shape_width_and_gradient(name: str, size: int, width: int, channels: int) -> None:
    torch.manual_seed(0)
    net = encoder(name, channels, size)
    assert net.width == width and net.training
    images = torch.randn(3, channels, size, size, requires_grad=True)
    embedding = net(images)
    assert embedding.shape == (3, width) and embedding.dtype == torch.float32
    (embedding * torch.randn(3, width)).sum().backward()
    assert images.grad is not None and images.grad.abs().max() > 0
    assert all(p.grad is not None for p in net.parameters())  # nothing of the classifier is left


@pytest.mark.parametrize("name", ["small", "resnet18", "timm/resnet10t"])
def test_same_seed_same_weights_and_eval_is_deterministic(name: str) -> None:
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(encoder(name, 3, 16).eval())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        a, again, b, c = nets[0](images), nets[0](images), nets[1](images), nets[2](images)
        alone = nets[0](images[:1])
    assert torch.equal(a, again) and torch.equal(a, b) and not torch.equal(a, c)
    torch.testing.assert_close(alone, a[:1], atol=1e-5, rtol=1e-4)  # eval mode does not mix images


def test_small_is_small() -> None:
    parameters = sum(p.numel() for p in encoder("small", 3, 32).parameters())
    assert 100_000 < parameters < 1_500_000


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18"])
def test_resnets_keep_the_resolution_of_small_images(name: str) -> None:
    def first_strides(size: int) -> tuple[tuple[int, ...], type]:
        net = encoder(name, 1, size).net
        assert isinstance(net, nn.Module) and isinstance(net.conv1, nn.Conv2d)
        assert net.conv1.in_channels == 1 == net.conv1.weight.shape[1]
        return net.conv1.stride, type(net.maxpool)

    assert first_strides(64) == ((1, 1), nn.Identity)
    assert first_strides(65) == ((2, 2), nn.MaxPool2d)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "resnet18"),
        ("torchvision/resnet19", "resnet18"),
        ("smal", "small"),
        ("timm/resnet18x", "timm/resnet18"),
        ("timm/hf-hub:someone/something", "no image encoder"),
        ("else/resnet18", "Known: small|Close"),
        ("squeezenet1_0", "no linear classifier"),
    ],
)
def test_unknown_names_list_what_is_close(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoder(name, 3, 32)


def test_sizes_that_a_net_cannot_take_are_named() -> None:
    with pytest.raises(ConfigError, match="images of 30 pixels"):
        encoder("vit_b_32", 3, 30)


def test_default_depends_on_size() -> None:
    assert [default_encoder(s) for s in (28, 64, 65, 224)] == ["small"] * 2 + ["torchvision/resnet18"] * 2
