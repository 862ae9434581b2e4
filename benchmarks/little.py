"""Clothes as 8 x 8 pixels and a net for them, for benchmarks whose runs are to take seconds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.data import bundled
from nearfar.data.batch import Batch
from nearfar.methods import Method
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


def train(method: Method, images: Tensor, views: ImageViews, steps: int, seed: int) -> None:
    """Some steps of 128 pictures by AdamW at 1e-3 with a cosine; the method is then as it is used."""
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = torch.Generator().manual_seed(seed)
    for step in range(steps):
        ids = torch.randperm(len(images), generator=drawn)[:128]
        made = views(images[ids], drawn)
        optimiser.zero_grad()
        method.contrast([method.project(view) for view in made], Batch(made, ids)).loss.backward()
        optimiser.step()
        rate.step()
        method.after_step(step, steps)
    method.eval()
