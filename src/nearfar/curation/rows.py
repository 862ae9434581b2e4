"""Rows of a store for those who need them all at once, and what can be shown of some of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.run import save
from nearfar.store import Store
from nearfar.store.lance import as_matrix, quoted

SHOWN = ("label", "text", "name", "thumbnail")  # columns that are looked at
_BLOCK = 1024


@dataclass(frozen=True)
class Rows:
    """Ids (N), unit vectors (N, D) float32, and labels (N,) as numbers of `classes`, -1 unknown."""

    ids: list[str]
    vectors: np.ndarray
    labels: np.ndarray
    classes: list[str]

    def __len__(self) -> int:
        return len(self.ids)


def units(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float32; a row of zeros stays zero.

    >>> units(np.array([[3.0, 4.0], [0.0, 0.0]])).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    found: np.ndarray = (wide / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)
    return found


def read(store: Store, where: str | None = None, label: str | None = "label", least: int = 2) -> Rows:
    """All rows that pass a filter, with the labels of a column where there is one.

    Raises:
        DataError: fewer than `least` rows pass. ConfigError: the filter cannot be used.
    """
    named = label is not None and label in store.columns
    ids: list[str] = []
    values: list[Any] = []
    parts = [np.empty((0, store.width), np.float32)]
    for batch in store.blocks(where, ["id", "vector", *([label] if named and label else [])]):
        ids += batch["id"].to_pylist()
        parts.append(units(as_matrix(batch["vector"], store.width)))
        values += batch[label].to_pylist() if named else [None] * len(batch)
    require(store, len(ids), least, where)
    classes = sorted({str(one) for one in values if one is not None})
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([-1 if one is None else number[str(one)] for one in values], dtype=np.int64)
    return Rows(ids, np.concatenate(parts), labels, classes)


def require(store: Store, count: int, least: int, where: str | None = None) -> None:
    """Refuse too few rows.

    Raises:
        DataError: says how many there are.
    """
    if count < least:
        passing = " that pass the filter" if where else ""
        raise DataError(f"{store.path} has {count} rows{passing}, and this compares at least {least}; embed more data")


def labelled(store: Store, rows: Rows, label: str, classes: int = 2) -> np.ndarray:
    """Numbers of the rows that have a label.

    Raises:
        ConfigError: there is no such column. DataError: it has no labels, or of fewer than `classes` kinds.
    """
    if label not in store.columns:
        raise ConfigError(f"{store.path} has no column {label!r}; it has {', '.join(store.columns) or 'no columns'}")
    known = np.flatnonzero(rows.labels >= 0)
    if not len(known):
        raise DataError(f"the column {label!r} of {store.path} has no labels; name another with --label-column")
    if len(rows.classes) < classes:
        raise DataError(f"all labels of {store.path} are {rows.classes[0]!r}; at least {classes} kinds are needed")
    return known


def shown(store: Store, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of some rows what people look at: label, text, name, thumbnail, as far as there are such columns."""
    columns = [name for name in SHOWN if name in store.columns]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), _BLOCK):
        some = ", ".join(quoted(one) for one in ids[start : start + _BLOCK])
        for batch in store.blocks(f"id IN ({some})", ["id", *columns]):
            for row in batch.to_pylist():
                row.pop("_rowid", None)
                found[row.pop("id")] = row
    return found


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """A table of comma-separated values, or of JSON objects where the name ends in .json, whole or not at all."""
    if path.suffix == ".json":
        return save(path, json.dumps([dict(zip(head, row, strict=True)) for row in rows], indent=1).encode())
    if path.suffix != ".csv":
        raise ConfigError(f"{path}: tables are written to .csv or .json")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return save(path, text.getvalue().encode())
