"""The same recipes through torchvision, image by image: for reproduction, and to compare against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nearfar.modalities.images.recipes import ViewRecipe
from nearfar.modalities.images.transforms import blur_radius


def torchvision_view(
    recipe: ViewRecipe, size: int, channels: int, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Tensor], Tensor]:
    """A torchvision v2 pipeline from uint8 (C, H, W) to normalised float32 (C, size, size).

    It draws from the global generator, as torchvision does.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        from torchvision.transforms import v2
    except ImportError as error:
        raise ImportError("exact views need torchvision: pip install 'nearfar[images]'") from error

    brightness, contrast, saturation, hue = recipe.jitter
    steps: list[Callable[[Tensor], Tensor]] = [
        v2.RandomResizedCrop(size, scale=recipe.crop_scale, ratio=recipe.crop_ratio, antialias=True),
        v2.RandomHorizontalFlip(recipe.flip),
    ]
    if channels == 1:
        saturation = hue = 0.0
    steps.append(v2.RandomApply([v2.ColorJitter(brightness, contrast, saturation, hue)], recipe.jitter_p))
    if channels == 3:
        steps.append(v2.RandomGrayscale(recipe.grey_p))
    radius = blur_radius(size, recipe.blur_kernel)
    if radius:
        steps.append(v2.RandomApply([v2.GaussianBlur(2 * radius + 1, recipe.blur_sigma)], recipe.blur_p))
    steps.append(v2.RandomSolarize(recipe.solarise_threshold * 255, recipe.solarise_p))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
    return v2.Compose(steps)


def exact_views(rows: Tensor, pipeline: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """Run `pipeline` on each image; the global generator is seeded from `generator` and restored afterwards."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.stack([pipeline(row) for row in rows])
