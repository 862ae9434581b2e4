"""What is drawn for a view: the parameters of one view for every item of a batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nearfar.modalities.images.colours import ColourMaps
from nearfar.modalities.images.recipes import ViewRecipe


class Draws(NamedTuple):
    """Parameters of one view for B items; None where the recipe never uses them."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    mirror: Tensor
    sigma: Tensor | None  # standard deviation of the blur, 0 = no blur
    threshold: Tensor | None  # solarise from here on, 2 = never
    colours: ColourMaps  # of pixels from 0 to 255

    @property
    def boxes(self) -> Tensor:
        """(B, 4) top, left, bottom, right of the crops, in pixels; of a mirrored one left is the larger."""
        right = self.left + self.width
        left, right = torch.where(self.mirror, right, self.left), torch.where(self.mirror, self.left, right)
        return torch.stack([self.top, left, self.top + self.height, right], 1).float()

    def part(self, start: int, stop: int) -> Draws:
        """The parameters of items start to stop."""
        numbers = {name: getattr(self, name) for name in self._fields if name != "colours"}
        cut: dict[str, Any] = {name: None if field is None else field[start:stop] for name, field in numbers.items()}
        return Draws(**cut, colours=self.colours.part(start, stop))


def crop_boxes(
    area: Tensor, ratio: Tensor, top: Tensor, left: Tensor, recipe: ViewRecipe, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random crops in whole pixels from four uniform numbers per item.

    The area is uniform in `crop_scale`. Of the ratios in `crop_ratio` only those are drawn with which that area fits in
    the image (log-uniform); if none fits, the nearest one is taken.

    Returns:
        top, left, height and width, each (B,) float32.
    """
    low, high = recipe.crop_scale
    share = low + (high - low) * area
    widest, narrowest = (width / height) / share, (width / height) * share
    first = torch.full_like(share, recipe.crop_ratio[0]).clamp_(narrowest, widest).log_()
    last = torch.full_like(share, recipe.crop_ratio[1]).clamp_(narrowest, widest).log_()
    shape = (first + (last - first) * ratio).exp_()
    pixels = share * (height * width)
    crop_width = (pixels * shape).sqrt_().round_().clamp_(1, width)
    crop_height = (pixels / shape).sqrt_().round_().clamp_(1, height)
    crop_top = (top * (height - crop_height + 1)).floor_().minimum(height - crop_height)
    crop_left = (left * (width - crop_width + 1)).floor_().minimum(width - crop_width)
    return crop_top, crop_left, crop_height, crop_width
