"""Image encoders by name, randomly initialised: a small convolutional net, and the nets of torchvision and timm."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError

SMALL_SIDE = 64  # up to this many pixels images are "small": own net by default, and ResNets keep full resolution


class Small(nn.Sequential):
    """Three strided convolutions with batch normalisation and ReLU, then means over the quarters of the picture.

    (B, C, H, W) -> (B, 1024); 0.17 million parameters. Made for 16 to 64 pixels and for training on a CPU. It
    keeps four quarters of 256 numbers because where something is still matters at such sizes: with few labels, a mean
    over the whole picture was measured to be several points worse.
    """

    def __init__(self, channels: int) -> None:
        layers: list[nn.Module] = []
        for before, after, kernel in ((channels, 32, 5), (32, 64, 3), (64, 256, 3)):
            layers += [
                nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(True),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.width = 4 * 256


class Backbone(nn.Module):
    """A borrowed net without its classifier; `width` is the length of its embedding."""

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net, self.width = net, width

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width)."""
        embedding: Tensor = self.net(images)
        return embedding


def default_encoder(size: int) -> str:
    """The name of the encoder for images of `size` pixels: "small" up to 64, a ResNet-18 above.

    >>> default_encoder(32), default_encoder(224)
    ('small', 'torchvision/resnet18')
    """
    return "small" if size <= SMALL_SIDE else "torchvision/resnet18"


def encoder(name: str, channels: int, size: int) -> nn.Module:
    """Build an encoder: images float32 (B, C, size, size) -> embeddings (B, width), with attribute `width`.

    Weights are random and come from torch's global generator (same seed, same weights); none are ever downloaded. The
    classifier is removed and the first convolution takes `channels`. ResNets for images up to 64 pixels begin with a
    3x3 convolution of stride 1 and no pooling, as is usual for CIFAR, because their own beginning divides the
    resolution by four.

    Args:
        name: "small", "torchvision/NAME", "timm/NAME", or the bare name of a torchvision classifier.
        channels: 1 or 3.
        size: side of the images in pixels.

    Raises:
        ConfigError: no such encoder (the message lists names that come close), or it cannot take images of this size.
        ImportError: torchvision or timm is needed and missing.

    >>> net = encoder("small", channels=1, size=28)
    >>> net.width, net(torch.zeros(2, 1, 28, 28)).shape
    (1024, torch.Size([2, 1024]))
    """
    if channels < 1:
        raise ConfigError(f"an encoder needs at least 1 channel, not {channels}")
    if name == "small":
        return Small(channels)
    library, _, model = name.rpartition("/")
    if library not in ("", "torchvision", "timm"):
        raise _unknown(name)
    net = _timm(name, model, size) if library == "timm" else _torchvision(name, model, size)
    if size <= SMALL_SIDE:
        _keep_resolution(net)
    _take_channels(net, channels)
    return Backbone(net, _width(net, name, channels, size))


def _torchvision(name: str, model: str, size: int) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(f"encoder {name!r} needs torchvision: pip install 'nearfar[images]'") from error
    if model not in models.list_models(module=models):
        raise _unknown(name)
    settings: dict[str, Any] = {}
    if model in ("googlenet", "inception_v3"):  # auxiliary classifiers would turn the output into a tuple
        settings = {"aux_logits": False, "init_weights": True}
    elif model.startswith("vit_"):
        settings = {"image_size": size}
    try:
        net: nn.Module = models.get_model(model, weights=None, **settings)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"encoder {name!r} cannot be built for images of {size} pixels: {error}") from error
    heads = [key for key, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise ConfigError(f"encoder {name!r} has no linear classifier to remove; choose another one")
    parent, _, leaf = heads[-1].rpartition(".")
    setattr(net.get_submodule(parent), leaf, nn.Identity())
    return net


def _timm(name: str, model: str, size: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"encoder {name!r} needs timm: pip install 'nearfar[images]'") from error
    if model not in timm.list_models():  # also keeps out names that timm would look up on the network
        raise _unknown(name)
    defaults = timm.get_pretrained_cfg(model, allow_unregistered=True)
    settings: dict[str, Any] = {"img_size": size} if defaults is not None and defaults.fixed_input_size else {}
    try:
        net: nn.Module = timm.create_model(model, pretrained=False, num_classes=0, **settings)
    except (AssertionError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f"encoder {name!r} cannot be built for images of {size} pixels: {error}") from error
    return net


def _keep_resolution(net: nn.Module) -> None:
    """Give a ResNet the beginning for small images; other nets stay as they are."""
    first = getattr(net, "conv1", None)
    if not (isinstance(first, nn.Conv2d) and first.kernel_size == (7, 7) and hasattr(net, "maxpool")):
        return
    net.conv1 = nn.Conv2d(first.in_channels, first.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()


def _take_channels(net: nn.Module, channels: int) -> None:
    """Let the first convolution take `channels`: keep as many of its input planes, or repeat them."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != channels:
                planes = torch.arange(channels) % module.in_channels
                module.weight = nn.Parameter(module.weight.detach()[:, planes].clone())
                module.in_channels = channels
            return


def _width(net: nn.Module, name: str, channels: int, size: int) -> int:
    """Length of the embedding, found by running one blank image through the net."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            embedding = net(torch.zeros(1, channels, size, size))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"encoder {name!r} cannot take images of {size} pixels: {error}") from error
    finally:
        net.train(was_training)
    if not isinstance(embedding, Tensor) or embedding.ndim != 2:
        raise ConfigError(f"encoder {name!r} does not give one vector per image; choose another one")
    return embedding.shape[1]


def _unknown(name: str) -> ConfigError:
    """The error for a name that is not known, with names that come close."""
    known = ["small"]
    try:
        from torchvision import models

        known += models.list_models(module=models)
    except ImportError:
        pass
    try:
        import timm

        known += [f"timm/{model}" for model in timm.list_models()]
    except ImportError:
        pass
    wanted = name.lower().removeprefix("torchvision/")
    near = get_close_matches(wanted, known, n=4, cutoff=0.5)
    hint = f"Close: {', '.join(near)}." if near else "Known: small, torchvision/NAME, timm/NAME."
    return ConfigError(f"no image encoder is called {name!r}. {hint}")
