"""Judgments of what is relevant to what: which files hold them, and what stands in their lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.data.split import TEST_NAMES, TRAIN_NAMES
from nearfar.errors import DataError

from ..archives import printable
from .columns import plain_name
from .files import open_table, plain
from .findings import Findings
from .lines import lines
from .parts import CORPUS

QRELS = "qrels"
WHOLE = "all"  # the name of judgments that are not split
COLUMNS = (
    ("query_id", "qid", "query"),
    ("corpus_id", "docid", "doc_id", "document_id", "pid"),
    ("score", "grade", "relevance"),
)


def splits_of(folder: Path) -> dict[str, Path]:
    """Files of judgments by the name of their split."""
    found: dict[str, Path] = {}
    inner = folder / QRELS
    for file in sorted(inner.iterdir()) if inner.is_dir() else []:
        if file.is_file() and not file.name.startswith("."):
            found.setdefault(plain(file).stem.lower(), file)
    for file in sorted(folder.glob(f"{QRELS}*")):
        if file.is_file():
            stem = plain(file).stem.lower().removeprefix(QRELS).strip("._-")
            found.setdefault(stem or WHOLE, file)
    return found


def find_split(judged: dict[str, Path], part: str) -> str | None:
    """The name of the judgments that are a part of the data, if any are."""
    names = {"train": (*TRAIN_NAMES, WHOLE), "test": TEST_NAMES}.get(part, (part,))
    return next((name for name in names if name in judged), None)


def split_of(judged: dict[str, Path], wanted: str | None, folder: Path) -> str:
    """The name of the judgments that are wanted; the test part, or the only ones, where nothing is said.

    Raises:
        DataError: there are none of that name; lists those that there are.
    """
    found = find_split(judged, wanted or "test")
    if found is None and wanted is None and len(judged) == 1:
        found = next(iter(judged))
    if found is None:
        advice = f". To learn from the documents alone give {CORPUS[0]}.jsonl" if wanted == "train" else ""
        raise DataError(
            f"{printable(folder)}: no judgments of the split {wanted or 'test'!r}; there are "
            f"{', '.join(sorted(judged))}{advice}"
        )
    return found


def read_judgments(
    path: Path,
    encoding: str | None,
    found: Findings,
    known: tuple[dict[str, int], dict[str, int]],
    files: tuple[str, str],
) -> tuple[np.ndarray, dict[str, Any]]:
    """(R, 3) int64 query row, document row, grade; and how many different ids nobody knows."""
    judged: dict[tuple[int, int], int] = {}
    unknown: tuple[dict[str, None], dict[str, None]] = ({}, {})
    for place, fields in _fields(path, encoding, found):
        names, grade = fields[:2], fields[2]
        strange = [side for side in (0, 1) if names[side] not in known[side]]
        for side in strange:
            unknown[side][names[side]] = None
        if strange:
            what = " and ".join(
                f"{('query', 'document')[side]} {names[side]!r} is not in {files[side]}" for side in strange
            )
            found.skip(place, what)
            continue
        try:
            number = float(grade)
        except ValueError:
            number = 0.5
        if number % 1:
            found.skip(place, f"the grade {grade[:40]!r} is not a whole number")
            continue
        pair = known[0][names[0]], known[1][names[1]]
        if pair in judged:
            again = "again" if judged[pair] == number else f"with grade {judged[pair]} before, and now {grade}"
            found.skip(place, f"query {names[0]!r} and document {names[1]!r} are judged {again}; the first is kept")
        else:
            judged[pair] = int(number)
    rows = np.array([(*pair, grade) for pair, grade in judged.items()], np.int64).reshape(-1, 3)
    facts = {
        what: {"ids": len(ids), "first": list(ids)[:5]}
        for what, ids in zip(("queries", "documents"), unknown, strict=True)
        if ids
    }
    return rows, facts


def _fields(path: Path, encoding: str | None, found: Findings) -> Iterator[tuple[str, Sequence[str]]]:
    """Query, document and grade of each line, as they are written."""
    if plain(path).suffix.lower() in (".jsonl", ".ndjson", ".json", ".parquet", ".arrow"):
        table = open_table(path, encoding)
        spelt = {plain_name(name): name for name in reversed(table.names)}
        names = [next((spelt[name] for name in known if name in spelt), None) for known in COLUMNS]
        if None in names:
            raise DataError(
                f"{table.where}: judgments have query-id, corpus-id and score, not {', '.join(table.names)}"
            )
        for place, cells in table.walk([str(name) for name in names], found):
            yield place, [str(cells.get(str(name))) for name in names]
        return
    where, comma = printable(path), plain(path).suffix.lower() == ".csv"
    for number, line in enumerate(lines(path, encoding, found), 1):
        fields = line.strip().split("\t" if "\t" in line else "," if comma else None)
        fields = [field.strip() for field in fields if field.strip()]
        header = number == 1 and len(fields) > 1 and plain_name(fields[0]) in COLUMNS[0]
        if header or not fields:
            continue
        if len(fields) not in (2, 3, 4):
            found.skip(f"{where}:{number}", f"{len(fields)} words; a judgment is query, document and grade")
            continue
        yield (
            f"{where}:{number}",
            [fields[0], fields[-2 if len(fields) > 2 else 1], fields[-1] if len(fields) > 2 else "1"],
        )
