"""Columns of cells from a CSV, TSV or Parquet file, or from a NumPy archive; nothing is interpreted yet."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import DataError
from nearfar.modalities.archives import member, open_archive, printable
from nearfar.modalities.peek import TABLE_EXTENSIONS, delimiter_of

Cells = np.ndarray | list[str]
"""A column: float64 with NaN for missing, or texts with "" for missing."""

TRAIN_KEYS = (("rows", "labels"), ("x", "y"), ("x_train", "y_train"), ("train_rows", "train_labels"))
TEST_KEYS = (("test_rows", "test_labels"), ("x_test", "y_test"), ("x_val", "y_val"))
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


@dataclass
class Table:
    """Columns as they were found.

    Attributes:
        where: what messages and names of rows call it.
        columns: cells by the name of the column, in order.
        labels: labels that stand beside the columns, None when they can only be one of them.
        classes: names that such labels count into.
        domains: domains that stand beside the columns, None when they can only be one of them.
        unreadable: columns of a type that is neither number nor text, and why they are left out.
    """

    where: str
    columns: dict[str, Cells]
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    domains: np.ndarray | None = None
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows every column has."""
        return len(next(iter(self.columns.values()), []))


def read_table(path: Path, part: str = "train") -> Table:
    """All columns of a file; `part` chooses among the arrays of an archive.

    Raises:
        DataError: not readable, no header, no rows, a row of another length, or two columns of one name.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        table = _read_archive(path, part)
    elif suffix == ".parquet":
        table = _read_parquet(path)
    elif suffix in TABLE_EXTENSIONS:
        table = _read_text(path)
    else:
        raise DataError(
            f"{printable(path)}: cannot read a table from this. Give a file ({', '.join(TABLE_EXTENSIONS)}, .npz) or a "
            "folder with train.csv and perhaps test.csv"
        )
    if not table.rows:
        raise DataError(f"{table.where}: the table has no rows")
    return table


def has_test_part(path: Path) -> bool:
    """Whether an archive holds rows to train on and rows to test on."""
    with open_archive(path, "rows") as archive:
        return all(any(rows in archive.files for rows, _ in keys) for keys in (TRAIN_KEYS, TEST_KEYS))


def _read_text(path: Path) -> Table:
    where = printable(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            delimiter = delimiter_of(stream.readline(), path)
            stream.seek(0)
            names, *rows = [row for row in csv.reader(stream, delimiter=delimiter) if row] or [[]]
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{where}: not a readable table: {error}") from error
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror}") from error
    if not names:
        raise DataError(f"{where}: the table is empty; it needs a header and rows")
    names = _checked(names, where)
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise DataError(
                f"{where}[{number}]: {len(row)} cells, but the header names {len(names)} columns; mend the row"
            )
    columns: dict[str, Cells] = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=False):
        columns[name] = [cell.strip() for cell in cells]
        if delimiter == ";":  # where a semicolon separates cells, a comma usually separates decimals
            columns[name] = [c.replace(",", ".") if DECIMAL_COMMA.fullmatch(c) else c for c in columns[name]]
    return Table(where, columns or {name: [] for name in names})


def _checked(names: list[str], where: str) -> list[str]:
    """Names of columns, a blank one called by its place."""
    names = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None or any(re.fullmatch(r"[+-]?\d*\.\d+(e[+-]?\d+)?|-\d+", name) for name in names):
        fault = "numbers stand in it" if twice is None else f"two columns are called {twice!r}"
        raise DataError(f"{where}: the first row does not look like a header: {fault}. Name every column once")
    return names


def _read_parquet(path: Path) -> Table:
    where = printable(path)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("reading Parquet needs pyarrow: pip install 'nearfar[images]'") from error
    try:
        found = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where}: not a readable Parquet file: {error}") from error
    table = Table(where, {})
    names = _checked(list(found.column_names), where)
    for name, column in zip(names, found.columns, strict=True):
        cells = column.combine_chunks()
        cells = cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
        kind = cells.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            table.columns[name] = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        elif any(same(kind) for same in (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)):
            table.columns[name] = ["" if cell is None else str(cell).strip() for cell in cells.to_pylist()]
        else:
            table.unreadable[name] = f"holds {kind}, neither numbers nor text"
    return table


def _read_archive(path: Path, part: str) -> Table:
    """One array (N, F) by the keys of the part, or one vector for every column."""
    where = printable(path)
    with open_archive(path, "rows") as archive:
        arrays = {key: member(archive, path, key, "Write numbers, or texts with .astype(str)") for key in archive.files}
    classes = [str(name) for name in arrays.pop("classes", np.empty(0)).reshape(-1)] or None
    keys = TRAIN_KEYS if part == "train" else TEST_KEYS
    vectors = bool(arrays) and all(array.ndim == 1 for array in arrays.values())
    found = None if vectors else next((pair for pair in keys if pair[0] in arrays), None)
    if found is None:
        if part == "test" or not vectors or len({len(array) for array in arrays.values()}) > 1:
            raise DataError(
                f"{where}: no array of rows to {part} on: none of {', '.join(rows for rows, _ in keys)}, and not one "
                f"vector for every column. Arrays there are: {', '.join(arrays) or 'none'}"
            )
        cells = {name: to_cells(array, f"{where}[{name}]") for name, array in arrays.items()}
        return Table(where, cells, classes=classes)
    rows, labels = arrays[found[0]], arrays.get(found[1])
    if rows.ndim != 2:
        raise DataError(f"{where}[{found[0]}]: shape {rows.shape} is not (rows, columns); reshape it")
    names = [str(name) for name in arrays.get("columns", np.arange(rows.shape[1])).reshape(-1)]
    if len(names) != rows.shape[1]:
        raise DataError(f"{where}[columns]: {len(names)} names for {rows.shape[1]} columns")
    if labels is not None and labels.reshape(-1).shape != (len(rows),):
        raise DataError(f"{where}[{found[1]}]: shape {labels.shape}, but there are {len(rows)} rows; one label each")
    # The key is named only where the archive holds several parts.
    where = where if found[0] in ("rows", "x") else f"{where}:{found[0]}"
    names = _checked(names, where) if "columns" in arrays else names
    beside = arrays.get(
        found[1].replace("labels", "domains") if "labels" in found[1] else found[1].replace("y", "d", 1)
    )
    columns = {name: to_cells(rows[:, place], where) for place, name in enumerate(names)}
    return Table(where, columns, None if labels is None else labels.reshape(-1), classes, beside)


def to_cells(values: Any, where: str) -> Cells:
    """A vector of numbers, truth values or texts as the cells of a column.

    Raises:
        DataError: not a vector, or of another type.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{where}: shape {array.shape}; a column is a vector")
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    if array.dtype.kind in "bUS":
        return [cell.decode("utf-8", "backslashreplace") if isinstance(cell, bytes) else str(cell) for cell in array]
    if array.dtype.kind == "O" and all(cell is None or isinstance(cell, str | bool | int | float) for cell in array):
        return ["" if cell is None or cell != cell else str(cell) for cell in array]
    raise DataError(f"{where}: type {array.dtype}; a column holds numbers, truth values or texts")
