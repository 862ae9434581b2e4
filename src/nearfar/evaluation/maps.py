"""Maps of encoders for the dense probe: the last activation that still has height and width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.models.maps import with_map


def feature_map(encoder: nn.Module, inputs: Tensor) -> Tensor:
    """(B, C, h, w) the map of an encoder as of `nearfar.models.with_map`, in evaluation mode, without gradients.

    Raises ConfigError: the encoder makes none, as one of tables.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> feature_map(net, torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 8, 8, 8])
    """
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            return with_map(encoder, inputs)[1]
    finally:
        encoder.train(was_training)


def pixel_map(rows: Tensor) -> Tensor:
    """(B, C + 2, H, W) the baseline without any encoder: each pixel's values and where it is, from -1 to 1.

    >>> pixel_map(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))[0, 3:].tolist()
    [[[-1.0, -1.0], [1.0, 1.0]], [[-1.0, 1.0], [-1.0, 1.0]]]
    """
    b, _, h, w = rows.shape
    down, across = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return torch.cat([rows.float().cpu() / 255, torch.stack([down, across]).expand(b, -1, -1, -1)], dim=1)
