"""The schema of a table: which columns are numbers and which categories, and how a cell becomes a number.

A row of a source is (C,) float32, one place for each column of the schema:

- a number is ``(value - median) / scale``, NaN where it is missing;
- a category is a code: 0 missing, 1 a value that the schema does not name, 2 + k its k-th value.

So a cell is one place whatever it holds, and what changes a cell changes all of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from nearfar.errors import DataError
from nearfar.modalities.peek import is_number

from .files import Cells, Table

MISSING_TEXTS = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null"})
MISSING, OTHER, FIRST = 0, 1, 2  # codes of a category
FEW = 20  # so many different values may be a category although some are numbers
WHOLE = re.compile(r"(-?\d+)\.0*")
FREE_TEXT = "text that is nearly always another"


@dataclass(frozen=True)
class Column:
    """A column that is learnt from.

    Attributes:
        name: its header.
        kind: "number" or "category".
        missing: how many cells of the training part were missing.
        median, scale: of a number; the scale is the interquartile range as that of a normal distribution,
            the standard deviation where it is zero.
        categories: the values of a category, sorted.
    """

    name: str
    kind: Literal["number", "category"]
    missing: int = 0
    median: float = 0.0
    scale: float = 1.0
    categories: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What the kind has, as plain values."""
        kept = ("median", "scale") if self.kind == "number" else ("categories",)
        values = asdict(self) | {"categories": list(self.categories)}
        return {key: values[key] for key in ("name", "kind", "missing", *kept)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Column:
        """The reverse of `to_json`."""
        return cls(**{**values, "categories": tuple(values.get("categories", ()))})


def columns_of(facts: Mapping[str, Any]) -> list[Column]:
    """The schema in what `Source.describe()` says.

    Raises:
        DataError: there is none, so the rows were not read as a table.
    """
    if not facts.get("columns"):
        raise DataError(
            "these rows say nothing of their columns; read them with nearfar.modalities.tables.reading.read or "
            "read_columns"
        )
    return [Column.from_json(values) for values in facts["columns"]]


@dataclass(frozen=True)
class Wishes:
    """What the user says of columns; see `TableOptions`."""

    drop: Sequence[str] = ()
    categories: Sequence[str] = ()
    numbers: Sequence[str] = ()
    missing: Sequence[str] = ()
    max_categories: int = 50

    def check(self, table: Table) -> None:
        """Refuse names that the table does not have."""
        there = {*table.columns, *table.unreadable}
        for setting in ("drop", "categories", "numbers"):
            for name in getattr(self, setting):
                if name not in there:
                    listed = ", ".join(table.columns)
                    raise DataError(f"{table.where}: no column {name!r} ({setting}). Columns there are: {listed}")


def infer(table: Table, wishes: Wishes, label: str | None) -> tuple[list[Column], dict[str, str]]:
    """The columns to learn from, in order, and those that are left out with the reason.

    Left out are: what was asked for, constants, running numbers, text of which more than half of the cells differ
    (names, keys, free text), and types that are neither numbers nor text; and of a category with more than
    `max_categories` values all but the most frequent.

    Raises:
        DataError: a cell of a number that is infinite or no number, or no column is left.
    """
    wishes.check(table)
    columns: list[Column] = []
    left_out = {name: reason for name, reason in table.unreadable.items() if name not in wishes.drop}
    left_out |= {name: "dropped as asked" for name in wishes.drop}
    for name, cells in table.columns.items():
        if name in wishes.drop or name == label:
            continue
        column, reason = _column(name, cells, table.where, wishes)
        if column is not None:
            columns.append(column)
        if reason:
            left_out[name] = reason
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        texts = [name for name, reason in left_out.items() if reason.startswith(FREE_TEXT)]
        hint = f". Where they are texts to learn from, name them: {_roles(texts)}" if texts else ""
        raise DataError(f"{table.where}: no column is left to learn from ({reasons or 'only labels'}){hint}")
    return columns, left_out


def _roles(names: Sequence[str]) -> str:
    """How to say that columns are texts."""
    alone = f"--set text_column={names[0]!r}"
    return (
        alone if len(names) < 2 else f"{alone}, or --set anchor_column={names[0]!r} --set positive_column={names[1]!r}"
    )


def encode(table: Table, columns: Sequence[Column], missing: Sequence[str] = ()) -> np.ndarray:
    """(N, C) float32: the rows of a table by a schema.

    Raises:
        DataError: a column is not there, or holds what its kind cannot.
    """
    lost = [column.name for column in columns if column.name not in table.columns]
    if lost:
        raise DataError(
            f"{table.where}: no column {', '.join(map(repr, lost))}, which the encoder was trained with. Columns there "
            f"are: {', '.join(table.columns)}"
        )
    rows = np.empty((table.rows, len(columns)), dtype=np.float32)
    for place, column in enumerate(columns):
        cells = table.columns[column.name]
        if column.kind == "number":
            values = _numbers(cells, table.where, column.name, missing)
            rows[:, place] = (values - column.median) / column.scale + 0.0  # no -0, which has other bytes
        else:
            rows[:, place] = _codes(cells, column, table.where, missing)
    rows[np.isnan(rows)] = np.nan  # one NaN for all, so that equal rows have equal bytes
    return rows


def expand(rows: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """(N, D) float32: numbers (0, the median, where missing), flags of those that training missed, one-hot codes."""
    parts = []
    for place, column in enumerate(columns):
        cells = rows[:, place]
        if column.kind == "number":
            parts.append(np.nan_to_num(cells, nan=0.0)[:, None])
            if column.missing:
                parts.append(np.isnan(cells)[:, None])
        else:
            parts.append(cells[:, None] == np.arange(FIRST + len(column.categories)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def spelt(rows: np.ndarray, columns: Sequence[Column], most: int = 12) -> list[str]:
    """Encoded rows (N, C) in words, the first columns of many; a value that the schema does not name is "other".

    >>> columns = [Column("age", "number", median=30, scale=2), Column("job", "category", categories=("cook", "smith"))]
    >>> spelt(np.array([[0.5, 3], [np.nan, 1]]), columns)
    ['age 31, job smith', 'age missing, job other']
    """
    left = f", and {len(columns) - most} more" if len(columns) > most else ""
    return [
        ", ".join(f"{column.name} {_spelt(cell, column)}" for column, cell in zip(columns[:most], row, strict=False))
        + left
        for row in rows.tolist()
    ]


def _spelt(cell: float, column: Column) -> str:
    if column.kind == "number":
        return "missing" if np.isnan(cell) else f"{cell * column.scale + column.median:.6g}"
    return ("missing", "other", *column.categories)[int(cell)]


def _column(name: str, cells: Cells, where: str, wishes: Wishes) -> tuple[Column | None, str]:
    """A column, or None; and what of it is left out and why, "" for nothing."""
    if name in wishes.numbers or (name not in wishes.categories and isinstance(cells, np.ndarray)):
        return _number(name, cells, where, wishes)
    texts = _texts(cells, wishes.missing)
    counts = Counter(text for text in texts if text)
    filled = sum(counts.values())
    if name not in wishes.categories and _looks_numeric(counts, filled):
        return _number(name, cells, where, wishes)
    if not counts or (len(counts) == 1 and filled == len(texts)):
        return None, f"the same everywhere: {next(iter(counts))[:40]!r}" if counts else "empty"
    if name not in wishes.categories and len(counts) > max(filled / 2, FEW / 2):
        return None, f"{FREE_TEXT}: {len(counts)} different in {filled} cells"
    kept = [text for text, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: wishes.max_categories]]
    lost = "" if len(kept) == len(counts) else f"all but the {len(kept)} most frequent of its {len(counts)} values"
    return Column(name, "category", len(texts) - filled, categories=tuple(sorted(kept))), lost


def _number(name: str, cells: Cells, where: str, wishes: Wishes) -> tuple[Column | None, str]:
    values = _numbers(cells, where, name, wishes.missing)
    known = values[~np.isnan(values)]
    if not len(known) or (len(known) == len(values) and (known == known[0]).all()):
        return None, f"the same everywhere: {known[0]:g}" if len(known) else "empty"
    whole = len(known) == len(values) and bool((values == np.rint(values)).all())
    if name not in wishes.numbers and whole and len(values) > 2 and (np.diff(values) == 1).all():
        return None, "a running number"
    low, median, high = np.percentile(known, (25, 50, 75))
    scale = (high - low) / 1.349 or known.std() or 1.0
    return Column(name, "number", len(values) - len(known), float(median), float(scale)), ""


def _looks_numeric(counts: Counter[str], filled: int) -> bool:
    """Whether texts are numbers, all of them or so nearly that the others must be faults."""
    faults = sum(count for text, count in counts.items() if not is_number(text))
    return bool(counts) and (not faults or (faults <= filled / 10 and len(counts) > min(FEW, filled / 2)))


def _numbers(cells: Cells, where: str, name: str, missing: Sequence[str]) -> np.ndarray:
    """(N,) float64 with NaN for missing.

    Raises:
        DataError: an infinite number, or a text that is none; names row and column.
    """
    if isinstance(cells, np.ndarray):
        values = cells
    else:
        values = np.full(len(cells), np.nan)
        for row, text in enumerate(_texts(cells, missing)):
            if text and not is_number(text):
                raise DataError(
                    f"{where}[{row}]: column {name!r} holds numbers, and {text[:40]!r} is none. Mend the cell, say "
                    "that it stands for missing (missing), take the column as categories, or leave it out (drop)"
                )
            if text:
                values[row] = float(text)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(f"{where}[{infinite[0]}]: column {name!r} is infinite; write a number, or leave the cell blank")
    return values


def _texts(cells: Cells, missing: Sequence[str]) -> list[str]:
    """Cells as texts, "" for missing; one spelling for whole numbers and for truth values."""
    if isinstance(cells, np.ndarray):
        return ["" if np.isnan(v) else str(int(v)) if v.is_integer() else repr(float(v)) for v in cells]
    gone = MISSING_TEXTS | {text.lower() for text in missing}
    spelt: dict[str, str] = {}
    for cell in set(cells):
        whole, lower = WHOLE.fullmatch(cell), cell.lower()
        spelt[cell] = "" if lower in gone else whole[1] if whole else lower if lower in ("true", "false") else cell
    return [spelt[cell] for cell in cells]


def _codes(cells: Cells, column: Column, where: str, missing: Sequence[str]) -> np.ndarray:
    """Codes of a category.

    Raises:
        DataError: all cells are numbers and no category is, so that the column must be another one.
    """
    texts = _texts(cells, missing)
    code_of = {text: FIRST + code for code, text in enumerate(column.categories)} | {"": MISSING}
    codes = np.array([code_of.get(text, OTHER) for text in texts], dtype=np.float32)
    found = {text for text in texts if text}
    unlike = all(map(is_number, found)) and not any(map(is_number, column.categories))
    if found and unlike and not found & set(column.categories):
        raise DataError(
            f"{where}: column {column.name!r} holds numbers such as {min(found)}, where the encoder was trained with "
            f"categories such as {column.categories[0]!r}; give the same column"
        )
    return codes
