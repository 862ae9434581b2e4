"""Where the pixels of a view come from: crop, resize, mirror and blur, with parameters of its own for every item.

All four are linear, so each axis of an item is one matrix (`resampling`, `blurring`, `resample`): no loop visits the
items of a batch. On a CPU, matrices of large images are mostly zeros that take longer than a loop over the images:
there an axis is a `Band`, the same matrix in blocks without the zeros (`bands`, `resample_one`).

Pixels are float32; shapes: B items, C channels (1 or 3), H x W pixels of the source, h x w of the view.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

BLOCK = 32  # rows in one block of a band
NEGLIGIBLE = 1e-12  # weights of a blur below this are dropped; products with them are denormal numbers, which are slow


def resampling(start: Tensor, length: Tensor, size: int, extent: int, mirror: Tensor | None = None) -> Tensor:
    """One axis of crop + antialiased bilinear resize (+ mirror) as a matrix per item.

    Row i weighs source pixel j by a triangle around the centre c_i of output pixel i,
    ``W_ij ∝ max(0, max(1, length / size) - |j + 1/2 - c_i|)`` for j inside the crop, rows sum to 1. The triangle is
    as wide as an output pixel when shrinking (antialias) and two source pixels wide when enlarging (plain bilinear with
    clamped edges); both are what ``torchvision.transforms.v2.functional.resized_crop`` computes with its defaults.

    Args:
        start: (B,) first source pixel of the crop.
        length: (B,) number of source pixels in the crop, at least 1.
        size: number of output pixels.
        extent: number of source pixels along the axis.
        mirror: (B,) bool, which items to flip; None flips none.

    Returns:
        (B, size, extent) float32.
    """
    step = torch.arange(size, device=start.device, dtype=torch.float32)
    if mirror is not None:
        step = torch.where(mirror[:, None], size - 1 - step, step)
    start, length = start[:, None].float(), length[:, None].float()
    scale = length / size
    centre = start + (step + 0.5) * scale
    pixel = torch.arange(extent, device=start.device, dtype=torch.float32) + 0.5
    pixel = torch.where((pixel > start) & (pixel < start + length), pixel, 2.0**24)  # outside: too far to weigh
    return _triangles(pixel, centre, scale.clamp(min=1)[:, :, None])


def _triangles(pixel: Tensor, centre: Tensor, reach: Tensor | float) -> Tensor:
    """(B, size, extent): weights of pixels (B, extent) around centres (B, size), rows sum to 1."""
    weights = (pixel[:, None, :] - centre[:, :, None]).abs_()
    weights = torch.rsub(weights, reach).clamp_(min=0)
    return weights.div_(weights.sum(2, keepdim=True))


def blur_radius(size: int, kernel: float) -> int:
    """Half width in pixels of a blur whose kernel spans the fraction `kernel` of the side (SimCLR: 0.1, 224 -> 11)."""
    return min(int(size * kernel) // 2, size - 1)


def blurring(sigma: Tensor, size: int, radius: int) -> Tensor:
    """One axis of a Gaussian blur with reflected borders as a matrix per item.

    ``K_ij ∝ exp(-(i - j)² / 2σ²)`` for |i - j| <= radius, rows sum to 1; equal to torchvision's ``gaussian_blur`` with
    ``kernel_size = 2·radius + 1``.

    Args:
        sigma: (B,) standard deviation in pixels, above 0.
        size: pixels along the axis, more than `radius`.
        radius: half width of the kernel.

    Returns:
        (B, size, size) float32.
    """
    return (_blur_kernel(sigma, radius) @ _reflected_taps(size, radius, sigma.device)).view(-1, size, size)


def _blur_kernel(sigma: Tensor, radius: int) -> Tensor:
    """(B, 2·radius + 1), rows sum to 1."""
    distance = torch.arange(-radius, radius + 1, device=sigma.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (distance / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    return torch.where(kernel < NEGLIGIBLE, 0, kernel)


@lru_cache(maxsize=32)
def _reflected_taps(size: int, radius: int, device: torch.device) -> Tensor:
    """(2·radius + 1, size·size): entry [d, i·size + j] is 1 where pixel i + d - radius, reflected, is pixel j."""
    offset = torch.arange(-radius, radius + 1, device=device)
    return one_hot(_reflect(torch.arange(size, device=device) + offset[:, None], size), size).float().flatten(1)


def _reflect(position: Tensor, size: int) -> Tensor:
    """Positions up to `size` - 1 beyond the first or last pixel, reflected without repeating the edge."""
    return (size - 1) - ((size - 1) - position.abs()).abs()


def resample(images: Tensor, rows: Tensor, columns: Tensor, out: Tensor) -> Tensor:
    """Apply a matrix per item to each axis, ``rows @ image @ columnsᵀ``, and put the channels one after another.

    images (B, C, H, W) of any type, rows (B, h, H), columns (B, w, W) -> `out` (C, B, h, w).
    """
    b, c, height, width = images.shape
    narrow = torch.bmm(images.float().view(b, c * height, width), columns.transpose(1, 2)).view(b, c, height, -1)
    for channel in range(c):
        torch.bmm(rows, narrow[:, channel], out=out[channel])
    return out


class Band(NamedTuple):
    """One axis of crop, resize, mirror and blur of one image: its matrix in blocks of `BLOCK` rows, without zeros."""

    weights: list[Tensor]
    """(BLOCK, L) for each block, of which the last may have fewer rows."""
    starts: list[int]
    """The source pixel at which the L columns of each block begin."""


def bands(
    start: Tensor, length: Tensor, size: int, mirror: Tensor | None, sigma: Tensor | None, radius: int
) -> list[Band]:
    """What `resampling` and `blurring` make, as a band for each of B images.

    Args:
        start, length: (B,) the crops in whole source pixels.
        size: number of output pixels.
        mirror: (B,) bool, which to flip; None flips none.
        sigma: (B,) standard deviations of the blur in output pixels, 0 for none; None blurs none.
        radius: half width of the blur, less than `size`.
    """
    if sigma is None or not radius or not bool((sigma > 0).any()):
        return _bands(start, length, size, mirror, None, 0)
    found: dict[int, Band] = {}
    for chosen, reach in ((sigma > 0, radius), (sigma <= 0, 0)):
        where = chosen.nonzero().squeeze(1)
        if len(where):
            flipped, spread = mirror if mirror is None else mirror[where], sigma[where] if reach else None
            made = _bands(start[where], length[where], size, flipped, spread, reach)
            found.update(zip(where.tolist(), made, strict=True))
    return [found[i] for i in range(len(start))]


def _bands(
    start: Tensor, length: Tensor, size: int, mirror: Tensor | None, sigma: Tensor | None, radius: int
) -> list[Band]:
    start, length = start.float(), length.float()
    scale = length / size
    reach = scale.clamp(min=1)
    steps = _block_steps(size, radius)
    blocks = len(steps)
    steps = (
        steps.expand(len(start), -1, -1)
        if mirror is None
        else torch.where(mirror[:, None, None], size - 1 - steps, steps)
    )
    centre = start[:, None, None] + (steps + 0.5) * scale[:, None, None]
    extent = torch.minimum(length, ((BLOCK + 2 * radius - 1) * scale + 2 * reach).floor() + 2)
    first = (centre.amin(2) - reach[:, None]).floor_()
    first = torch.minimum(torch.maximum(first, start[:, None]), (start + length - extent)[:, None])
    column = torch.arange(0.5, float(extent.max()))
    column = torch.where(column < extent[:, None], column, 2.0**24)  # beyond: too far to weigh
    pixel = (first[:, :, None] + column[:, None, :]).flatten(0, 1)
    weights = _triangles(pixel, centre.flatten(0, 1), reach.repeat_interleave(blocks)[:, None, None])
    weights = weights.unflatten(0, (-1, blocks))
    if sigma is not None:
        # The blur of a block: the same for all of an image, row i holds the kernel from column i on. In memory these
        # are rows that begin with the kernel and are longer by one.
        blur = torch.zeros(len(sigma), BLOCK, BLOCK + 2 * radius + 1)
        blur[:, :, : 2 * radius + 1] = _blur_kernel(sigma, radius)[:, None]
        weights = torch.matmul(blur.flatten(1)[:, :-BLOCK].unflatten(1, (BLOCK, -1))[:, None], weights)
    starts, extents = first.int().tolist(), extent.int().tolist()
    made = [Band(list(w[:, :, :e].unbind(0)), f) for w, f, e in zip(weights, starts, extents, strict=True)]
    for band in made if size % BLOCK else ():
        band.weights[-1] = band.weights[-1][: size % BLOCK]
    return made


@lru_cache(maxsize=32)
def _block_steps(size: int, radius: int) -> Tensor:
    """(blocks, BLOCK + 2·radius): the output pixels that the rows of a block see before the blur."""
    blocks = -(-size // BLOCK)
    position = torch.arange(-radius, blocks * BLOCK + radius).clamp_(max=size - 1 + radius)
    return _reflect(position, size).unfold(0, BLOCK + 2 * radius, BLOCK).float()


def resample_one(image: Tensor, rows: Band, columns: Band, out: Tensor) -> Tensor:
    """`resample` of one image by bands: (C, H, W) of any type -> `out` (C, h, w)."""
    c, height, width = out.shape
    top, left = min(rows.starts), min(columns.starts)
    bottom, right = max(rows.starts) + rows.weights[0].shape[1], max(columns.starts) + columns.weights[0].shape[1]
    # Channels side by side in each row: few large products instead of one for each channel.
    part = image[:, top:bottom, left:right].transpose(0, 1).float().reshape(-1, right - left)
    narrow = part.new_empty(len(part), width)
    for weights, first, target in zip(columns.weights, columns.starts, narrow.split(BLOCK, 1), strict=True):
        torch.mm(part.narrow(1, first - left, weights.shape[1]), weights.t(), out=target)
    narrow, whole = narrow.view(bottom - top, c * width), part.new_empty(height, c * width)
    for weights, first, target in zip(rows.weights, rows.starts, whole.split(BLOCK), strict=True):
        torch.mm(weights, narrow.narrow(0, first - top, weights.shape[1]), out=target)
    return out.copy_(whole.view(height, c, width).transpose(0, 1))
