"""Reads images from a folder, a table of file names, or a NumPy archive."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from nearfar.data.labels import encode_labels
from nearfar.data.source import ArraySource, Skipped, ids_by_content, number_alike, row_digests
from nearfar.data.split import find_parts
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.archives import printable
from nearfar.modalities.images.arrays import fit_rows, has_test_part, read_arrays
from nearfar.modalities.images.files import EXTENSIONS, Listing, list_folder
from nearfar.modalities.images.pixels import LARGEST_SIZE, nothing_readable, read_pixels, skipped
from nearfar.modalities.images.tables import TABLE_EXTENSIONS, list_table

Policy = Literal["skip", "refuse"]
Duplicates = Literal["same-id", "own-id"]
Part = Literal["train", "test"]

log = logging.getLogger(__name__)


def read(
    path: str | Path,
    *,
    size: int | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    domain_column: str | None = None,
    folders: str = "label",
    lenient: bool = False,
    channels: int | None = None,
    policy: Policy = "skip",
    duplicates: Duplicates = "same-id",
    part: Part = "train",
    cache: str | Path | None = None,
    progress: bool = True,
) -> ArraySource:
    """Read images to uint8 rows (C, S, S).

    `path` is one of:

    - a folder, searched recursively in sorted order without hidden files; the first-level folder is the label, unless
      `folders` says otherwise;
    - a .csv, .tsv or .parquet table with a column of file names relative to the table, and perhaps one of labels;
    - an .npz archive with `images` and perhaps `labels`, `classes` and `domains` (see `arrays.read_arrays`);
    - one image file.

    Of each image the largest centred square is taken and resized (bicubic, antialiased); EXIF orientation is applied
    and transparency shows white. An archive of images that already fit is taken as it is.

    Args:
        size: S in pixels; None means the median of the shorter sides, at most 224.
        path_column: the table's column of file names, guessed (path, file, filename, image, ...) when None.
        label_column: the table's column of labels, guessed (label, class, target, ...) when None.
        domain_column: the table's column of domains; none when None. With `lenient` it need not be there.
        folders: what the levels of folders say, such as "domain/label" (see `nearfar.modalities.folders.levels_of`).
        channels: 1 (grey) or 3 (RGB); None means 1 if every image is grey, else 3.
        policy: "skip" lists unreadable images in `skipped` and logs their number, "refuse" raises on the first few.
        duplicates: "same-id" gives rows with equal pixels one id, so that they are never far apart; "own-id" numbers
            the rows.
        part: which part to read of data that come as `train/` and `test/` folders or arrays (see `read_pair`);
            data in one piece are all "train".
        cache: folder for the decoded images of a folder or table; they are then memory-mapped, and read again from
            there as long as names, sizes and times of the files and the settings are the same.
        progress: show a bar on a terminal.

    Raises:
        DataError: nothing there, nothing readable, or a table or archive with faults; says where and what to do.
        ConfigError: an impossible setting.

    Example:
        >>> from nearfar.data import bundled
        >>> source = read(bundled.path("fashion"))
        >>> source.rows(slice(0, 2)).shape, source.classes[0]
        (torch.Size([2, 1, 28, 28]), 'T-shirt/top')
    """
    _check(size, channels, policy=(policy, Policy), duplicates=(duplicates, Duplicates), part=(part, Part))
    path = Path(path).expanduser()
    try:
        there, parts = path.exists(), find_parts(path)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    if not there:
        raise DataError(f"{printable(path)}: no such file or folder")
    details: dict[str, Any] = {"part": part}
    if parts is not None:
        path = parts.train if part == "train" else parts.test
        if parts.unused:
            details["unused"] = parts.unused
            log.warning("%s: next to the %s part, not used: %s", printable(path), part, ", ".join(parts.unused))
    details["path"] = printable(path)
    suffix = path.suffix.lower()
    if suffix == ".npz" and path.is_file():
        return _read_archive(path, size, channels, duplicates, details)
    if part == "test" and parts is None:
        raise DataError(f"{printable(path)}: there is no test part: no train/ and test/ folders")
    if path.is_dir():
        listing = list_folder(path, folders)
    elif suffix in TABLE_EXTENSIONS:
        listing = list_table(path, path_column, label_column, domain_column, lenient)
    elif suffix in EXTENSIONS:
        listing = Listing(files=[path], names=[printable(path)])
    else:
        raise DataError(
            f"{printable(path)}: cannot read images from this. Give a folder, a table ({', '.join(TABLE_EXTENSIONS)}), "
            f"an archive (.npz) or an image ({' '.join(EXTENSIONS)})"
        )
    folder = None if cache is None else Path(cache).expanduser()
    return _read_files(listing, size, channels, policy, duplicates, folder, progress, details)


def read_pair(
    path: str | Path, *, size: int | None = None, channels: int | None = None, **settings: Any
) -> tuple[ArraySource, ArraySource | None]:
    """Read the training part and, if there is one, the test part of a data set.

    Parts are the folders `train/` and `test/` (or `val/`, `validation/`), or the arrays of an archive named `images`,
    `train_images` or `x_train` and `test_images`, `x_test`, `val_images` or `x_val`. The test part is read with the
    size and channels of the training part, and both number their classes alike.

    Args:
        path: as for `read`.
        size: as for `read`; None is settled by the training part.
        channels: as for `read`; None is settled by the training part.
        settings: further settings of `read`.

    Raises:
        DataError: as for `read`.

    Example:
        >>> from nearfar.data import bundled
        >>> train, test = read_pair(bundled.path("fashion"))
        >>> len(train), len(test)
        (10000, 5000)
    """
    path = Path(path).expanduser()
    train = read(path, size=size, channels=channels, part="train", **settings)
    split = has_test_part(path) if path.suffix.lower() == ".npz" and path.is_file() else find_parts(path) is not None
    if not split:
        return train, None
    channels_read, size_read = train.array.shape[1:3]
    test = read(path, size=size_read, channels=channels_read, part="test", **settings)
    number_alike(train, test)
    return train, test


def _read_files(
    listing: Listing,
    size: int | None,
    channels: int | None,
    policy: Policy,
    duplicates: Duplicates,
    cache: Path | None,
    progress: bool,
    details: dict[str, Any],
) -> ArraySource:
    if not listing.files:
        raise nothing_readable(listing.skipped)
    pixels = read_pixels(listing, size=size, channels=channels, cache=cache, progress=progress)
    lost = skipped(listing, pixels.reasons)
    _report(lost, len(pixels.kept), policy, details["path"])
    if listing.ignored:
        details["ignored"] = listing.ignored
    labels, classes = None, list[str]()
    if listing.labels is not None:
        labels, classes = encode_labels([listing.labels[file] for file in pixels.files], details["path"])
    return ArraySource(
        "images",
        pixels.array,
        index=pixels.kept,
        ids=ids_by_content(pixels.digests[pixels.kept]) if duplicates == "same-id" else None,
        names=[listing.names[file] for file in pixels.files],
        labels=labels,
        classes=classes,
        skipped=lost,
        details=details,
        digests=pixels.digests,
    ).in_domains(
        None if listing.domains is None else [listing.domains[file] for file in pixels.files],
        f"{details['path']}, domains",
    )


def _read_archive(
    path: Path, size: int | None, channels: int | None, duplicates: Duplicates, details: dict[str, Any]
) -> ArraySource:
    arrays = read_arrays(path, details["part"])
    depth, height, width = arrays.images.shape[1:]
    images = fit_rows(
        arrays.images,
        size=size or min(height, width, LARGEST_SIZE),
        channels=channels or (1 if depth == 1 else 3),
    )
    digests = row_digests(images)
    # The key is named only where the archive holds several parts.
    prefix = printable(path) if arrays.key == "images" else f"{printable(path)}:{arrays.key}"
    return ArraySource(
        "images",
        images,
        ids=ids_by_content(digests) if duplicates == "same-id" else None,
        names=[f"{prefix}[{row}]" for row in range(len(images))],
        labels=arrays.labels,
        classes=arrays.classes,
        details=details,
        digests=digests,
    ).in_domains(arrays.domains, f"{prefix}, domains")


def _report(lost: Sequence[Skipped], kept: int, policy: Policy, where: str) -> None:
    if not lost:
        return
    first = "; ".join(f"{item.name}: {item.reason}" for item in lost[:5])
    message = f"{where}: {len(lost)} of {len(lost) + kept} images cannot be read. First: {first}"
    if policy == "refuse":
        raise DataError(f"{message}. Remove them, or read with policy='skip'")
    log.warning("%s", message)


def _check(size: int | None, channels: int | None, **choices: tuple[str, Any]) -> None:
    if size is not None and size < 1:
        raise ConfigError(f"size must be 1 pixel or more, not {size}")
    if channels not in (None, 1, 3):
        raise ConfigError(f"channels must be 1 (grey) or 3 (RGB), not {channels}")
    for name, (value, kind) in choices.items():
        if value not in get_args(kind):
            raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
