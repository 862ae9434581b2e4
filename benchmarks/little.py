"""Clothes as 8 x 8 pixels and a net for them, for benchmarks whose runs are to take seconds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.data import bundled
from nearfar.modalities.images.recipes import RECIPES
from nearfar.modalities.images.views import ImageViews


class Net(nn.Sequential):
    """Two hidden layers of 256 over 64 pixels."""

    width = 256

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(),
                         nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU())  # fmt: skip


def small(images: np.ndarray) -> Tensor:
    """Clothes (N, 28, 28) as (N, 1, 8, 8): means over 3 x 3 pixels, without a margin of 2."""
    rows = images[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4))
    return torch.as_tensor(rows.round().astype(np.uint8))[:, None]


def clothes() -> tuple[Tensor, np.ndarray, Tensor, np.ndarray]:
    """Pictures and classes of the bundled clothes to train on, and to test on."""
    data = np.load(bundled.path("fashion"))
    return small(data["images"]), data["labels"], small(data["test_images"]), data["test_labels"]


def pictures() -> ImageViews:
    """Two views of such pictures by the recipe `digits` at strength 0.6."""
    return ImageViews(size=8, channels=1, recipe=RECIPES["digits"][0].at(0.6))
