"""Pictures with a mask that says which pixels belong to what: drawn masks, or the transparency of cut-outs.

Two layouts are read, each also inside `train/` and `test/` (see `data.split.find_parts`):

- `images/` and `masks/`, a mask for each picture at the same place with the same stem. A mask is an image of one
  channel whose values are class numbers: 0 background, 1, 2, ... classes, 255 not counted. Folders are labels. A file
  `classes.txt` beside the two may name the numbers from 0 on, one name a line.
- any folder of pictures with transparency: what is more than half opaque is foreground. The class of its pixels is the
  name of the first-level folder, or plain foreground where there are no folders.

The reader of pictures shows transparency white, so white alone would tell the background of a cut-out. Given
`backgrounds`, each cut-out is pasted, at a random size and place, on a random crop of a photograph.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.data.labels import encode_labels, renumber
from nearfar.data.source import ArraySource, Skipped, ids_by_content, row_digests
from nearfar.data.split import find_parts, stratified_split
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.archives import printable
from nearfar.modalities.images.cutouts import cut_out, nearest, photographs, square
from nearfar.modalities.images.decode import (
    Unreadable,
    _open,
    _reason,
    _upright,
    pillow,
    read_header,
    read_image,
)
from nearfar.modalities.images.files import list_folder
from nearfar.modalities.images.pixels import nothing_readable

IGNORE = 255
NAMES = "classes.txt"
BACKGROUND = "background"
MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")

log = logging.getLogger(__name__)


@dataclass
class Masked:
    """Pictures with masks.

    Attributes:
        source: N pictures like those of `read`; labels are those of the folders.
        masks: (N, S, S) uint8 class numbers, 255 = not counted.
        classes: names of the class numbers, "background" first.
        origin: "drawn", "transparency", or "pasted" for cut-outs on photographs.
    """

    source: ArraySource
    masks: np.ndarray
    classes: list[str]
    origin: str

    def save(self, folder: str | Path) -> Path:
        """Write `images/`, `masks/` and `classes.txt`, in the layout that is read back; class folders are kept.

        Raises:
            ConfigError: the folder holds one of them already.
        """
        folder = Path(folder).expanduser()
        for kind in ("images", "masks"):
            if (folder / kind).exists():
                raise ConfigError(f"{folder / kind} exists already; choose another folder")
        labels = self.source.labels
        for row, mask in enumerate(self.masks):
            place = Path(self.source.classes[labels[row]]) if labels is not None and labels[row] >= 0 else Path()
            picture = self.source.rows(np.array([row]))[0].permute(1, 2, 0).numpy()
            for kind, pixels in (("images", picture.squeeze()), ("masks", mask)):
                file = folder / kind / place / f"{row:05}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pillow().fromarray(pixels).save(file)
        (folder / NAMES).write_text("\n".join(self.classes) + "\n", encoding="utf-8")
        return folder


def read_masked(
    path: str | Path,
    *,
    size: int,
    channels: int = 3,
    test: str | Path | None = None,
    backgrounds: str | Path | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Masked, Masked]:
    """Pictures with masks to fit on, and others to score on.

    The parts are `train/` and `test/` where the data have them, else `path` and `test` where that is given, else a
    share of each class is held out by seed. Of picture and mask alike the largest centred square is taken and resized
    to `size`, the mask by nearest pixel. With `backgrounds`, half of the photographs serve the first part and half the
    second, so that no test picture stands on one that was fitted on. Same seed, same pictures.

    Args:
        path: a folder in one of the two layouts of this module.
        size: side of the pictures; channels: 1 or 3.
        test: another folder, to score on.
        backgrounds: a folder of at least two photographs to paste cut-outs on; not for drawn masks.
        test_share: of the rows held out where nothing else says what to score on.

    Raises:
        DataError: no such folder, a picture without a mask, values that are no class numbers, nothing readable, or no
            class but the background. ConfigError: backgrounds for pictures that have one.

    Example:
        >>> train, test = read_masked("emoji/", size=64, backgrounds="photos/")              # doctest: +SKIP
    """
    parts = find_parts(Path(path).expanduser())
    first, second = (parts.train, parts.test) if parts else (Path(path).expanduser(), None)
    if test is not None:
        apart = find_parts(Path(test).expanduser())
        second = apart.train if apart else Path(test).expanduser()  # as all data that are given to score on are read
    files = [_list(place) for place in (first, second) if place is not None]
    if len({part.masks is None for part in files}) > 1:
        raise DataError(f"{printable(first)} and {printable(second or '')}: masks are drawn in one of them only")
    if backgrounds is not None and files[0].masks is not None:
        raise ConfigError("backgrounds are for cut-outs; pictures with drawn masks have a background already")
    if second is None:
        files = _held_out(files[0], test_share, seed)
    behind = photographs(Path(backgrounds).expanduser(), size, seed) if backgrounds is not None else ([], [])
    train, held = (
        _read(part, size, channels, pasted_on, (seed, number), progress)
        for number, (part, pasted_on) in enumerate(zip(files, behind, strict=True))
    )
    return _number(train, held)


@dataclass(frozen=True)
class _Files:
    """Picture files, the folders they lie in, and their masks where those are drawn."""

    folder: Path
    pictures: list[Path]
    labels: list[str] | None
    masks: list[Path] | None

    def select(self, rows: np.ndarray) -> _Files:
        """Some of them."""

        def some(column: list[Any] | None) -> Any:
            return None if column is None else [column[row] for row in rows]

        return _Files(self.folder, some(self.pictures), some(self.labels), some(self.masks))


def _list(folder: Path) -> _Files:
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{printable(folder)}: {what}; give a folder of pictures with masks, or with transparency")
    pictures, drawn = folder / "images", folder / "masks"
    if not (pictures.is_dir() and drawn.is_dir()):
        listing = list_folder(folder)
        return _Files(folder, listing.files, listing.labels, None)
    listing = list_folder(pictures)
    by_stem = {file.relative_to(drawn).with_suffix(""): file for file in list_folder(drawn).files}
    stems = [file.relative_to(pictures).with_suffix("") for file in listing.files]
    missing = [stem for stem in stems if stem not in by_stem]
    if missing:
        raise DataError(
            f"{printable(folder)}: {len(missing)} of {len(stems)} pictures have no mask. First: "
            f"{printable(drawn / missing[0])}.png is not there; a mask has the name of its picture"
        )
    return _Files(folder, listing.files, listing.labels, [by_stem[stem] for stem in stems])


def _held_out(files: _Files, share: float, seed: int) -> list[_Files]:
    """A share of every folder set apart."""
    folders = ["the pictures"] * len(files.pictures) if files.labels is None else files.labels
    names, numbers = np.unique(folders, return_inverse=True)
    return [files.select(rows) for rows in stratified_split(numbers.reshape(-1), share, seed, names.tolist())]


def _read(
    files: _Files,
    size: int,
    channels: int,
    behind: Sequence[np.ndarray],
    seed: tuple[int, int],
    progress: bool,
) -> Masked:
    from tqdm import tqdm

    pictures, masks, kept = [], [], []
    lost: list[Skipped] = []
    pillow()
    for row in tqdm(
        range(len(files.pictures)), desc="reading masks", unit="img", leave=False, disable=None if progress else True
    ):
        generator = np.random.default_rng([*seed, row])
        try:
            if files.masks is not None:
                made = read_image(files.pictures[row], size, channels), _mask(files, row, size)
            elif files.labels is not None and not files.labels[row]:
                raise Unreadable("in no folder, so that its pixels have no class")
            else:
                made = cut_out(files.pictures[row], size, channels, behind, generator)
        except Unreadable as error:
            lost.append(Skipped(printable(files.pictures[row]), str(error)))
            continue
        pictures.append(made[0])
        masks.append(made[1])
        kept.append(row)
    where = printable(files.folder)
    if not kept:
        raise nothing_readable(lost)
    if lost:
        log.warning("%s: %d pictures left out. First: %s: %s", where, len(lost), lost[0].name, lost[0].reason)
    array = np.stack(pictures)
    digests = row_digests(array)
    labels, classes = None, list[str]()
    if files.labels is not None:
        labels, classes = encode_labels([files.labels[row] for row in kept], where)
    origin = "drawn" if files.masks is not None else "pasted" if behind else "transparency"
    source = ArraySource(
        "images",
        array,
        ids=ids_by_content(digests),
        names=[printable(files.pictures[row]) for row in kept],
        labels=labels,
        classes=classes,
        skipped=lost,
        details={"path": where, "masks": origin},
        digests=digests,
    )
    return Masked(source, np.stack(masks), [], origin)


def _number(train: Masked, held: Masked) -> tuple[Masked, Masked]:
    """Both parts with the same numbers for labels and for the classes of pixels."""
    if held.source.labels is not None:
        held.source.labels, merged = renumber(held.source.labels, held.source.classes, train.source.classes)
        train.source.classes, held.source.classes = merged, list(merged)
    if train.origin == "drawn":
        numbers = np.union1d(np.unique(train.masks), np.unique(held.masks))
        largest = max(numbers[numbers != IGNORE].tolist(), default=0)
        if largest < 1:
            hint = "255 is not counted: write the foreground as 1" if IGNORE in numbers else "write 1, 2, ..."
            raise DataError(f"{train.source.details['path']}: the masks hold no class but the background (0); {hint}")
        given = _names(Path(train.source.details["path"]))
        classes = [*given, *(f"class {number}" if number else BACKGROUND for number in range(len(given), largest + 1))]
    else:
        if (train.source.labels is None) != (held.source.labels is None):
            raise DataError(f"{train.source.details['path']}: one part has class folders and the other has none")
        classes = [BACKGROUND, *(train.source.classes or ["foreground"])]
        if len(classes) > IGNORE:
            raise DataError(
                f"{len(classes) - 1} class folders; masks can tell {IGNORE - 1} classes from the background"
            )
        for part in (train, held):
            if part.source.labels is not None:
                part.masks = (part.masks * (1 + part.source.labels)[:, None, None]).astype(np.uint8)
    return replace(train, classes=classes), replace(held, classes=classes)


def _names(folder: Path) -> list[str]:
    """Names of the class numbers of drawn masks, as far as the folder has them."""
    file = folder / NAMES
    if not file.is_file():
        return []
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{printable(file)}: not UTF-8 text; write one class name a line") from None


def _mask(files: _Files, row: int, size: int) -> np.ndarray:
    """A drawn mask: (size, size) uint8 class numbers."""
    assert files.masks is not None
    path, picture = files.masks[row], read_header(files.pictures[row])
    try:
        with _open(path) as image:
            if sorted(image.size) != sorted((picture.width, picture.height)):  # turned by EXIF, perhaps
                sides = f"{image.width} x {image.height}, and its picture {picture.width} x {picture.height}"
                raise Unreadable(f"is {sides} pixels large")
            if image.mode not in MASK_MODES:
                raise Unreadable(f"has {len(image.getbands())} channels; class numbers need one")
            values = np.asarray(square(_upright(image))).astype(np.int64)
    except Exception as error:  # malformed files make Pillow raise almost anything
        raise Unreadable(f"mask {printable(path)}: {_reason(error)}") from error
    if values.min() < 0 or values.max() > IGNORE:
        raise Unreadable(f"mask {printable(path)}: holds {values.min()} to {values.max()}; class numbers are 0 to 255")
    return nearest(values.astype(np.uint8), size)
