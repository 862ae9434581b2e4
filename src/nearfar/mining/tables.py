"""Mined negatives as files: every line with its provenance, and the form that `nearfar fit` reads."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ConfigError

from .mining import Mined

KINDS = (".parquet", ".jsonl", ".csv")
Column = Sequence[Any]


def check_kind(path: str | Path) -> Path:
    """The path, whose ending says what is written.

    Raises:
        ConfigError: another ending than .parquet, .jsonl or .csv.
    """
    path = Path(path).expanduser()
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: the ending says what to write, one of {', '.join(KINDS)}, not {path.suffix!r}")
    return path


def lines_of(mined: Mined, query_ids: Column, document_ids: Column) -> dict[str, list[Any]]:
    """The columns query, document, score, rank, positive_score, reason and miner of some mined lines.

    `miner` says which miners found the document, and at which rank: "exact:3 bm25:17".
    """
    places = [[f"{name}:{rank}" if rank else "" for rank in ranks] for name, ranks in mined.found.items()]
    return {
        "query": [query_ids[row] for row in mined.query],
        "document": [document_ids[row] for row in mined.document],
        "score": mined.score.tolist(),
        "rank": mined.place.tolist(),
        "positive_score": [None if np.isnan(near) else float(near) for near in mined.near],
        "reason": [mined.reasons[number] for number in mined.reason],
        "miner": [" ".join(filter(None, line)) for line in zip(*places, strict=True)],
    }


def training_of(
    rows: np.ndarray, negatives: np.ndarray, positives: np.ndarray, queries: Column, documents: Column
) -> dict[str, list[Any]]:
    """The columns anchor, positive, negative_1 ... negative_H: a line for each known positive of a query.

    Args:
        rows: (B,) queries. negatives: (B, H) and positives: (B, P) documents, -1 behind the last.
        queries, documents: what to write for each: texts, ids or paths.

    Queries without a positive, or without any negative, give no line; a missing negative is an empty cell.
    """
    lines, columns = np.nonzero((positives >= 0) & (negatives >= 0).any(axis=1, keepdims=True))
    out = {
        "anchor": [queries[rows[line]] for line in lines],
        "positive": [documents[row] for row in positives[lines, columns]],
    }
    for number, column in enumerate(negatives.T, start=1):
        out[f"negative_{number}"] = [documents[row] if row >= 0 else "" for row in column[lines]]
    return out


def write_table(path: str | Path, tables: Iterable[dict[str, list[Any]]]) -> int:
    """Write tables of the same columns one behind the other; whole or not at all. Returns the number of lines.

    Raises:
        ConfigError: another ending than .parquet, .jsonl or .csv. ImportError: .parquet without pyarrow.
    """
    path = check_kind(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    lines = {".parquet": _parquet, ".jsonl": _jsonl, ".csv": _csv}[path.suffix](unfinished, iter(tables))
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return lines


def _parquet(path: Path, tables: Iterator[dict[str, list[Any]]]) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            "writing .parquet needs pyarrow: pip install 'nearfar[text]', or write .jsonl or .csv"
        ) from None
    lines, writer = 0, None
    for table in _with_lines(tables):
        # A column without any value in one part must have the type that it has in the next.
        kinds = {"positive_score": pyarrow.float64()}
        columns = {key: pyarrow.array(values, type=kinds.get(key)) for key, values in table.items()}
        made = pyarrow.table(columns)
        writer = writer or pyarrow.parquet.ParquetWriter(path, made.schema)
        writer.write_table(made.cast(writer.schema))
        lines += len(made)
    if writer is not None:
        writer.close()
    return lines


def _with_lines(tables: Iterator[dict[str, list[Any]]]) -> Iterator[dict[str, list[Any]]]:
    """Those that have lines, or one that has none: an empty column does not say of what type it is."""
    empty, any_lines = None, False
    for table in tables:
        if next(iter(table.values())):
            any_lines = True
            yield table
        else:
            empty = table
    if not any_lines and empty is not None:
        yield empty


def _jsonl(path: Path, tables: Iterator[dict[str, list[Any]]]) -> int:
    lines = 0
    with open(path, "w", encoding="utf-8") as file:
        for table in tables:
            for values in zip(*table.values(), strict=True):
                file.write(json.dumps(dict(zip(table, values, strict=True)), ensure_ascii=False) + "\n")
                lines += 1
    return lines


def _csv(path: Path, tables: Iterator[dict[str, list[Any]]]) -> int:
    lines = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(tables):
            writer = csv.writer(file)
            if number == 0:
                writer.writerow(table)
            rows = list(zip(*table.values(), strict=True))
            writer.writerows(rows)
            lines += len(rows)
    return lines
