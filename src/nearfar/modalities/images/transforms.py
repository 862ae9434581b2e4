"""Image transforms on whole batches: every item of a batch has its own parameters, and no loop visits the items.

Two linear maps carry nearly all of the work. Crop, antialiased resize, flip and blur are linear in space, so they
become one pair of banded matrices per item (`resampling`, `blurring`). Brightness, contrast, saturation and greyscale
are linear in colour, so they become one small matrix per item (`colour_maps`). Only hue and solarise are not linear.

Pixels are float32 in [0, 1]; shapes: B items, C channels (1 or 3), H x W pixels, P = H·W.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# ITU-R 601 as torchvision rounds it.
LUMA = (0.2989, 0.587, 0.114)


def resampling(start: Tensor, length: Tensor, size: int, extent: int, mirror: Tensor | None = None) -> Tensor:
    """One axis of crop + antialiased bilinear resize (+ mirror) as a matrix per item.

    Row i weighs source pixel j by a triangle around the centre c_i of output pixel i,
    ``W_ij ∝ max(0, 1 - |j + 1/2 - c_i| / max(1, length / size))`` for j inside the crop, rows sum to 1. The triangle is
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
    inside = (torch.minimum(pixel - start, start + length - pixel) + 0.5).clamp_(0, 1)
    reach = scale.clamp(min=1)[:, :, None]
    weights = (pixel - centre[:, :, None]).abs_().div_(-reach).add_(1).clamp_(min=0)
    weights.mul_(inside[:, None, :])
    return weights.div_(weights.sum(2, keepdim=True))


def blur_radius(size: int, kernel: float) -> int:
    """Half width in pixels of a blur whose kernel spans the fraction `kernel` of the side (SimCLR: 0.1, 224 -> 11)."""
    return min(int(size * kernel) // 2, size - 1)


@lru_cache(maxsize=32)
def _reflected_taps(size: int, radius: int, device: torch.device) -> Tensor:
    """(radius + 1, size·size): entry [d, i·size + j] counts how often row i meets pixel j at distance d, reflections
    included."""
    taps = torch.zeros(radius + 1, size, size)
    row = torch.arange(size)
    for offset in range(-radius, radius + 1):
        column = row + offset
        column = (size - 1) - ((size - 1) - column.abs()).abs()  # reflect without repeating the edge
        taps[abs(offset)].index_put_((row, column), torch.ones(size), accumulate=True)
    return taps.view(radius + 1, size * size).to(device)


def blurring(sigma: Tensor, size: int, radius: int) -> Tensor:
    """One axis of a Gaussian blur with reflected borders as a banded matrix per item.

    ``K_ij ∝ exp(-(i - j)² / 2σ²)`` for |i - j| <= radius, rows sum to 1; equal to torchvision's ``gaussian_blur`` with
    ``kernel_size = 2·radius + 1``.

    Args:
        sigma: (B,) standard deviation in pixels, above 0.
        size: pixels along the axis, more than `radius`.
        radius: half width of the kernel.

    Returns:
        (B, size, size) float32.
    """
    distance = torch.arange(radius + 1, device=sigma.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (distance / sigma[:, None]) ** 2)
    kernel = kernel / (2 * kernel.sum(1, keepdim=True) - kernel[:, :1])
    return (kernel @ _reflected_taps(size, radius, sigma.device)).view(-1, size, size)


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply a matrix per item to each axis: ``rows @ image @ columnsᵀ``.

    images (B, C, H, W), rows (B, h, H), columns (B, w, W) -> (B, C, h, w).
    """
    b, c, height, width = images.shape
    narrow = torch.bmm(images.reshape(b, c * height, width), columns.transpose(1, 2))
    return torch.matmul(rows[:, None], narrow.view(b, c, height, -1))


def colour_maps(
    brightness: Tensor, contrast: Tensor, saturation: Tensor, grey: Tensor, order: Tensor | None, channels: int
) -> tuple[Tensor, Tensor]:
    """Colour jitter and greyscale as matrices: all that comes before the hue rotation, and all that comes after it.

    Each of these operations maps a pixel x, given the mean pixel x̄ of its image, to ``A x + B x̄`` (only contrast has
    B ≠ 0), and the mean to ``(A + B) x̄``. On the stacked vector (x, x̄) that is a block matrix, and a sequence of
    operations is a product of such blocks. Unlike torchvision, values are clamped to [0, 1] once per map
    (`apply_colour`), not after each operation.

    Args:
        brightness, contrast, saturation: (B,) factors, 1 leaves the image alone; saturation is ignored for C = 1.
        grey: (B,) bool, which items turn grey at the end.
        order: (B, 4) permutation of 0..3 = brightness, contrast, saturation, hue; None when there is no hue rotation
            to split at, and then the order is as listed and the first map is the identity.
        channels: C.

    Returns:
        Two maps ``[A | B]``, each (B, C, 2C).
    """
    b, device = len(brightness), brightness.device
    eye = torch.eye(channels, device=device)
    luma = torch.tensor(LUMA if channels == 3 else (1.0,), device=device).expand(channels, channels)
    f_b, f_c, f_s = (f[:, None, None] for f in (brightness, contrast, saturation))
    zero = torch.zeros(b, channels, channels, device=device)
    pieces = [
        _block(f_b * eye, zero),
        _block(f_c * eye, (1 - f_c) * luma),
        _block(f_s * eye + (1 - f_s) * luma, zero),
    ]
    unit = torch.eye(2 * channels, device=device).expand(b, -1, -1)
    before = after = unit
    if order is None:
        for piece in pieces:
            after = piece @ after
    else:
        steps = torch.stack([*pieces, unit], 1)
        steps = steps[torch.arange(b, device=device)[:, None], order]
        late = (order == 3).cumsum(1).bool()[:, :, None, None]
        early_steps, late_steps = torch.where(late, unit[:, None], steps), torch.where(late, steps, unit[:, None])
        for k in range(4):
            before, after = early_steps[:, k] @ before, late_steps[:, k] @ after
    turn_grey = _block(luma.expand_as(zero), zero)
    after = torch.where(grey[:, None, None], turn_grey @ after, after)
    return before[:, :channels], after[:, :channels]


def _block(a: Tensor, b: Tensor) -> Tensor:
    """``[[A, B], [0, A + B]]``: what ``x -> A x + B x̄`` does to a pixel and to the mean pixel."""
    return torch.cat([torch.cat([a, b], 2), torch.cat([torch.zeros_like(a), a + b], 2)], 1)


def apply_colour(pixels: Tensor, colour: Tensor) -> Tensor:
    """``clamp(A x + B x̄, 0, 1)`` with a map ``[A | B]`` (B, C, 2C) per item; pixels (B, C, P) -> (B, C, P)."""
    c = pixels.shape[1]
    offset = torch.bmm(colour[:, :, c:], pixels.mean(2, keepdim=True))
    return torch.baddbmm(offset, colour[:, :, :c], pixels).clamp_(0, 1)


def rotate_hue_(pixels: Tensor, turns: Tensor) -> Tensor:
    """Rotate the HSV hue of each item in place, keeping value and saturation; exact, and free of branches.

    With V, m the largest and smallest channel and S = V - m, the hue in sextants is ``±(1 + (g + b - r - m) / S)`` with
    the sign of g - b, and a hue h gives back ``r = m + S·clamp(|h - 3| - 1, 0, 1)``,
    ``g = V - S·clamp(|h - 2| - 1, 0, 1)``, ``b = V - S·clamp(|h - 4| - 1, 0, 1)``. Arithmetic replaces torchvision's
    table look-ups because on a CPU selecting between tensors costs many times more than adding them.

    Args:
        pixels: (B, 3, P) in [0, 1], overwritten.
        turns: (B,) fraction of a full turn, -0.5 to 0.5.

    Returns:
        `pixels`.
    """
    r, g, b = pixels.unbind(1)
    top = torch.maximum(r, g)
    torch.maximum(top, b, out=top)
    low = torch.minimum(r, g)
    torch.minimum(low, b, out=low)
    spread = top - low
    hue = torch.add(g, b).sub_(r).sub_(low).div_(spread.clamp(min=1e-12)).add_(1)
    hue = torch.copysign(hue, g - b)
    hue.div_(6).add_(turns[:, None] + 2).frac_().mul_(6)  # +2 turns keep it positive, where frac is the modulus
    ramp = torch.sub(hue, 3).abs_().clamp_(1, 2)
    torch.addcmul(low.sub_(spread), spread, ramp, out=r)
    top.add_(spread)
    torch.sub(hue, 2, out=ramp).abs_().clamp_(1, 2)
    torch.addcmul(top, spread, ramp, value=-1, out=g)
    torch.sub(hue, 4, out=ramp).abs_().clamp_(1, 2)
    torch.addcmul(top, spread, ramp, value=-1, out=b)
    return pixels.clamp_(0, 1)


def solarise(pixels: Tensor, threshold: Tensor) -> Tensor:
    """``x -> 1 - x`` at or above the threshold of the item; pixels (B, C, P), threshold (B,), above 1 = never."""
    return torch.where(pixels >= threshold[:, None, None], 1 - pixels, pixels)
