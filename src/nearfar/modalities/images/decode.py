"""One image file to a square of uint8 pixels, or the reason why not."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # told by content; none of them runs a program
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")


class Unreadable(Exception):
    """A file that cannot become an image; the text is the reason, without the name."""


@dataclass(frozen=True)
class Header:
    """What the head of an image file says."""

    width: int
    height: int
    grey: bool


def pillow() -> Any:
    """The PIL.Image module with all its formats registered.

    Raises:
        ImportError: Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading images needs Pillow: pip install 'nearfar[images]'") from error
    Image.init()
    return Image


def read_header(path: Path) -> Header:
    """Size and colour of an image, without decoding it.

    Raises:
        Unreadable: not a regular file, empty, not an image, or above `MAX_PIXELS`.
    """
    try:
        with _open(path) as image:
            return Header(*image.size, grey=_is_grey(image))
    except Exception as error:  # malformed files make Pillow raise almost anything
        raise Unreadable(_reason(error)) from error


def read_image(path: Path | bytes, size: int, channels: int, most: int | None = None) -> np.ndarray:
    """Decode a file, or the content of one, to (channels, size, size) uint8.

    The orientation in the EXIF data is applied, the largest centred square is cut out and resized (bicubic,
    antialiased), 16-bit grey is scaled to 8 bits, and what is transparent shows white. Of several frames the first is
    taken.

    Raises:
        Unreadable: as for `read_header`, by more than `most` pixels, and when they are truncated or broken.
    """
    try:
        with _open(path, most) as image:
            # JPEG can be decoded at 1/2, 1/4 or 1/8; twice the size wanted keeps the resizing exact enough.
            image.draft(image.mode, (2 * size, 2 * size))
            image.load()
            return to_square(_upright(image), size, channels)
    except Exception as error:  # malformed files make Pillow raise almost anything
        raise Unreadable(_reason(error)) from error


def to_square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Cut the largest centred square out of an image and resize it: (channels, size, size) uint8."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.size != (side, side):
        image = image.crop((left, top, left + side, top + side))
    image = _plain(image, "L" if channels == 1 else "RGB")
    if side != size:
        image = image.resize((size, size), pillow().Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else np.moveaxis(pixels, -1, 0)


def _open(path: Path | bytes, most: int | None = None) -> Image.Image:
    most = MAX_PIXELS if most is None else most
    if isinstance(path, Path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("a folder, not an image file")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")  # opening a pipe would wait for ever
    if (len(path) if isinstance(path, bytes) else status.st_size) == 0:
        raise Unreadable("empty file (0 bytes)")
    image = pillow().open(io.BytesIO(path) if isinstance(path, bytes) else path, formats=FORMATS)
    if image.width * image.height > most:
        image.close()
        raise Unreadable(f"{image.width} x {image.height} pixels, more than the {most:,} allowed")
    return image


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block is no reason to lose the picture
        return image


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """An 8-bit image in mode L or RGB, composited on white."""
    Image = pillow()
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise Unreadable("grey values outside 0 .. 65535; store the image with 8 or 16 bits")
        image = Image.fromarray(np.rint(values.astype(np.float32) / 257).astype(np.uint8))
    elif image.mode == "F":
        raise Unreadable("floating-point pixels without a known range; store the image with 8 or 16 bits")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, pillow().DecompressionBombError):
        return f"more than the {MAX_PIXELS:,} pixels allowed"
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()  # "no such file or directory", "permission denied"
    return f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
