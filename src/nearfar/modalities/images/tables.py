"""Image files named in a CSV, TSV or Parquet table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nearfar.data.source import Skipped
from nearfar.errors import DataError
from nearfar.modalities.archives import printable
from nearfar.modalities.images.files import Listing

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet")
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
LABEL_COLUMNS = ("label", "class", "target", "labels", "category")

Load = Callable[[str], list[Any]]  # the values of a column, by its name


def list_table(
    table: Path,
    path_column: str | None = None,
    label_column: str | None = None,
    domain_column: str | None = None,
    lenient: bool = False,
) -> Listing:
    """Read file names, relative to the table's folder, and labels and domains if there are any, from a table.

    Args:
        table: .csv (comma, or semicolon when the header has no comma), .tsv or .parquet, with a header.
        path_column: column of file names; guessed from `PATH_COLUMNS` when None.
        label_column: column of labels; guessed from `LABEL_COLUMNS` when None, and none is fine.
        domain_column: column of domains; none when None. With `lenient` it need not be there.

    Raises:
        DataError: no such column (names it, the file and the columns there are), or no rows.
    """
    names, load = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_text(table)
    path_name = _choose(table, names, path_column, PATH_COLUMNS, "path_column")
    if path_name is None:
        raise DataError(
            f"{printable(table)}: no column of file names: none of {', '.join(PATH_COLUMNS)}. "
            f"Columns there are: {', '.join(names)}. Name one with path_column=."
        )
    label_name = _choose(table, names, label_column, LABEL_COLUMNS, "label_column")
    if lenient and domain_column not in names:
        domain_column = None
    domain_name = _choose(table, names, domain_column, (), "domain_column")
    paths = load(path_name)
    labels = None if label_name is None else load(label_name)
    domains = None if domain_name is None else load(domain_name)
    if not paths:
        raise DataError(f"{printable(table)}: the table has a header but no rows")

    listing = Listing(labels=None if labels is None else [], domains=None if domains is None else [])
    for row, value in enumerate(paths):
        if not isinstance(value, str) or not value.strip():
            blank = value is None or isinstance(value, str)
            reason = "the row names no file" if blank else f"a {type(value).__name__}, not a file name"
            listing.skipped.append(Skipped(f"{printable(table)}[{row}]", reason))
            continue
        file = table.parent / value.strip()
        listing.files.append(file)
        listing.names.append(printable(file))
        if labels is not None and listing.labels is not None:
            listing.labels.append(labels[row])
        if domains is not None and listing.domains is not None:
            listing.domains.append(domains[row])
    return listing


def _choose(table: Path, names: Sequence[str], wanted: str | None, guesses: Sequence[str], setting: str) -> str | None:
    if wanted is not None:
        if wanted not in names:
            raise DataError(
                f"{printable(table)}: no column {wanted!r} ({setting}). Columns there are: {', '.join(names)}"
            )
        return wanted
    by_guess = {name.strip().lower(): name for name in reversed(names)}
    return next((by_guess[guess] for guess in guesses if guess in by_guess), None)


def _read_text(table: Path) -> tuple[list[str], Load]:
    # surrogateescape is how Python itself spells file names that are not UTF-8, so such names find their file.
    try:
        with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            header = stream.readline()
            stream.seek(0)
            delimiter = "\t" if table.suffix.lower() == ".tsv" else ";" if ";" in header and "," not in header else ","
            rows = [row for row in csv.reader(stream, delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"{printable(table)}: not a readable table: {error}") from error
    except OSError as error:
        raise DataError(f"{printable(table)}: cannot be read: {error.strerror}") from error
    if not rows:
        raise DataError(f"{printable(table)}: the table is empty; it needs a header and rows")
    names = rows[0]

    def load(name: str) -> list[Any]:
        place = names.index(name)
        return [row[place] if place < len(row) else "" for row in rows[1:]]  # a short row has blanks at its end

    return names, load


def _read_parquet(table: Path) -> tuple[list[str], Load]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("reading Parquet needs pyarrow: pip install 'nearfar[images]'") from error
    try:
        file = pq.ParquetFile(table)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{printable(table)}: not a readable Parquet file: {error}") from error

    def load(name: str) -> list[Any]:
        try:
            return file.read(columns=[name]).column(name).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{printable(table)}: column {name!r} is damaged: {error}") from error

    return list(file.schema_arrow.names), load
