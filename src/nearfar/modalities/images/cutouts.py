"""Cut-outs, pictures with transparency, as scenes: pasted on photographs, with the mask of what is opaque."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nearfar.errors import DataError
from nearfar.modalities.archives import printable
from nearfar.modalities.images.decode import Unreadable, _open, _reason, _upright, pillow, read_image, to_square
from nearfar.modalities.images.files import list_folder

if TYPE_CHECKING:
    from PIL import Image

OPAQUE = 127.5  # alpha above this is foreground
PASTED = (0.4, 0.9)  # side of a pasted cut-out, as a share of that of the picture
CROPPED = 4  # a crop of a photograph has at most so many times the side of the picture before it is resized
PHOTOGRAPH_SIDE = 512  # photographs are kept at this size

log = logging.getLogger(__name__)


def photographs(folder: Path, size: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Squares (side, side, 3) of the photographs of a folder, half for each part."""
    files = list_folder(folder).files if folder.is_dir() else []
    found: list[np.ndarray] = []
    for number in np.random.default_rng([seed, 6]).permutation(len(files)):
        try:
            picture = read_image(files[number], max(PHOTOGRAPH_SIDE, size), 3)
        except Unreadable as error:
            log.warning("%s: not used as a background: %s", printable(files[number]), error)
            continue
        found.append(np.moveaxis(picture, 0, -1))
    if len(found) < 2:
        raise DataError(f"{printable(folder)}: {len(found)} photographs; two are needed, one for each part of the data")
    return found[0::2], found[1::2]


def cut_out(
    path: Path, size: int, channels: int, photographs: Sequence[np.ndarray], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A picture with transparency, on white or on a crop of a photograph, and where it is opaque (1) or not (0)."""
    try:
        with _open(path) as image:
            if not (image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info):
                raise Unreadable("no transparency, so that nothing says what is foreground")
            image.load()
            whole = square(_upright(image)).convert("RGBA")
    except Exception as error:  # malformed files make Pillow raise almost anything
        raise Unreadable(_reason(error)) from error
    opaque = (np.asarray(whole.getchannel("A")) > OPAQUE).astype(np.uint8)
    if not photographs:
        return to_square(whole, size, channels), nearest(opaque, size)
    side = max(1, round(size * generator.uniform(*PASTED)))
    top, left = generator.integers(0, size - side + 1, size=2).tolist()
    scene = _crop(photographs[int(generator.integers(len(photographs)))], size, generator)
    scene.alpha_composite(whole.resize((side, side), pillow().Resampling.BICUBIC), (left, top))
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[top : top + side, left : left + side] = nearest(opaque, side)
    return to_square(scene, size, channels), mask


def _crop(photograph: np.ndarray, size: int, generator: np.random.Generator) -> Image.Image:
    """A random square of a photograph, mirrored at random: RGBA, `size` pixels wide."""
    whole = len(photograph)
    side = int(generator.integers(min(size, whole), min(CROPPED * size, whole) + 1))
    top, left = generator.integers(0, whole - side + 1, size=2).tolist()
    part = photograph[top : top + side, left : left + side]
    part = part[:, ::-1] if generator.integers(2) else part
    crop = pillow().fromarray(np.ascontiguousarray(part))
    resized: Image.Image = crop.resize((size, size), pillow().Resampling.BICUBIC).convert("RGBA")
    return resized


def square(image: Image.Image) -> Image.Image:
    """The largest centred square, as `to_square` cuts it."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def nearest(values: np.ndarray, size: int) -> np.ndarray:
    """A square of uint8 numbers resized without mixing them."""
    return np.asarray(pillow().fromarray(values).resize((size, size), pillow().Resampling.NEAREST))
