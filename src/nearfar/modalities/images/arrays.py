"""Images in a NumPy archive (.npz)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearfar.data.labels import encode_labels
from nearfar.errors import DataError
from nearfar.modalities.archives import member, open_archive, printable
from nearfar.modalities.images.decode import pillow, to_square

TRAIN_KEYS = (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train"))
TEST_KEYS = (
    *(("test_images", "test_labels"), ("x_test", "y_test")),
    *(("val_images", "val_labels"), ("x_val", "y_val")),
)
CHANNELS = (1, 3, 4)
BLOCK = 4096  # rows converted at a time
REMEDY = "Stack it to one numeric array (images of one size), or to texts with .astype(str)."


@dataclass
class Arrays:
    """Images and labels of one part of an archive.

    Attributes:
        images: (N, C, H, W) uint8, C one of 1, 3, 4.
        labels: (N,) int64 with -1 for unknown, or None.
        classes: names of the labels.
        key: name of the array of images.
        domains: (N,) texts or numbers, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None
    classes: list[str]
    key: str
    domains: np.ndarray | None = None


def has_test_part(path: Path) -> bool:
    """Whether an archive holds images to train on and images to test on."""
    with open_archive(path, "images") as archive:
        return all(any(images in archive.files for images, _ in keys) for keys in (TRAIN_KEYS, TEST_KEYS))


def read_arrays(path: Path, part: str = "train") -> Arrays:
    """Read `images` and, if there, `labels`, `classes` and `domains`; other parts have `TRAIN_KEYS` and `TEST_KEYS`.

    Images are (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1, 3 or 4. Values are whole numbers in 0 .. 255, or
    floats in 0 .. 1 (when none is above 1) or 0 .. 255. Labels are whole numbers or texts, (N,) or (N, 1); with
    `classes`, an array of names, whole numbers count into it. Domains (`test_domains` beside `test_labels`, `d_test`
    beside `y_test`) are whole numbers or texts. Pickled objects are never loaded.

    Raises:
        DataError: not an archive, no such array, objects, axes that cannot be told apart, values out of range or not
            finite (the first row is named), or another number of labels than images.
    """
    with open_archive(path, "images") as archive:
        keys = TRAIN_KEYS if part == "train" else TEST_KEYS
        found = next((pair for pair in keys if pair[0] in archive.files), None)
        if found is None:
            raise DataError(
                f"{printable(path)}: no array of images to {part} on: none of {', '.join(pair[0] for pair in keys)}. "
                f"Arrays there are: {', '.join(archive.files) or 'none'}"
            )
        where = f"{printable(path)}[{found[0]}]"
        images = _to_bytes(_channels_first(member(archive, path, found[0], REMEDY), where), where)
        names = None
        if "classes" in archive.files:
            names = [str(name) for name in member(archive, path, "classes", REMEDY).reshape(-1)]
        beside = found[1].replace("labels", "domains").replace("y_", "d_")
        domains = member(archive, path, beside, REMEDY).reshape(-1) if beside in archive.files else None
        if found[1] not in archive.files:
            return Arrays(images, None, [], found[0], domains)
        labels, classes = _labels(
            member(archive, path, found[1], REMEDY), len(images), names, f"{printable(path)}[{found[1]}]"
        )
        return Arrays(images, labels, classes, found[0], domains)


def fit_rows(images: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Bring (N, C, H, W) uint8 rows to (N, channels, size, size) by the rule for image files, unless they fit."""
    if images.shape[1:] == (channels, size, size):
        return images
    Image = pillow()
    result = np.empty((len(images), channels, size, size), dtype=np.uint8)
    for row, image in enumerate(images):
        pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
        result[row] = to_square(Image.fromarray(np.ascontiguousarray(pixels)), size, channels)
    return result


def _channels_first(images: np.ndarray, where: str) -> np.ndarray:
    shape = images.shape
    if 0 in shape:
        raise DataError(f"{where}: shape {shape} holds no pixels")
    if images.ndim == 3:
        if shape[2] in CHANNELS and shape[2] not in shape[:2]:
            raise DataError(f"{where}: shape {shape} looks like one image (H, W, C); write images[None] for N = 1")
        return images[:, None]
    if images.ndim != 4:
        raise DataError(f"{where}: shape {shape} is not (N, H, W), (N, C, H, W) or (N, H, W, C); reshape it")
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first and last:
        raise DataError(
            f"{where}: shape {shape} is ambiguous: both axis 1 ({shape[1]}) and axis 3 ({shape[3]}) could be the "
            "channels. Grey images can be written as (N, H, W); images of 4 pixels or less in width are not told apart"
        )
    if not first and not last:
        raise DataError(f"{where}: shape {shape} has no axis of 1 (grey), 3 (RGB) or 4 (RGBA) channels in place 1 or 3")
    return images if first else np.moveaxis(images, 3, 1)


def _to_bytes(images: np.ndarray, where: str) -> np.ndarray:
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype.kind not in "iuf":
        raise DataError(f"{where}: type {images.dtype}; images are uint8, or floats in 0 .. 1 or 0 .. 255")
    blocks = [slice(start, start + BLOCK) for start in range(0, len(images), BLOCK)]
    largest = 0.0
    for block in blocks:
        values = images[block].reshape(len(images[block]), -1)
        low, high = values.min(axis=1), values.max(axis=1)
        for bad, complaint in (
            (~(np.isfinite(low) & np.isfinite(high)), "holds NaN or infinity"),
            ((low < 0) | (high > 255), "holds values outside 0 .. 255"),
        ):
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                span = "" if "NaN" in complaint else f" ({low[row]:g} to {high[row]:g})"
                raise DataError(f"{where}: row {block.start + row} {complaint}{span}; clean or rescale the images")
        largest = max(largest, float(high.max()))
    factor = 255.0 if images.dtype.kind == "f" and largest <= 1 else 1.0
    result = np.empty(images.shape, dtype=np.uint8)
    for block in blocks:
        result[block] = np.rint(images[block].astype(np.float32) * factor).astype(np.uint8)
    return result


def _labels(labels: np.ndarray, count: int, names: list[str] | None, where: str) -> tuple[np.ndarray, list[str]]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise DataError(
            f"{where}: shape {labels.shape}, but there are {count} images; one label each, shape ({count},)"
        )
    if names is None or labels.dtype.kind not in "iu":
        return encode_labels(labels, where)
    wrong = np.flatnonzero((labels < -1) | (labels >= len(names)))
    if len(wrong):
        raise DataError(
            f"{where}: row {wrong[0]} has label {labels[wrong[0]]}, but `classes` holds {len(names)} names, "
            f"0 .. {len(names) - 1}"
        )
    return labels.astype(np.int64), names
