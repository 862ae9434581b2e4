"""What encoders are made of: the small net, borrowed nets without their classifier, and the planes these expect."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nearfar.modalities.images.views import NORMALISATION

SMALL_SIDE = 64  # up to this many pixels images are "small": own net by default, and ResNets keep full resolution


class Small(nn.Sequential):
    """Three strided convolutions with batch normalisation and ReLU, then means over the quarters of the picture.

    (B, C, H, W) -> (B, 1024); 0.17 million parameters. Made for 16 to 64 pixels and for training on a CPU. It
    keeps four quarters of 256 numbers because where something is still matters at such sizes: with few labels, a mean
    over the whole picture was measured to be several points worse.
    """

    start: dict[str, Any] | None = None  # as of `Backbone`
    takes: tuple[int, int, int] | None = None

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
        self.to(memory_format=torch.channels_last)  # pixel by pixel: a third less time on a CPU, with the same weights


class Planes(nn.Module):
    """Pictures as a published net expects them: three colour planes, normalised by the constants of its own training.

    Views come normalised by `NORMALISATION`; this undoes that and applies the net's own mean and standard deviation,
    as one product and one sum per plane. A grey picture becomes the three planes of a colourless one. So the net gets
    what its publisher's preprocessing would give it, borders included, and none of its weights are changed.

    >>> Planes(1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))(torch.full((1, 1, 1, 1), 2.0)).flatten()  # white
    tensor([1., 1., 1.])
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, channels: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        ours = [torch.tensor(values, dtype=torch.float64).expand(3) for values in NORMALISATION[channels]]
        theirs = [torch.tensor(values, dtype=torch.float64) for values in (mean, std)]
        scale, shift = ours[1] / theirs[1], (ours[0] - theirs[0]) / theirs[1]
        # Constants of the name, not memory: they stay out of checkpoints and of moving averages.
        self.register_buffer("scale", scale.float().view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, 3, H, W)."""
        return images * self.scale + self.shift

    @property
    def changes_nothing(self) -> bool:
        """Whether colour pictures come out as they went in."""
        return bool((self.scale == 1).all() and (self.shift == 0).all())


class Backbone(nn.Module):
    """A borrowed net without its classifier; `width` is the length of its embedding.

    `start` says which given weights it has: their `sha256`, the `architecture` that is the same net with random ones,
    and `unused` tensors of a file; None for random weights. `takes` is the shape (C, H, W) of the pictures it was made
    for.
    """

    start: dict[str, Any] | None = None
    takes: tuple[int, int, int] | None = None

    def __init__(self, net: nn.Module, width: int, planes: Planes | None = None) -> None:
        super().__init__()
        self.net, self.width = net, width
        self.planes = planes

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width)."""
        embedding: Tensor = self.net(images if self.planes is None else self.planes(images))
        return embedding
