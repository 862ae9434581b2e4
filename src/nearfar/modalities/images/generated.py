"""Pictures that a generator made of those of the data, kept in a folder or an archive, and which belongs to which."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nearfar.data.labels import UNKNOWN
from nearfar.data.source import ArraySource, ids_by_content, row_digests
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.archives import member, open_archive, printable
from nearfar.modalities.images.arrays import REMEDY, fit_rows, read_arrays
from nearfar.modalities.images.reading import read

QUALITY = "quality.jsonl"  # beside the pictures: what `nearfar generated` found of each
SHOWN = 3


@dataclass(frozen=True)
class Linked:
    """Some pictures of the data, each with those that were generated of it.

    Attributes:
        rows: (B, C, S, S) the pictures themselves.
        made: all generated pictures, those of one item next to each other.
        first, count: (B,) where in `made` those of each item begin, and how many there are.
        weights: (M,) how much a pair with each of `made` counts; None where all count alike.
    """

    rows: Tensor
    made: ArraySource
    first: np.ndarray
    count: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)


class Accompanied(ArraySource):
    """Pictures of which some have generated ones beside them; rows, ids, labels and names are those of the data.

    Args:
        source: the pictures.
        made: (M) generated pictures, those of one item next to each other.
        first, count: (N,) where in `made` those of each item begin, and how many there are.
        weights: (M,) how much a pair with each of them counts.
    """

    def __init__(
        self,
        source: ArraySource,
        made: ArraySource,
        first: np.ndarray,
        count: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> None:
        self.__dict__.update(source.__dict__)
        self.made, self.first, self.count, self.weights = made, first, count, weights
        self.details = {**source.details, "generated": {"pictures": len(made), "items": int((count > 0).sum())}}

    def material(self, index: np.ndarray | slice) -> Linked:
        """What views are made of: rows with their generated pictures."""
        return Linked(self.rows(index), self.made, self.first[index], self.count[index], self.weights)

    def select(self, index: np.ndarray) -> Accompanied:
        """See `Source.select`."""
        rows = np.arange(len(self))[index]
        return Accompanied(super().select(rows), self.made, self.first[rows], self.count[rows], self.weights)

    def _content(self) -> bytes:
        parts = [self.first, self.count, *([] if self.weights is None else [self.weights])]
        return super()._content() + self.made._content() + b"".join(part.tobytes() for part in parts)


@dataclass(frozen=True)
class Found:
    """Generated pictures and the items they belong to.

    Attributes:
        made: (M) pictures, sorted by item; `names` are those of the files, relative to the folder.
        rows: (M,) the row of the data that each was made of.
        orphans: names of pictures that belong to no item, which are left out.
    """

    made: ArraySource
    rows: np.ndarray
    orphans: list[str]

    def beside(self, source: ArraySource, weights: np.ndarray | None = None) -> Accompanied:
        """The data with these pictures."""
        count = np.bincount(self.rows, minlength=len(source))
        return Accompanied(source, self.made, np.cumsum(count) - count, count, weights)


def find_generated(path: str | Path, source: ArraySource, cache: Path | None = None, progress: bool = True) -> Found:
    """Generated pictures of some data, in the size of the data.

    `path` is one of:

    - a folder that mirrors that of the data: of `DATA/cat/1.jpg` were made `FOLDER/cat/1.png` or all pictures in the
      folder `FOLDER/cat/1/`; of row 17 of an archive `FOLDER/17.png` or those in `FOLDER/17/`;
    - an .npz archive with `images` and `of`, which says of each what it was made of: the row of the data, from 0, or
      the name of the file relative to the data, with or without its ending.

    Raises:
        DataError: it cannot be read, nothing belongs to the data, or a name says two items.
    """
    path = Path(path).expanduser()
    _check_place(path, source)
    made, names, keys = (_of_archive if path.suffix.lower() == ".npz" else _of_folder)(path, source, cache, progress)
    known = _keys(source)
    rows = np.array([next((known[key] for key in several if key in known), -1) for several in keys], dtype=np.int64)
    if (rows == -2).any():
        raise DataError(
            f"{printable(path)}: {names[int(np.flatnonzero(rows == -2)[0])]} could belong to two pictures of the data, "
            "which differ in their ending only; rename one of them"
        )
    if not (rows >= 0).any():
        raise DataError(
            f"{printable(path)}: none of {len(rows)} pictures belongs to the data, such as {names[0]}; name them after "
            f"what they were made of: {next(iter(known))}.png, or {next(iter(known))}/ with several in it"
        )
    order = np.argsort(rows, kind="stable")
    order = order[rows[order] >= 0]
    pictures = made.select(order)
    pictures.names = [names[place] for place in order]
    return Found(pictures, rows[order], [names[place] for place in np.flatnonzero(rows < 0)])


def read_weights(path: str | Path, found: Found, scale: float) -> np.ndarray:
    """(M,) float32 e^(scale x quality) of each picture as `nearfar generated` found it, divided by the mean of all.

    Raises:
        ConfigError: a picture was never judged. DataError: the file is damaged.
    """
    file = quality_file(path)
    known = {record["generated"]: record["quality"] for record in read_quality(file)} if file.is_file() else {}
    missing = [name for name in found.made.names if name not in known]
    if missing:
        raise ConfigError(
            f"{printable(file)} does not say how good {len(missing)} of {len(found.made)} generated pictures are, such "
            f"as {missing[0]}; judge them first: nearfar generated ENCODER DATA {printable(path)}, or leave "
            "out generated_weight"
        )
    weights = np.exp(scale * np.array([known[name] for name in found.made.names]))
    return (weights / weights.mean()).astype(np.float32)


def quality_file(path: str | Path) -> Path:
    """Where the quality of generated pictures is kept: in their folder, or beside their archive."""
    path = Path(path).expanduser()
    return path / QUALITY if path.is_dir() else path.with_name(f"{path.stem}.{QUALITY}")


def read_quality(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of qualities.

    Raises:
        DataError: a line is no JSON with `generated` and a `quality`; it is named.
    """
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            if not (isinstance(record["generated"], str) and np.isfinite(record["quality"])):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{printable(file)}, line {number}: not as nearfar generated writes it; make it again"
            ) from error
        records.append(record)
    return records


def among(path: str | Path, source: ArraySource, times: int, cache: Path | None, progress: bool) -> ArraySource:
    """The pictures of the data `times` times each, and all generated ones once, without labels and domains.

    A picture of the data is drawn `times` as often as a generated one. Copies of it have one id, so that they are never
    far apart; generated pictures have ids of their own.
    """
    path = Path(path).expanduser()
    _check_place(path, source)
    channels, size = source.array.shape[1:3]
    if path.suffix.lower() == ".npz" and path.is_file():
        made = ArraySource("images", fit_rows(read_arrays(path).images, size, channels))
    else:
        made = read(path, size=size, channels=channels, cache=cache, progress=progress)
    real = np.tile(np.arange(len(source)), times)
    array = np.concatenate([source.rows(slice(None)).numpy(), made.rows(slice(None)).numpy()])
    digests = row_digests(array)
    other = ids_by_content(digests[len(source) :]) + int(source.ids.max()) + 1
    unknown = np.full(len(made), UNKNOWN)
    labels = None if source.labels is None else np.r_[source.labels[real], unknown]
    joined = ArraySource(
        "images",
        array,
        index=np.r_[real, len(source) + np.arange(len(made))],
        ids=np.r_[source.ids[real], other],
        names=[*(source.names[row] for row in real), *made.names],
        labels=labels,
        classes=source.classes,
        skipped=[*source.skipped, *made.skipped],
        details={**source.details, "generated": {"pictures": len(made), "times": times}},
        digests=digests,
    )
    if source.domains is not None:
        joined.domains, joined.domain_names = np.r_[source.domains[real], unknown], source.domain_names
    return joined


def _check_place(path: Path, source: ArraySource) -> None:
    if not (path.is_dir() or (path.is_file() and path.suffix.lower() == ".npz")):
        raise DataError(f"{printable(path)}: no folder of generated pictures, and no .npz archive of them")
    root = Path(source.details.get("path", ""))
    if path.is_dir() and root.is_absolute() and path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{printable(path)} lies inside the data, which would read it as items; move it elsewhere")


def _keys(source: ArraySource) -> dict[str, int]:
    """By what names the rows of some data can be called, each with its row; -2 where it would be two."""
    known: dict[str, int] = {}
    root = Path(source.details.get("path", ""))
    root = root if root.is_dir() else root.parent
    for row, name in enumerate(source.names):
        if name.endswith("]"):
            keys = [name[name.rindex("[") + 1 : -1]]
        else:
            file = Path(name)
            file = file.relative_to(root) if file.is_relative_to(root) else file
            keys = [file.with_suffix("").as_posix(), file.as_posix()]
        for key in keys:
            known[key] = -2 if known.get(key, row) != row else row
    return known


def _of_folder(
    path: Path, source: ArraySource, cache: Path | None, progress: bool
) -> tuple[ArraySource, list[str], list[list[str]]]:
    channels, size = source.array.shape[1:3]
    made = read(path, size=size, channels=channels, cache=cache, progress=progress)
    files = [Path(name).relative_to(made.details["path"]) for name in made.names]
    keys = [[file.as_posix(), file.with_suffix("").as_posix(), file.parent.as_posix()] for file in files]
    return made, [file.as_posix() for file in files], keys


def _of_archive(
    path: Path, source: ArraySource, cache: Path | None, progress: bool
) -> tuple[ArraySource, list[str], list[list[str]]]:
    with open_archive(path, "images") as archive:
        if "of" not in archive.files:
            raise DataError(f"{printable(path)}: no array 'of', which says of each image the row it was made of")
        of = [str(one) for one in member(archive, path, "of", REMEDY).reshape(-1)]
    images = read_arrays(path).images
    if len(of) != len(images):
        raise DataError(f"{printable(path)}: {len(images)} images, but 'of' says where {len(of)} come from")
    channels, size = source.array.shape[1:3]
    made = ArraySource("images", fit_rows(images, size, channels))
    return made, [f"[{row}]" for row in range(len(images))], [[one] for one in of]
