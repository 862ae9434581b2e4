"""The colours of a view: jitter, hue, greyscale, solarise and normalisation, with parameters of its own for every item.

Brightness, contrast, saturation and greyscale are linear, so what comes before the hue rotation is one small matrix per
item, and so is what comes after it, normalisation included (`colour_maps`, `apply_colour`). Only hue and solarise are
not linear.

Pixels are float32 in [0, 1]; shapes: B items, C channels (1 or 3), P pixels. What is mapped stands in planes: a stack
(K + 1, B, P) of K values per pixel, one after another, and a last plane of ones that lets one product mix and shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

# ITU-R 601 as torchvision rounds it.
LUMA = (0.2989, 0.587, 0.114)


class ColourMaps(NamedTuple):
    """Colour jitter and greyscale of B items.

    A map ``[A | B]`` (B, C, 2K) takes K values of a pixel, x, and their means over the image, x̄, to ``A x + B x̄``.
    """

    before: Tensor | None
    """All that comes before the hue rotation, of the C channels; None when nothing is rotated."""
    share: Tensor | None
    """(B,) how far `rotate_hue` is to go, 0 to 1/2."""
    after: Tensor
    """All that comes after it, of the four values `rotate_hue` gives; of the C channels when nothing is rotated."""

    def part(self, start: int, stop: int) -> ColourMaps:
        """The maps of items start to stop."""
        return ColourMaps._make(None if field is None else field[start:stop] for field in self)

    def scaled(self, scale: float) -> ColourMaps:
        """The same for pixels that are to be multiplied by `scale` first."""
        if self.before is None:
            return self._replace(after=self.after * scale)
        return self._replace(before=self.before * scale)


class _Mix(NamedTuple):
    """``x -> own x + luma L x + mean L x̄``, where L gives every channel the luma: all that these operations can do."""

    own: Tensor
    luma: Tensor
    mean: Tensor

    def then(self, factor: Tensor, contrast: Tensor | bool, saturation: Tensor | bool, total: float) -> _Mix:
        """Followed by ``y -> factor y``, to which contrast adds ``(1 - factor) L ȳ`` and saturation
        ``(1 - factor) L y``; `total` is the sum of the luma weights, ``L L = total L``."""
        rest, bright = 1 - factor, self.own + total * self.luma
        return _Mix(
            factor * self.own,
            factor * self.luma + rest * saturation * bright,
            factor * self.mean + rest * (contrast * (bright + total * self.mean) + saturation * total * self.mean),
        )

    def where(self, condition: Tensor, other: _Mix) -> _Mix:
        """`other` where the condition holds."""
        return _Mix._make(torch.where(condition, b, a) for a, b in zip(self, other, strict=True))

    def of(self, basis: Tensor, luma: Tensor) -> Tensor:
        """As a map of values of which `basis` (B or 1, C, K) makes the channels."""
        own, weight, mean = (number[:, None, None] for number in self)
        luma = (luma @ basis)[:, None, :]
        return torch.cat([own * basis + weight * luma, (mean * luma).expand(-1, basis.shape[1], -1)], 2)


def colour_maps(
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    grey: Tensor,
    turns: Tensor | None,
    order: Tensor | None,
    channels: int,
) -> ColourMaps:
    """Colour jitter and greyscale as maps around `rotate_hue`.

    Unlike torchvision, values are clamped to [0, 1] once per map (`apply_colour`), not after each operation.

    Args:
        brightness, contrast, saturation: (B,) factors, 1 leaves the image alone; saturation is ignored for C = 1.
        grey: (B,) bool, which items turn grey at the end.
        turns: (B,) hue rotation as a fraction of the full circle, -1/2 to 1/2; None rotates nothing. C = 3.
        order: (B, 4) permutation of 0..3 = brightness, contrast, saturation, hue; as listed where `turns` is None.
        channels: C.
    """
    b, device = len(brightness), brightness.device
    luma = torch.tensor(LUMA if channels == 3 else (1.0,), device=device)
    total = sum(LUMA) if channels == 3 else 1.0
    one, zero, eye = brightness.new_ones(b), brightness.new_zeros(b), torch.eye(channels, device=device)[None]
    nothing = _Mix(one, zero, zero)
    if turns is None or order is None:
        mix = nothing.then(brightness, False, False, total).then(contrast, True, False, total)
        mix = mix.then(saturation, False, True, total).then(1 - grey.float(), False, True, total)
        return ColourMaps(None, None, mix.of(eye, luma))
    factors = torch.stack([brightness, contrast, saturation, one], 1).gather(1, order)
    early = mix = nothing
    for factor, operation in zip(factors.unbind(1), order.unbind(1), strict=True):
        mix = mix.then(factor, operation == 1, operation == 2, total)
        hue = operation == 3  # what was gathered so far comes before it; begin anew
        early, mix = mix.where(~hue, early), mix.where(hue, nothing)
    mix = mix.then(1 - grey.float(), False, True, total)
    sextants = (6 * turns).round()
    rest = 6 * turns - sextants
    backwards = (rest < 0)[:, None, None]  # turned forwards in the mirror image, in which green and blue are exchanged
    before = early.of(eye, luma)
    before = torch.where(backwards, before[:, [0, 2, 1]], before)
    return ColourMaps(before, rest.abs(), mix.of(_turned(sextants.long(), backwards), luma))


def _turned(sextants: Tensor, backwards: Tensor) -> Tensor:
    """(B, 3, 4): the channels after whole sextants, of what `rotate_hue` gives.

    Two sextants exchange the channels in a circle. Three take every channel c to ``V + m - c``.
    """
    odd = sextants % 2
    source = (torch.arange(3, device=sextants.device) - ((sextants - 3 * odd) // 2)[:, None]) % 3
    channel = one_hot(source, 3)
    channel = torch.where(backwards, channel[:, :, [0, 2, 1]], channel)
    odd = odd[:, None, None]
    return torch.cat([odd.expand(-1, 3, 1), channel * (1 - 2 * odd)], 2).float()


def apply_colour(planes: Tensor, colour: Tensor, mean: Sequence[float], std: Sequence[float], out: Tensor) -> Tensor:
    """``(clamp(A x + B x̄, 0, 1) - mean) / std`` with a map ``[A | B]`` (B, C, 2K) per item.

    planes (K + 1, B, P) -> `out` (B, C, P); mean and std: C numbers.
    """
    values = len(planes) - 1
    offset = torch.bmm(colour[:, :, values:], planes[:-1].mean(2).t()[:, :, None])
    scale = colour.new_tensor(std)[:, None].reciprocal()
    affine = torch.cat([colour[:, :, :values], offset - colour.new_tensor(mean)[:, None]], 2) * scale
    torch.bmm(affine, planes.transpose(0, 1), out=out)
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        out[:, channel].clamp_(-m / s, (1 - m) / s)
    return out


def rotate_hue(pixels: Tensor, share: Tensor, planes: Tensor) -> Tensor:
    """Rotate the HSV hue of each item by up to half a sextant, keeping value and saturation.

    With V and m the largest and smallest channel of a pixel, a channel c follows the next one, c⁺ (green that of red):
    ``clamp(c + clamp(c⁺, l, u) - c⁺, m, V)`` with ``l = m + share (V - m)`` and ``u = V - share (V - m)``. While c⁺
    rises from m to V, c stays at V until c⁺ has passed u, and then falls by as much; likewise on the way down. Whole
    sextants and the direction are in the maps before and after (`colour_maps`).

    Args:
        pixels: (B, 3, P).
        share: (B,) fraction of a sextant, 0 to 1/2.
        planes: (5, B, P), gets V + m and the three channels in the first four.

    Returns:
        `planes`.
    """
    red, green, blue = pixels.unbind(1)
    low, top = torch.minimum(red, green), torch.maximum(red, green)
    torch.minimum(low, blue, out=low)
    torch.maximum(top, blue, out=top)
    torch.add(low, top, out=planes[0])
    share = share[:, None]
    lower, upper = torch.lerp(low, top, share), torch.lerp(top, low, share)
    excess = torch.clamp(pixels, lower[:, None], upper[:, None]).sub_(pixels)
    for channel in range(3):
        plane = planes[1 + channel]
        torch.add(pixels[:, channel], excess[:, (channel + 1) % 3], out=plane)
        torch.clamp(plane, low, top, out=plane)
    return planes


def solarise(pixels: Tensor, threshold: Tensor) -> Tensor:
    """``x -> 1 - x`` at or above the threshold of the item; pixels (B, C, P), threshold (B,), above 1 = never."""
    return torch.where(pixels >= threshold[:, None, None], 1 - pixels, pixels)
