"""From an encoder's name to a module that turns pictures into vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError
from nearfar.models.digest import digest

from . import weights
from .hub import hub_net
from .libraries import Borrowed, timm_net, torchvision_net, unknown
from .names import HUB, Named, parse
from .nets import SMALL_SIDE, Backbone, Planes, Small


def default_encoder(size: int) -> str:
    """The name of the encoder for images of `size` pixels: "small" up to 64, a ResNet-18 above.

    >>> default_encoder(32), default_encoder(224)
    ('small', 'torchvision/resnet18')
    """
    return "small" if size <= SMALL_SIDE else "torchvision/resnet18"


def encoder(name: str, channels: int, size: int) -> nn.Module:
    """Build an encoder: images float32 (B, C, size, size) -> embeddings (B, width), with attribute `width`.

    Random weights come from torch's global generator (same seed, same weights). The classifier is removed and the
    first convolution takes `channels`. ResNets for images up to 64 pixels begin with a 3x3 convolution of stride 1 and
    no pooling, as is usual for CIFAR, because their own beginning divides the resolution by four.

    Nets with given weights stay as published instead: own beginning, three planes (a grey picture is repeated),
    normalised as by their publisher. Then `start` of the module says which weights these are (SHA-256) and what of a
    file was not used. Only `NAME:pretrained` and `hf/...` ever reach for the network.

    Args:
        name: "small", "torchvision/NAME", "timm/NAME", the bare name of a torchvision classifier, or
            "hf/ORG/MODEL" (also a local folder); for all but "hf/..." random unless followed by ":pretrained" or by
            "@FILE.safetensors". ":empty" is the net as published with random weights.
        channels: 1 or 3.
        size: side of the images in pixels.

    Raises:
        ConfigError: no such encoder (the message lists names that come close), it cannot take images of this size, its
            weights cannot be fetched, or a file does not fit it.
        ImportError: torchvision, timm or transformers is needed and missing.

    >>> net = encoder("small", channels=1, size=28)
    >>> net.width, net(torch.zeros(2, 1, 28, 28)).shape
    (1024, torch.Size([2, 1024]))
    """
    if channels < 1:
        raise ConfigError(f"an encoder needs at least 1 channel, not {channels}")
    made = _made(name, parse(name), channels, size)
    made.takes = (channels, size, size)
    return made


def _made(name: str, named: Named, channels: int, size: int) -> Small | Backbone:
    if named.net == "small":
        return _small(name, named, channels)
    borrowed = _borrow(name, named, size)
    if not named.published:
        if size <= SMALL_SIDE:
            _keep_resolution(borrowed.net)
        _take_channels(borrowed.net, channels)
        return Backbone(borrowed.net, _width(borrowed.net, name, channels, size))
    if channels not in (1, 3):
        raise ConfigError(f"encoder {name!r} takes pictures of 1 or 3 channels, not {channels}")
    planes = Planes(channels, borrowed.mean, borrowed.std)
    made = Backbone(borrowed.net, 0, None if channels == 3 and planes.changes_nothing else planes)
    start = None
    if named.file is not None:
        start = weights.load(made.net, named.file, name, borrowed.classifier)
    elif named.pretrained:
        start = {"sha256": digest(made.net.state_dict())}
    made.width = _width(made, name, channels, size)
    made.start = start and {**start, "architecture": named.blank}
    return made


def _small(name: str, named: Named, channels: int) -> Small:
    made = Small(channels)
    if named.published:
        raise ConfigError(f"encoder {name!r}: there are no published weights of `small`; start from a run or a file")
    if named.file is not None:
        made.start = {**weights.load(made, named.file, name, ()), "architecture": named.blank}
    return made


def _borrow(name: str, named: Named, size: int) -> Borrowed:
    library, _, model = named.net.rpartition("/")
    if named.net.startswith(HUB):
        return hub_net(name, named.net.removeprefix(HUB), named.pretrained)
    if library == "timm":
        return timm_net(name, model, size, named.published, named.pretrained)
    if library in ("", "torchvision"):
        return torchvision_net(name, model, size, named.pretrained)
    raise unknown(name)


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
