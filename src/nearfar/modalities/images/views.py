"""Random views of images, made for a whole batch at once with parameters drawn for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearfar.data.batch import Role
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images import colours, transforms
from nearfar.modalities.images.colours import ColourMaps
from nearfar.modalities.images.exact import exact_views, torchvision_view
from nearfar.modalities.images.parallel import side_by_side
from nearfar.modalities.images.recipes import RECIPES, ViewRecipe, choose, resolve
from nearfar.modalities.images.transforms import Band

__all__ = ["RECIPES", "ImageViews", "ViewRecipe", "choose"]

# ImageNet constants for colour; for grey a plain centring that maps black to -2 and white to 2.
NORMALISATION = {1: ((0.5,), (0.25,)), 3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}

# Images go through in chunks whose intermediates take about this much: on a CPU they should stay in cache.
CHUNK_BYTES = {"cpu": 2**23, "large": 3 * 2**23}
CHUNK_BYTES_DEVICE = 2**28

LARGE = 64  # from this many pixels on a side, a CPU cuts images one by one
BANDS_AT_ONCE = 4  # chunks of large images whose bands are made together

NUMBERS_PER_VIEW = 18  # uniform draws for one view of one item, whether a recipe uses them or not


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
        recipe: a name ("auto", "simclr", "simclr-small", "mocov2", "byol", "digits"), a `ViewRecipe`, or one
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

    def _chunk(self, rows: Tensor, size: int) -> int:
        """How many images to work on at once."""
        _, c, height, width = rows.shape
        numbers = c * height * (width + size) + 4 * c * size * size + 4 * size * (height + width)
        limit = CHUNK_BYTES.get("large" if _in_bands(rows) else rows.device.type, CHUNK_BYTES_DEVICE)
        return max(1, limit // (4 * numbers))

    def _exact_pipeline(self, recipe: ViewRecipe) -> Any:
        return torchvision_view(recipe, recipe.size or self.size, self.channels, self.mean, self.std)

    def _draw(self, recipe: ViewRecipe, u: Sequence[Tensor], rows: Tensor) -> Draws:
        """Turn uniform numbers, `NUMBERS_PER_VIEW` tensors (B,), into the parameters of one view."""
        top, left, height, width = crop_boxes(u[0], u[1], u[2], u[3], recipe, rows.shape[2], rows.shape[3])
        sigma = turns = order = threshold = None
        if recipe.blur_p > 0 and transforms.blur_radius(recipe.size or self.size, recipe.blur_kernel) > 0:
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
        chunk, size = self._chunk(rows, out.shape[-1]), out.shape[-1]
        threads = torch.get_num_threads() if rows.device.type == "cpu" else 1
        in_bands = _in_bands(rows)

        def work(piece: slice) -> None:
            mine, pixels, target = draw.part(piece.start, piece.stop), rows[piece], out[piece]
            axes = self._bands(mine, recipe, size) if in_bands else None
            for start in range(0, len(pixels), chunk):
                stop = start + chunk
                some = None if axes is None else axes[start:stop]
                self._view(pixels[start:stop], mine.part(start, stop), recipe, target[start:stop], some)

        piece = chunk * (BANDS_AT_ONCE if in_bands else 1)
        # In inference mode: nothing of it is kept but `out`, and each of the many small operations costs less.
        side_by_side(work, [slice(i, i + piece) for i in range(0, len(rows), piece)], threads)

    def _view(
        self, rows: Tensor, draw: Draws, recipe: ViewRecipe, out: Tensor, axes: list[tuple[Band, Band]] | None
    ) -> None:
        """Make one view of a chunk of images in `out`."""
        b, c = rows.shape[:2]
        size = out.shape[-1]
        before, share, after = draw.colours
        spare = 0 if before is None else 1  # the hue rotation gives one plane more than it takes
        planes = rows.new_empty(spare + c + 1, b, size, size, dtype=torch.float32)
        planes[-1] = 1
        if axes is None:
            self._cut(rows, draw, recipe, planes[spare:-1])
        else:
            for i, (vertical, horizontal) in enumerate(axes):
                transforms.resample_one(rows[i], vertical, horizontal, planes[spare:-1, i])
        planes, pixels = planes.flatten(2), out.flatten(2)
        black, white = (0.0,) * c, (1.0,) * c
        if before is not None and share is not None:
            colours.apply_colour(planes[1:], before, black, white, out=pixels)
            colours.rotate_hue(pixels, share, planes)
        if draw.threshold is None:
            colours.apply_colour(planes, after, self.mean, self.std, out=pixels)
        else:
            colours.apply_colour(planes, after, black, white, out=pixels)
            pixels.copy_(colours.solarise(pixels, draw.threshold))
            for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
                pixels[:, channel].sub_(mean).div_(std)

    def _bands(self, draw: Draws, recipe: ViewRecipe, size: int) -> list[tuple[Band, Band]]:
        """Both axes of crop, resize, mirror and blur of some images."""
        radius = transforms.blur_radius(size, recipe.blur_kernel)
        vertical = transforms.bands(draw.top, draw.height, size, None, draw.sigma, radius)
        horizontal = transforms.bands(draw.left, draw.width, size, draw.mirror, draw.sigma, radius)
        return list(zip(vertical, horizontal, strict=True))

    def _cut(self, rows: Tensor, draw: Draws, recipe: ViewRecipe, out: Tensor) -> None:
        """Crop, resize, mirror and blur a chunk of images into `out` (C, B, size, size)."""
        size = out.shape[-1]
        radius = transforms.blur_radius(size, recipe.blur_kernel)
        top, left, height, width = draw.top, draw.left, draw.height, draw.width
        if rows.device.type == "cpu":  # leave out what no crop touches; a GPU would wait for these numbers
            first, last = int(top.min()), int((top + height).max())
            start, end = int(left.min()), int((left + width).max())
            rows = rows[:, :, first:last, start:end]
            top, left = top - first, left - start
        down = transforms.resampling(top, height, size, rows.shape[2])
        across = transforms.resampling(left, width, size, rows.shape[3], draw.mirror)
        if draw.sigma is not None:
            chosen = draw.sigma > 0
            kernel = transforms.blurring(draw.sigma[chosen], size, radius)
            down[chosen] = torch.bmm(kernel, down[chosen])
            across[chosen] = torch.bmm(kernel, across[chosen])
        transforms.resample(rows, down, across, out)


def _in_bands(rows: Tensor) -> bool:
    return rows.device.type == "cpu" and max(rows.shape[2:]) >= LARGE


def _empty(count: int, channels: int, size: int, device: torch.device) -> Tensor:
    """Room for images. On a CPU numpy asks for it in large pages, which are there in a fraction of the time."""
    shape = count, channels, size, size
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, np.float32))
    return torch.empty(shape, device=device)


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
