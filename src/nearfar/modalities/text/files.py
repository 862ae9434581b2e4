"""Rows of named cells from text files, CSV, JSON, Parquet and Arrow, as a stream; nothing is interpreted yet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from nearfar.errors import DataError

from ..archives import printable
from ..peek import delimiter_of
from .columnar import COLUMNAR, open_columnar
from .findings import Findings
from .lines import COMPRESSED, lines

KINDS = {
    ".txt": "text",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    **{suffix: "columnar" for suffix in COLUMNAR},
}
HEAD = 1000  # rows that say which columns there are
TEXT, ANCHOR, POSITIVE, NEGATIVE = "text", "anchor", "positive", "negative"

Row = tuple[str, dict[str, Any]]
"""Where it stands, such as "t.csv:17", and its cells by the name of the column."""


@dataclass
class Table:
    """Rows that can be walked through as often as one likes.

    Attributes:
        where: what messages call it.
        names: its columns, in order.
        walk: rows with the cells of (at least) some columns; faults go to the findings.
        classes: names of the numbers in a column, where the file says them.
    """

    where: str
    names: list[str]
    walk: Callable[[Sequence[str], Findings], Iterator[Row]]
    classes: dict[str, list[str]] = field(default_factory=dict)

    def head(self, rows: int = HEAD) -> list[dict[str, Any]]:
        """The cells of the first rows that are sound."""
        return [cells for _, cells in islice(self.walk(self.names, Findings()), rows)]


def kind_of(path: Path) -> str | None:
    """How a file is read, by its name: "text", "csv", "json", "columnar", or None where it is not.

    >>> kind_of(Path("a.CSV")), kind_of(Path("a.jsonl.gz")), kind_of(Path("a.png"))
    ('csv', 'json', None)
    """
    kind = KINDS.get(plain(path).suffix.lower())
    return None if kind == "columnar" and plain(path) != path else kind


def plain(path: Path) -> Path:
    """A file name without the ending that says how it is compressed."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED else path


def open_table(path: Path, encoding: str | None = None, unnamed: Sequence[str] = ()) -> Table:
    """A file as a table; a text file has one column, `text`, and a row for each line.

    Args:
        unnamed: columns of a .csv or .tsv file without a header: one that has so many and begins with a number.

    Raises:
        DataError: unreadable, empty, or of another kind.
    """
    kind = kind_of(path)
    if kind is None:
        raise DataError(f"{printable(path)}: cannot read texts from this. Files that are read end in {' '.join(KINDS)}")
    if kind == "columnar":
        where, names, walk, classes = open_columnar([path])
        return Table(where, names, walk, classes)
    if kind == "csv":
        table = _csv_table(path, encoding, unnamed)
    else:
        table = {"text": _text_table, "json": _json_table}[kind](path, encoding)
    if not table.names:
        raise DataError(f"{table.where}: the file is empty")
    return table


def joined(tables: Sequence[Table]) -> Table:
    """The rows of several tables, one after another.

    Raises:
        DataError: their columns differ.
    """
    first = tables[0]
    for other in tables[1:]:
        if set(other.names) != set(first.names):
            raise DataError(
                f"{first.where} has the columns {', '.join(first.names)}, but {other.where} has "
                f"{', '.join(other.names)}; parts of one table have the same"
            )
    if len(tables) == 1:
        return first

    def walk(names: Sequence[str], found: Findings) -> Iterator[Row]:
        return chain.from_iterable(table.walk(names, found) for table in tables)

    return Table(first.where, first.names, walk, first.classes)


def text_rows(path: Path, encoding: str | None, found: Findings) -> Iterator[Row]:
    """A row for each line of a text file."""
    where = printable(path)
    for number, line in enumerate(lines(path, encoding, found), 1):
        yield f"{where}:{number}", {TEXT: line}


def _text_table(path: Path, encoding: str | None) -> Table:
    some = any(True for _ in lines(path, encoding, Findings()))
    return Table(printable(path), [TEXT] if some else [], lambda names, found: text_rows(path, encoding, found))


def _csv_table(path: Path, encoding: str | None, unnamed: Sequence[str] = ()) -> Table:
    where = printable(path)
    header = next(lines(path, encoding, Findings()), "")
    delimiter = delimiter_of(header, plain(path))
    quoting = _quoting(path, encoding, delimiter)
    mark = {",": "a comma", ";": "a semicolon", "\t": "a tab"}[delimiter]

    def cells(found: Findings) -> Iterator[tuple[int, list[str]]]:
        with _long_cells():
            reader = csv.reader(lines(path, encoding, found, newline=""), delimiter=delimiter, quoting=quoting)
            begin = 1
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise DataError(f"{where}:{begin}: not a readable table: {error}") from error
                yield begin, row
                begin = reader.line_num + 1

    names = next((row for _, row in cells(Findings()) if row), [])
    headed = not unnamed or len(names) != len(unnamed) or not names[0].strip().isdigit()
    names = [name.strip() or f"column {place}" for place, name in enumerate(names if headed else unnamed, 1)]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"{where}: two columns are called {twice[:60]!r}; the first row must name every column once")

    def walk(wanted: Sequence[str], found: Findings) -> Iterator[Row]:
        rows = cells(found)
        if headed:
            next((row for _, row in rows if row), None)
        for number, row in rows:
            if len(row) == len(names):
                yield f"{where}:{number}", dict(zip(names, row, strict=True))
            elif not row:
                found.skip(f"{where}:{number}", "an empty row")
            else:
                reason = f"{len(row)} cells, but the header names {len(names)} columns"
                found.skip(f"{where}:{number}", f"{reason} (a cell with {mark} or a line break needs quotation marks)")

    return Table(where, names, walk)


def _quoting(path: Path, encoding: str | None, delimiter: str) -> Literal[0, 3]:
    """Whether quotation marks enclose cells: in a table with tabs only if that makes sense of all the first rows."""
    if delimiter != "\t":
        return csv.QUOTE_MINIMAL
    with _long_cells():
        head = islice(lines(path, encoding, Findings(), newline=""), HEAD)
        try:
            rows = list(csv.reader(head, delimiter=delimiter, strict=True))
        except csv.Error:
            return csv.QUOTE_NONE
    marked = any(line.lstrip('"') != line or '\t"' in line for line in islice(lines(path, encoding, Findings()), HEAD))
    return csv.QUOTE_MINIMAL if marked and len({len(row) for row in rows if row}) == 1 else csv.QUOTE_NONE


@contextmanager
def _long_cells() -> Iterator[None]:
    """Cells of any length, which Python otherwise takes for a fault from 131,072 characters on."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _json_table(path: Path, encoding: str | None) -> Table:
    where = printable(path)
    first = next((line for line in lines(path, encoding, Findings()) if line.strip()), "").strip()
    if first.startswith("[") and not (_parsed(first) and plain(path).suffix.lower() != ".json"):
        rows = _json_array(path, encoding, where)
    elif first == "{":
        raise DataError(f"{where}: one JSON object; write a list of objects, [{{...}}, ...], or an object on each line")
    else:

        def rows(found: Findings) -> Iterator[tuple[str, Any]]:
            for number, line in enumerate(lines(path, encoding, found), 1):
                place = f"{where}:{number}"
                if not line.strip():
                    found.skip(place, "an empty row")
                    continue
                try:
                    yield place, json.loads(line)
                except (ValueError, RecursionError) as error:
                    reason = str(getattr(error, "msg", error)).removesuffix(" at")
                    found.skip(place, f"not JSON: {reason} at character {getattr(error, 'pos', 0) + 1}")

    def walk(names: Sequence[str], found: Findings) -> Iterator[Row]:
        for place, value in rows(found):
            cells = _cells(value)
            if cells is None:
                found.skip(place, f"a JSON {type(value).__name__}, not an object of named values")
            else:
                yield place, cells

    names = list(dict.fromkeys(name for _, row in islice(walk([], Findings()), HEAD) for name in row))
    if first and not names:
        walked = Findings()
        next(walk([], walked), None)
        reason = f"{walked.skipped[0].name}: {walked.skipped[0].reason}" if walked.skipped else "no object has a value"
        raise DataError(f"{where}: no rows of named values; {reason}")
    return Table(where, names, walk)


def _json_array(path: Path, encoding: str | None, where: str) -> Callable[[Findings], Iterator[tuple[str, Any]]]:
    try:
        values = json.loads("".join(lines(path, encoding, Findings())))
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{where}:{line}: not JSON: {getattr(error, 'msg', error)}; mend it") from None

    def rows(found: Findings) -> Iterator[tuple[str, Any]]:
        return ((f"{where}[{place}]", value) for place, value in enumerate(values))

    return rows


def _cells(value: Any) -> dict[str, Any] | None:
    """Named values; of a list of texts the first is the anchor, the second the positive, the others negatives."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {TEXT: value}
    if isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value):
        named = {ANCHOR: value[0], POSITIVE: value[1]}
        return named | {f"{NEGATIVE}_{place}": text for place, text in enumerate(value[2:], 1)}
    return None


def _parsed(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
