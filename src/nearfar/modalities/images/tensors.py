"""Views of a batch by tensors, many images at once, on any device: the reference, and the road without numba."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nearfar.modalities.images import colours, transforms
from nearfar.modalities.images.draws import Draws
from nearfar.modalities.images.transforms import Band

# Images go through in chunks whose intermediates take about this much: on a CPU they should stay in cache.
CHUNK_BYTES = {"cpu": 2**23, "large": 3 * 2**23}
CHUNK_BYTES_DEVICE = 2**28

LARGE = 64  # from this many pixels on a side, a CPU cuts images one by one
BANDS_AT_ONCE = 4  # chunks of large images whose bands are made together


def by_tensors(
    rows: Tensor, draws: Draws, radius: int, mean: Sequence[float], std: Sequence[float], out: Tensor
) -> tuple[Callable[[slice], None], int]:
    """What makes one view of a piece of a batch, and how many images a piece should have.

    Args:
        rows: uint8 (B, C, H, W), on any device.
        draws: the parameters of the view.
        radius: half width of the blur in pixels of the view.
        mean, std: C numbers each, of the normalisation.
        out: float32 (B, C, size, size), where the views go.
    """
    size, in_bands = out.shape[-1], _in_bands(rows)
    chunk = _chunk(rows, size)

    def work(piece: slice) -> None:
        mine, pixels, target = draws.part(piece.start, piece.stop), rows[piece], out[piece]
        axes = _bands(mine, size, radius) if in_bands else None
        for start in range(0, len(pixels), chunk):
            stop = start + chunk
            some = None if axes is None else axes[start:stop]
            _view(pixels[start:stop], mine.part(start, stop), radius, mean, std, target[start:stop], some)

    return work, chunk * (BANDS_AT_ONCE if in_bands else 1)


def _in_bands(rows: Tensor) -> bool:
    return rows.device.type == "cpu" and max(rows.shape[2:]) >= LARGE


def _chunk(rows: Tensor, size: int) -> int:
    """How many images to work on at once."""
    _, c, height, width = rows.shape
    numbers = c * height * (width + size) + 4 * c * size * size + 4 * size * (height + width)
    limit = CHUNK_BYTES.get("large" if _in_bands(rows) else rows.device.type, CHUNK_BYTES_DEVICE)
    return max(1, limit // (4 * numbers))


def _view(
    rows: Tensor,
    draws: Draws,
    radius: int,
    mean: Sequence[float],
    std: Sequence[float],
    out: Tensor,
    axes: list[tuple[Band, Band]] | None,
) -> None:
    """Make one view of a chunk of images in `out`."""
    b, c = rows.shape[:2]
    size = out.shape[-1]
    before, share, after = draws.colours
    spare = 0 if before is None else 1  # the hue rotation gives one plane more than it takes
    planes = rows.new_empty(spare + c + 1, b, size, size, dtype=torch.float32)
    planes[-1] = 1
    if axes is None:
        _cut(rows, draws, radius, planes[spare:-1])
    else:
        for i, (vertical, horizontal) in enumerate(axes):
            transforms.resample_one(rows[i], vertical, horizontal, planes[spare:-1, i])
    planes, pixels = planes.flatten(2), out.flatten(2)
    black, white = (0.0,) * c, (1.0,) * c
    if before is not None and share is not None:
        colours.apply_colour(planes[1:], before, black, white, out=pixels)
        colours.rotate_hue(pixels, share, planes)
    if draws.threshold is None:
        colours.apply_colour(planes, after, mean, std, out=pixels)
    else:
        colours.apply_colour(planes, after, black, white, out=pixels)
        pixels.copy_(colours.solarise(pixels, draws.threshold))
        for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
            pixels[:, channel].sub_(m).div_(s)


def _bands(draws: Draws, size: int, radius: int) -> list[tuple[Band, Band]]:
    """Both axes of crop, resize, mirror and blur of some images."""
    vertical = transforms.bands(draws.top, draws.height, size, None, draws.sigma, radius)
    horizontal = transforms.bands(draws.left, draws.width, size, draws.mirror, draws.sigma, radius)
    return list(zip(vertical, horizontal, strict=True))


def _cut(rows: Tensor, draws: Draws, radius: int, out: Tensor) -> None:
    """Crop, resize, mirror and blur a chunk of images into `out` (C, B, size, size)."""
    size = out.shape[-1]
    top, left, height, width = draws.top, draws.left, draws.height, draws.width
    if rows.device.type == "cpu":  # leave out what no crop touches; a GPU would wait for these numbers
        first, last = int(top.min()), int((top + height).max())
        start, end = int(left.min()), int((left + width).max())
        rows = rows[:, :, first:last, start:end]
        top, left = top - first, left - start
    down = transforms.resampling(top, height, size, rows.shape[2])
    across = transforms.resampling(left, width, size, rows.shape[3], draws.mirror)
    if draws.sigma is not None:
        chosen = draws.sigma > 0
        kernel = transforms.blurring(draws.sigma[chosen], size, radius)
        down[chosen] = torch.bmm(kernel, down[chosen])
        across[chosen] = torch.bmm(kernel, across[chosen])
    transforms.resample(rows, down, across, out)
