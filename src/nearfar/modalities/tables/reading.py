"""Reads tables from a file, a folder of two files, a NumPy archive, or columns in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nearfar.data.labels import encode_labels
from nearfar.data.source import ArraySource, ids_by_content, number_alike, row_digests
from nearfar.data.split import TEST_NAMES, TRAIN_NAMES
from nearfar.errors import DataError
from nearfar.modalities.peek import TABLE_EXTENSIONS

from ..archives import printable
from .files import Table, has_test_part, read_table, to_cells
from .schema import Wishes, columns_of, encode, infer

LABEL_COLUMNS = ("label", "class", "target", "labels", "category")
MOST_CLASSES = 1000  # a column of labels that is only guessed has fewer

log = logging.getLogger(__name__)


def read(
    path: str | Path,
    *,
    like: Mapping[str, Any] | None = None,
    part: Literal["train", "test"] = "train",
    label_column: str | None = None,
    domain_column: str | None = None,
    duplicates: Literal["same-id", "own-id"] = "same-id",
    **wishes: Any,
) -> ArraySource:
    """Read a table to rows (C,) float32, one place for each column (see `schema`).

    `path` is one of:

    - a .csv (comma, or semicolon or tab when the header has no comma), .tsv or .parquet file with a header;
    - an .npz archive with `rows` (or `x`, `x_train`) of shape (N, C) and perhaps `labels` (`y`, `y_train`), `classes`,
      `domains` and `columns` (names), or with one vector for every column;
    - a folder with `train.csv` (or .tsv, .parquet) and perhaps `test.csv`, or with a single table.

    Args:
        like: `describe()` of the rows that an encoder was trained on: the same columns are read, in the same order and
            by the same medians, scales and categories, wherever they stand; further columns are named in `unused`.
        part: which part to read of data that come in parts.
        label_column: the column of labels, guessed (label, class, target, ...) when None; "" for none.
        domain_column: the column that says where a row comes from; none when None. It is no column of the rows then.
        duplicates: "same-id" gives rows with equal cells one id, so that they are never far apart; "own-id" numbers
            the rows.
        wishes: `drop`, `categories`, `numbers`, `missing`, `max_categories` (see `TableOptions`).

    Raises:
        DataError: nothing there, not readable, a faulty cell, a missing column; says where and what to do.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{printable(path)}: no such file or folder")
    file = find_part(path, part) if path.is_dir() else path
    if file is None or (part == "test" and file == path and file.suffix.lower() != ".npz"):
        raise DataError(f"{printable(path)}: there is no test part: no train.csv and test.csv")
    details = {"part": part, "path": printable(path)}
    table = read_table(file, part)
    domains = _domains(table, domain_column, like is not None)
    found = source_of(table, Wishes(**wishes), like, label_column, duplicates == "same-id", details)
    return found.in_domains(domains, f"{table.where}, domains")


def read_pair(path: str | Path, **settings: Any) -> tuple[ArraySource, ArraySource | None]:
    """Read the training part and, if there is one, the test part; the test part by the schema of the training part.

    Args:
        path: as for `read`.
        settings: further settings of `read`.

    Raises:
        DataError: as for `read`.
    """
    path = Path(path).expanduser()
    train = read(path, part="train", **settings)
    archive = path.suffix.lower() == ".npz" and path.is_file()
    if not (has_test_part(path) if archive else path.is_dir() and find_part(path, "test") is not None):
        return train, None
    test = read(path, part="test", **{**settings, "like": train.describe()})
    number_alike(train, test)
    return train, test


def read_columns(
    columns: Mapping[str, Any], labels: Any = None, like: Mapping[str, Any] | None = None, **wishes: Any
) -> ArraySource:
    """A source of columns in memory: vectors of numbers, truth values or texts by name, such as `dict(frame)`.

    Raises:
        DataError: columns of different lengths, or faulty cells.

    >>> source = read_columns({"age": [31, 25, np.nan], "job": ["cook", "smith", "cook"]})
    >>> source.rows(slice(0, 3))[:, 1].tolist(), source.details["columns"][1]["categories"]
    ([2.0, 3.0, 2.0], ['cook', 'smith'])
    """
    table = Table("columns", {str(name): to_cells(cells, f"columns[{name}]") for name, cells in columns.items()})
    if len({len(cells) for cells in table.columns.values()}) != 1:
        raise DataError("columns must have one length, not " + ", ".join(f"{n}: {len(c)}" for n, c in columns.items()))
    table.labels = None if labels is None else np.asarray(labels)
    return source_of(table, Wishes(**wishes), like, "", True, {"part": "train", "path": "columns"})


def source_of(
    table: Table,
    wishes: Wishes,
    like: Mapping[str, Any] | None,
    label_column: str | None,
    by_content: bool,
    details: dict[str, Any],
) -> ArraySource:
    """Rows, labels and facts of a table that was read."""
    label = _label_column(table, label_column, like)
    labels, classes = _labels(table, label, label_column)
    left_out: dict[str, str] = {}
    if label is not None and labels is None:
        left_out[label] = "named like labels, but not whole numbers or texts of a limited number"
    if like is None:
        columns, more = infer(table, wishes, label)
        left_out |= more
    else:
        columns = columns_of(like)
        known = {label, *(column.name for column in columns)}
        details["unused"] = [name for name in (*table.columns, *table.unreadable) if name not in known]
    if left_out:
        listed = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        log.warning("%s: left out: %s", table.where, listed)
    rows = encode(table, columns, wishes.missing)
    digests = row_digests(rows)
    details |= {"columns": [column.to_json() for column in columns], "left_out": left_out, "label_column": label}
    return ArraySource(
        "tables",
        rows,
        ids=ids_by_content(digests) if by_content else None,
        names=[f"{table.where}[{row}]" for row in range(len(rows))],
        labels=labels,
        classes=classes,
        details=details,
        digests=digests,
    )


def find_part(folder: Path, part: str) -> Path | None:
    """The table of a folder that is a part of the data; a single table is the training part."""
    tables = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLE_EXTENSIONS and file.is_file()]
    named = {file.stem.lower(): file for file in reversed(tables)}
    train = next((named[name] for name in TRAIN_NAMES if name in named), None)
    if part == "test":
        return None if train is None else next((named[name] for name in TEST_NAMES if name in named), None)
    if train is None and len(tables) == 1:
        return tables[0]
    if train is None:
        listed = ", ".join(file.name for file in tables) or "no tables"
        raise DataError(f"{printable(folder)}: holds {listed}; name one of them, or call one train.csv")
    return train


def _domains(table: Table, wanted: str | None, lenient: bool) -> Sequence[Any] | np.ndarray | None:
    """Where rows come from; the column is taken out of the table. With `lenient` it need not be there."""
    if wanted is None or (lenient and wanted not in table.columns):
        return table.domains
    if wanted not in table.columns:
        listed = ", ".join(table.columns)
        raise DataError(f"{table.where}: no column {wanted!r} (domain_column). Columns there are: {listed}")
    return table.columns.pop(wanted)


def _label_column(table: Table, wanted: str | None, like: Mapping[str, Any] | None) -> str | None:
    """The column that holds the labels, if any does."""
    if wanted == "" or table.labels is not None:
        return None
    trained = None if like is None else like.get("label_column")
    if wanted is not None:
        if wanted in table.columns:
            return wanted
        if wanted == trained:  # data to embed need no labels
            return None
        listed = ", ".join(table.columns)
        raise DataError(f"{table.where}: no column {wanted!r} (label_column). Columns there are: {listed}")
    if trained in table.columns:
        return trained
    features = set() if like is None else {values["name"] for values in like.get("columns", ())}
    by_guess = {name.strip().lower(): name for name in reversed(table.columns) if name not in features}
    return next((by_guess[guess] for guess in LABEL_COLUMNS if guess in by_guess), None)


def _labels(table: Table, label: str | None, wanted: str | None) -> tuple[np.ndarray | None, list[str]]:
    """Labels and the names of their classes; none where a guessed column does not hold classes."""
    if label is None:
        return (None, []) if table.labels is None else _given(table.labels, table.classes, table.where)
    cells = table.columns[label]
    where = f"{table.where}, column {label!r}"
    if isinstance(cells, list):
        numbers = [cell for cell in cells if cell]
        whole = True
        try:
            whole = bool((np.array(numbers, dtype=np.float64) % 1 == 0).all())
            cells = [cell and str(int(float(cell))) for cell in cells] if whole else cells
        except (ValueError, OverflowError):
            pass
    else:
        whole = bool((cells[~np.isnan(cells)] % 1 == 0).all())
    if not whole:
        if wanted is None:
            return None, []
        raise DataError(f"{where}: labels are classes, and these are numbers that are not whole; name another column")
    labels, classes = encode_labels(cells, where)
    return (None, []) if wanted is None and len(classes) >= MOST_CLASSES else (labels, classes)


def _given(labels: np.ndarray, names: Sequence[str] | None, where: str) -> tuple[np.ndarray, list[str]]:
    """Labels that stand beside the columns; whole numbers count into the names of classes, where there are any."""
    if names is None or labels.dtype.kind not in "iu":
        return encode_labels(labels, f"{where}, labels")
    wrong = np.flatnonzero((labels < -1) | (labels >= len(names)))
    if len(wrong):
        raise DataError(
            f"{where}, labels: row {wrong[0]} has label {labels[wrong[0]]}, but `classes` holds {len(names)} names"
        )
    return labels.astype(np.int64), list(names)
