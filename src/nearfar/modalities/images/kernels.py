"""Views of pictures on a CPU, compiled by numba: what `transforms` and `colours` say, one picture at a time in cache.

All steps but hue are weighted sums of rows (`_weigh`), of which a processor works on many numbers at once; to resize
across, a picture is laid on its side. A view depends on nothing but its picture and what was drawn for it: it is the
same to the bit in a batch of any size and in any number of threads.

Imported when views are made, not before: numba takes a while. Compiled code is kept beside this file, or in the cache
of the user where that folder cannot be written to; where neither can, each process compiles anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, exp, floor, log, sqrt
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nearfar.modalities.images.draws import Draws

# Said here anew, as in `transforms`: what was compiled is kept until this file changes, and no other.
NEGLIGIBLE = 1e-12  # weights of a blur below this are dropped
LINES = 96  # rows, of all channels, that are laid on their side at once: they should stay in cache
PIECES = 4  # of a batch, for each thread
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nnan", "nsz"}}
INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # only compiled code calls these

Axis = tuple[np.ndarray, np.ndarray, np.ndarray]


def _part(function: Callable[..., Any]) -> Any:
    return njit(**OPTIONS, **INNER)(function)


def _kept(function: Callable[..., Any]) -> Any:
    try:
        return njit(**OPTIONS, cache=True)(function)
    except RuntimeError:  # there is no folder to keep it in
        return njit(**OPTIONS)(function)


@_part
def _weigh(rows: np.ndarray, first: int, weights: np.ndarray, count: int, out: np.ndarray) -> None:
    """``out = Σ_k weights[k] · rows[first + k]`` of `count` rows.

    They are taken two by two: where `count` is odd there is one more of weight 0.
    """
    n = len(out)
    for k in range(0, count, 2):
        one, two, v, w = rows[first + k], rows[first + k + 1], weights[k], weights[k + 1]
        if k == 0:
            for i in range(n):
                out[i] = v * one[i] + w * two[i]
        else:
            for i in range(n):
                out[i] += v * one[i] + w * two[i]


@_part
def _axis(length: int, size: int, mirror: bool, sigma: float, radius: int) -> Axis:
    """An axis of crop, resize, mirror and blur: row i sums `counts[i]` pixels of the crop from `starts[i]` on."""
    scale = length / size
    reach = max(scale, 1.0)
    starts, counts = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.zeros((size, 2 * int(reach) + 4), np.float32)
    for i in range(size):
        centre, total = (i + 0.5) * scale, 0.0
        first = max(0, ceil(centre - reach - 0.5))
        count = min(length, floor(centre + reach + 0.5)) - first
        row = size - 1 - i if mirror else i
        for k in range(count):
            total += max(0.0, reach - abs(first + k + 0.5 - centre))
        for k in range(count):
            weights[row, k] = max(0.0, reach - abs(first + k + 0.5 - centre)) / total
        starts[row], counts[row] = first, count
    if sigma <= 0 or radius == 0:
        return starts, counts, weights
    return _blurred(starts, counts, weights, scale, sigma, radius)


@_part
def _blurred(
    starts: np.ndarray, counts: np.ndarray, weights: np.ndarray, scale: float, sigma: float, radius: int
) -> Axis:
    """An axis followed by a blur whose borders are reflected."""
    size, used = weights.shape
    reach, total = min(radius, int(sigma * sqrt(-2 * log(NEGLIGIBLE)))), 0.0
    kernel = np.empty(2 * reach + 1, np.float32)
    for d in range(2 * reach + 1):
        total += exp(-0.5 * ((d - reach) / sigma) ** 2)
    for d in range(2 * reach + 1):
        kernel[d] = exp(-0.5 * ((d - reach) / sigma) ** 2) / total
    firsts, lengths = np.empty(size, np.int64), np.empty(size, np.int64)
    sums = np.zeros((size, 2 * (int(reach * scale) + used)), np.float32)
    for i in range(size):
        first, end = starts[i], 0
        for d in range(2 * reach + 1):
            j = size - 1 - abs(size - 1 - abs(i + d - reach))
            first, end = min(first, starts[j]), max(end, starts[j] + counts[j])
        for d in range(2 * reach + 1):
            j = size - 1 - abs(size - 1 - abs(i + d - reach))
            source, target, share = weights[j], sums[i][starts[j] - first :], kernel[d]
            for k in range(used):
                target[k] += share * source[k]
        firsts[i], lengths[i] = first, end - first
    return firsts, lengths, sums


@_part
def _across(
    picture: np.ndarray,
    box: tuple[int, int, int, int],
    starts: np.ndarray,
    counts: np.ndarray,
    weights: np.ndarray,
    lines: np.ndarray,
) -> None:
    """Resize a crop across: lines[y, c * size + x]."""
    top, left, height, width = box
    channels, size = len(picture), len(starts)
    strip = LINES // channels
    side = np.zeros((width + 1, LINES), np.float32)
    narrow = np.empty((size, LINES), np.float32)
    for first in range(0, height, strip):
        count = min(strip, height - first)
        for c in range(channels):
            for x in range(width):
                target = side[x][c * strip :]
                for y in range(count):
                    target[y] = picture[c, top + first + y, left + x]
        for x in range(size):
            _weigh(side, starts[x], weights[x], counts[x], narrow[x])
        for y in range(count):
            for c in range(channels):
                target = lines[first + y][c * size :]
                for x in range(size):
                    target[x] = narrow[x, c * strip + y]


@_part
def _colour(planes: np.ndarray, colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a map ``[A | B]`` gives to each channel: the rows of A, with a zero to spare, and ``B x̄``."""
    size, values = planes.shape[1], colour.shape[1] // 2
    weights = np.zeros((len(colour), values + 1), np.float32)
    offsets = np.zeros(len(colour), np.float32)
    sums = np.empty(size, np.float32)
    for k in range(values):
        sums[:] = 0
        for y in range(size):
            row = planes[y * values + k]
            for x in range(size):
                sums[x] += row[x]
        mean = 0.0
        for x in range(size):
            mean += sums[x] / (size * size)
        for c in range(len(colour)):
            weights[c, k] = colour[c, k]
            offsets[c] += colour[c, values + k] * mean
    return weights, offsets


@_part
def _rotate_hue(planes: np.ndarray, before: np.ndarray, share: float, hues: np.ndarray) -> None:
    """The map before the hue rotation and the rotation, of planes[y * 3 + c]: hues[y * 4 + k]."""
    size, zero, one = planes.shape[1], np.float32(0), np.float32(1)
    weights, offsets = _colour(planes, before)
    more_red, more_green, more_blue = offsets[0], offsets[1], offsets[2]
    pixels = np.empty((3, size), np.float32)
    red, green, blue = pixels[0], pixels[1], pixels[2]
    for y in range(size):
        for c in range(3):
            _weigh(planes, 3 * y, weights[c], 4, pixels[c])
        both, first, second, third = hues[4 * y], hues[4 * y + 1], hues[4 * y + 2], hues[4 * y + 3]
        for x in range(size):
            r = min(max(red[x] + more_red, zero), one)
            g = min(max(green[x] + more_green, zero), one)
            b = min(max(blue[x] + more_blue, zero), one)
            low, top = min(min(r, g), b), max(max(r, g), b)
            lower, upper = low + share * (top - low), top - share * (top - low)
            both[x] = low + top
            first[x] = min(max(r + min(max(g, lower), upper) - g, low), top)
            second[x] = min(max(g + min(max(b, lower), upper) - b, low), top)
            third[x] = min(max(b + min(max(r, lower), upper) - r, low), top)


@_part
def _finish(
    planes: np.ndarray, colour: np.ndarray, threshold: float, mean: np.ndarray, std: np.ndarray, out: np.ndarray
) -> None:
    """The last map, of planes[y * K + k], then solarise and normalisation."""
    size, values, zero, one = planes.shape[1], colour.shape[1] // 2, np.float32(0), np.float32(1)
    weights, offsets = _colour(planes, colour)
    for c in range(len(out)):
        offset, centre, scale = offsets[c], mean[c], one / std[c]
        for y in range(size):
            row = out[c, y]
            _weigh(planes, values * y, weights[c], values, row)
            for x in range(size):
                value = min(max(row[x] + offset, zero), one)
                value = one - value if value >= threshold else value
                row[x] = (value - centre) * scale


@_kept
def _views(
    pictures: np.ndarray,
    boxes: np.ndarray,
    mirror: np.ndarray,
    sigma: np.ndarray,
    before: np.ndarray,
    share: np.ndarray,
    after: np.ndarray,
    threshold: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    radius: int,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """One view of each of the pictures `start` to `stop`, with arrays in the order of `by_kernels`."""
    channels, extent, size = pictures.shape[1], pictures.shape[2], out.shape[3]
    lines = np.zeros((extent + 1, channels * size), np.float32)
    planes = np.zeros((size * channels + 1, size), np.float32)
    hues = np.zeros((size * (channels + 1) if len(before) else 0, size), np.float32)
    for b in range(start, stop):
        box = boxes[b, 0], boxes[b, 1], boxes[b, 2], boxes[b, 3]
        starts, counts, weights = _axis(box[3], size, mirror[b], sigma[b], radius)
        _across(pictures[b], box, starts, counts, weights, lines)
        starts, counts, weights = _axis(box[2], size, False, sigma[b], radius)
        flat = planes.reshape(planes.size)
        for y in range(size):
            target = flat[y * channels * size : (y + 1) * channels * size]
            _weigh(lines, starts[y], weights[y], counts[y], target)
        if len(before):
            _rotate_hue(planes, before[b], share[b], hues)
            _finish(hues, after[b], threshold[b], mean, std, out[b])
        else:
            _finish(planes, after[b], threshold[b], mean, std, out[b])


def by_kernels(
    rows: Tensor, draws: Draws, radius: int, mean: Sequence[float], std: Sequence[float], out: Tensor
) -> tuple[Callable[[slice], None], int]:
    """The same as `by_tensors`, on a CPU."""
    b, none = len(rows), torch.zeros(0)
    before, share, after = draws.colours
    numbers = [
        rows,
        torch.stack([draws.top, draws.left, draws.height, draws.width], 1).long(),
        draws.mirror,
        torch.zeros(b) if draws.sigma is None else draws.sigma,
        none[:, None, None] if before is None else before,
        none if share is None else share,
        after,
        torch.full((b,), 2.0) if draws.threshold is None else draws.threshold,
        torch.tensor(mean),
        torch.tensor(std),
    ]
    arrays, target = [number.contiguous().numpy() for number in numbers], out.numpy()

    def work(piece: slice) -> None:
        _views(*arrays, radius, piece.start, piece.stop, target)

    return work, max(1, -(-b // (PIECES * torch.get_num_threads())))
