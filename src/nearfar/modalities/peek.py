"""A cheap look at data, enough to tell of what kind they are; faults are left for their reading to name."""

from __future__ import annotations

import csv
import os
import zipfile
from itertools import islice
from pathlib import Path

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet")
ROWS = 20


def table_head(path: Path) -> dict[str, list[str]]:
    """The first cells of every column of a .csv, .tsv or .parquet file, as text; {} where that cannot be read."""
    try:
        return _parquet_head(path) if path.suffix.lower() == ".parquet" else _text_head(path)
    except Exception:  # whatever is wrong is for the reading of the data to say
        return {}


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in an .npz archive, by name, without reading them; {} where that cannot be read."""
    from numpy.lib import format as layout

    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = layout.read_magic(member)
                    read = layout.read_array_header_1_0 if version == (1, 0) else layout.read_array_header_2_0
                    shapes[name.removesuffix(".npy")] = tuple(read(member)[0])
    except Exception:
        return {}
    return shapes


def holds_file(folder: Path, extensions: tuple[str, ...]) -> bool:
    """Whether a file with one of these extensions lies in or below a folder; links are followed, each folder once."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
        elif any(name.lower().endswith(extensions) and not name.startswith(".") for name in files):
            return True
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return False


def is_number(text: str) -> bool:
    """Whether a text is a number, infinite ones and NaN included.

    >>> is_number("1e-3"), is_number("1_000"), is_number("3 cm")
    (True, False, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def delimiter_of(header: str, path: Path) -> str:
    """What separates the cells of a text table: a tab in .tsv, else a comma, or a semicolon or tab without any comma.

    >>> delimiter_of("a;b", Path("t.csv")), delimiter_of("a,b", Path("t.csv"))
    (';', ',')
    """
    if path.suffix.lower() == ".tsv":
        return "\t"
    return next((mark for mark in ",;\t" if mark in header), ",")


def _text_head(path: Path) -> dict[str, list[str]]:
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        delimiter = delimiter_of(stream.readline(), path)
        stream.seek(0)
        names, *rows = islice(csv.reader(stream, delimiter=delimiter), ROWS + 1)
    return {name: [row[place] for row in rows if place < len(row)] for place, name in enumerate(names)}


def _parquet_head(path: Path) -> dict[str, list[str]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    batch = next(file.iter_batches(batch_size=ROWS), None)
    if batch is None:
        return {name: [] for name in file.schema_arrow.names}
    return {
        name: ["" if cell is None else str(cell) for cell in column.to_pylist()]
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
