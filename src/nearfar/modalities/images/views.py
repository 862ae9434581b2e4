"""Random views of images, made for a whole batch at once with parameters drawn for each item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar.data.batch import Role
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images import colours
from nearfar.modalities.images.draws import Draws, crop_boxes
from nearfar.modalities.images.exact import exact_views, torchvision_view
from nearfar.modalities.images.parallel import side_by_side
from nearfar.modalities.images.recipes import RECIPES, ViewRecipe, choose, resolve
from nearfar.modalities.images.tensors import by_tensors
from nearfar.modalities.images.transforms import blur_radius

__all__ = ["RECIPES", "ImageViews", "ViewRecipe", "choose"]

# ImageNet constants for colour; for grey a plain centring that maps black to -2 and white to 2.
NORMALISATION = {1: ((0.5,), (0.25,)), 3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}

Road = Callable[
    [Tensor, Draws, int, Sequence[float], Sequence[float], Tensor], tuple[Callable[[slice], None], int]
]  # see `by_tensors`

NUMBERS_PER_VIEW = 18  # uniform draws for one view of one item, whether a recipe uses them or not


class ImageViews:
    """Make random views of a batch of images: a pure function of (batch, generator).

    Crop, resize, flip and blur are one pair of matrices per item; colour jitter and greyscale one or two more around an
    exact HSV hue rotation. Each operation equals its torchvision v2 counterpart at equal parameters. As a pipeline it
    differs from torchvision in four ways, none of which `exact=True` has: pixels stay float instead of being rounded
    to uint8 between operations; colours are clamped before and after the hue rotation, not after every jitter (on two
    photographs the median difference of a jittered image was 0, the mean 0.003 with jitter (.4, .4, .4, .1) and 0.010
    with (.8, .8, .8, .2), of a range of 1); the blur acts before the colours, not after; and the crop area is uniform
    in `crop_scale`, because the ratio is drawn among those that fit, where torchvision rejects large crops that do not
    fit and so favours small ones.

    Args:
        size: side of the views in pixels.
        channels: 1 (grey: of the colour jitters only brightness and contrast act) or 3.
        count: how many views; None means two, or as many as recipes are listed.
        recipe: a name ("auto", "simclr", "simclr-small", "mocov2", "byol", "adainf", "digits"), a `ViewRecipe`, or one
            `ViewRecipe` per view, each with a `size` and a `role` of its own if wanted (see `multi_crop`). See `choose`
            for "auto".
        exact: use torchvision image by image, with parameters seeded from the generator; slow, for reproduction.
        strength: scales the recipe; 0 leaves only the resize. See `ViewRecipe.at`.

    Raises:
        ConfigError: an unknown recipe, or impossible numbers.

    >>> views = ImageViews(size=32, channels=3)
    >>> rows = torch.randint(256, (4, 3, 40, 50), dtype=torch.uint8)
    >>> first, second = views(rows, torch.Generator().manual_seed(0))
    >>> first.shape, first.dtype
    (torch.Size([4, 3, 32, 32]), torch.float32)
    """

    mixable = True  # two views of different items may be mixed, number by number

    def __init__(
        self,
        size: int,
        channels: int,
        count: int | None = None,
        recipe: str | ViewRecipe | Sequence[ViewRecipe] = "auto",
        exact: bool = False,
        strength: float = 1.0,
    ) -> None:
        if channels not in NORMALISATION:
            raise ConfigError(f"views are made of images with 1 or 3 channels, not {channels}")
        if size < 1:
            raise ConfigError(f"size must be at least 1 pixel, not {size}")
        listed = resolve(recipe, size, channels)
        if count is None:
            count = max(2, len(listed))
        if count < 1 or (not isinstance(recipe, str) and count < len(listed)):
            raise ConfigError(f"count is {count} but {len(listed)} view recipes are listed")
        self.size, self.channels, self.count, self.exact, self.strength = size, channels, count, exact, strength
        self.recipes = [listed[min(i, len(listed) - 1)] for i in range(count)]
        self.mean, self.std = NORMALISATION[channels]
        self._active = [r.at(strength) for r in self.recipes]

    @property
    def roles(self) -> list[Role]:
        """What every view is for: "whole" or "small"."""
        return [r.role for r in self.recipes]

    def __call__(self, rows: Tensor, generator: torch.Generator, part: slice = slice(None)) -> list[Tensor]:
        """Views of a batch.

        Args:
            rows: uint8 (B, C, H, W), on any device.
            generator: where all random numbers come from; it may live on another device than `rows`.
            part: of which rows views are wanted; each gets what it would get among all.

        Returns:
            `count` tensors float32 (B, C, size, size), normalised.

        Raises:
            DataError: `rows` has another type or shape.
        """
        if self.exact:  # torchvision draws image by image, so that those before the part are made too
            self._check(rows)
            made = [exact_views(rows, self._exact_pipeline(r), generator)[part] for r in self._active]
            return [view.to(rows.device) for view in made]
        return self.with_draws(rows, generator, part)[0]

    def with_draws(
        self, rows: Tensor, generator: torch.Generator, part: slice = slice(None)
    ) -> tuple[list[Tensor], list[Draws]]:
        """The same views with what was drawn for each, in pixels of `rows`, for losses that match places of two views.

        Of an item whose `mirror` is drawn the crop is flipped left and right after it was cut.

        Raises:
            ConfigError: with `exact`, where torchvision draws and does not say what.
        """
        self._check(rows)
        if self.exact:
            raise ConfigError("exact views do not say where they were cut; leave out exact")
        numbers = torch.rand(len(rows), self.count, NUMBERS_PER_VIEW, generator=generator, device=generator.device)
        numbers, rows = numbers[part].to(rows.device), rows[part]
        draws = [self._draw(r, numbers[:, v].unbind(1), rows) for v, r in enumerate(self._active)]
        outs = [_empty(len(rows), self.channels, s, rows.device) for s in self._sizes()]
        for draw, recipe, out in zip(draws, self._active, outs, strict=True):
            self._make(rows, draw, recipe, out)
        return outs, draws

    def with_boxes(
        self, rows: Tensor, generator: torch.Generator, part: slice = slice(None)
    ) -> tuple[list[Tensor], list[Tensor] | None]:
        """The same views with the boxes of each, (B, 4) as in `Batch`; None with `exact`, which does not say them."""
        if self.exact:
            return self(rows, generator, part), None
        made, draws = self.with_draws(rows, generator, part)
        return made, [draw.boxes for draw in draws]

    def plain(self, rows: Tensor) -> Tensor:
        """Images without randomness, as embedding uses them: resized (antialiased) to a square, and normalised.

        rows uint8 (B, C, H, W) -> float32 (B, C, size, size). Images that are not square are squeezed, not cropped.
        """
        self._check(rows)
        b, _, height, width = rows.shape
        out = _empty(b, self.channels, self.size, rows.device)
        one, zero = torch.ones(b, device=rows.device), torch.zeros(b, device=rows.device)
        maps = colours.colour_maps(one, one, one, zero.bool(), None, None, self.channels)
        draw = Draws(zero, zero, one * height, one * width, zero.bool(), None, None, maps.scaled(1 / 255))
        self._make(rows, draw, ViewRecipe(), out)
        return out

    def config(self) -> dict[str, Any]:
        """All settings, ready for JSON; `ImageViews.from_config` makes the same views again."""
        return {
            "size": self.size,
            "channels": self.channels,
            "count": self.count,
            "recipe": [r.to_json() for r in self.recipes],
            "exact": self.exact,
            "strength": self.strength,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ImageViews:
        """Views from the result of `config`."""
        settings = {k: v for k, v in config.items() if k not in ("mean", "std")}
        views = cls(**{**settings, "recipe": [ViewRecipe(**r) for r in config["recipe"]]})
        views.mean, views.std = tuple(config["mean"]), tuple(config["std"])
        return views

    def _sizes(self) -> list[int]:
        return [r.size or self.size for r in self.recipes]

    def _check(self, rows: Tensor) -> None:
        if rows.dtype != torch.uint8 or rows.ndim != 4 or rows.shape[1] != self.channels or 0 in rows.shape[2:]:
            raise DataError(
                f"views need uint8 images of shape (B, {self.channels}, H, W), "
                f"not {str(rows.dtype).removeprefix('torch.')} of shape {tuple(rows.shape)}"
            )

    def _exact_pipeline(self, recipe: ViewRecipe) -> Any:
        return torchvision_view(recipe, recipe.size or self.size, self.channels, self.mean, self.std)

    def _draw(self, recipe: ViewRecipe, u: Sequence[Tensor], rows: Tensor) -> Draws:
        """Turn uniform numbers, `NUMBERS_PER_VIEW` tensors (B,), into the parameters of one view."""
        top, left, height, width = crop_boxes(u[0], u[1], u[2], u[3], recipe, rows.shape[2], rows.shape[3])
        sigma = turns = order = threshold = None
        if recipe.blur_p > 0 and blur_radius(recipe.size or self.size, recipe.blur_kernel) > 0:
            low, high = recipe.blur_sigma
            sigma = (low + (high - low) * u[6]) * (u[5] < recipe.blur_p)
        jittered = u[7] < recipe.jitter_p
        factors = []
        for value, number in zip(recipe.jitter[:3], u[8:11], strict=True):
            low = max(0.0, 1 - value)
            factors.append(torch.where(jittered, low + (1 + value - low) * number, 1.0))
        if self.channels == 3 and recipe.jitter[3] > 0 and recipe.jitter_p > 0:
            turns = recipe.jitter[3] * (2 * u[11] - 1) * jittered
            order = torch.stack(list(u[12:16]), 1).argsort(1)
        brightness, contrast, saturation = factors
        grey = u[16] < recipe.grey_p
        maps = colours.colour_maps(brightness, contrast, saturation, grey, turns, order, self.channels)
        if recipe.solarise_p > 0:
            threshold = torch.where(u[17] < recipe.solarise_p, recipe.solarise_threshold, 2.0)
        return Draws(top, left, height, width, u[4] < recipe.flip, sigma, threshold, maps.scaled(1 / 255))

    def _make(self, rows: Tensor, draw: Draws, recipe: ViewRecipe, out: Tensor) -> None:
        """Make one view of a batch in `out`, piece by piece."""
        radius = blur_radius(out.shape[-1], recipe.blur_kernel)
        work, length = _road(rows.device.type)(rows, draw, radius, self.mean, self.std, out)
        pieces = [slice(i, min(i + length, len(rows))) for i in range(0, len(rows), length)]
        # In inference mode: nothing of it is kept but `out`, and each of the many small operations costs less.
        side_by_side(work, pieces, torch.get_num_threads() if rows.device.type == "cpu" else 1)


@lru_cache
def _road(device: str) -> Road:
    """How views are made: by compiled code on a CPU where numba is installed, else by tensors."""
    if device == "cpu":
        try:
            from nearfar.modalities.images.kernels import by_kernels

            return by_kernels
        except ImportError:
            pass
    return by_tensors


def _empty(count: int, channels: int, size: int, device: torch.device) -> Tensor:
    """Room for images. On a CPU numpy asks for it in large pages, which are there in a fraction of the time."""
    shape = count, channels, size, size
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, np.float32))
    return torch.empty(shape, device=device)
