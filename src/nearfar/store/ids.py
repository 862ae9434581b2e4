"""Ids that were chosen elsewhere, such as on a map, as a filter."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from nearfar.errors import ConfigError, DataError

from .lance import quoted
from .table import Store

KINDS = (".txt", ".csv", ".json", ".jsonl", ".parquet")


def read_ids(path: str | Path) -> list[str]:
    """Ids from a file: one a line (.txt), or the column `id` of a table, a list of objects or strings, or Parquet.

    Raises:
        ConfigError: another kind of file. DataError: there is no file, no column `id`, or no id.
    """
    path = Path(path).expanduser()
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: ids are read from {', '.join(KINDS)}")
    if not path.is_file():
        raise DataError(f"{path}: there is no file")
    try:
        found = _read(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    except KeyError:
        raise DataError(f"{path} has no column 'id'") from None
    if not found:
        raise DataError(f"{path} has no ids")
    return list(dict.fromkeys(found))


def _read(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return [str(one) for one in pq.read_table(path, columns=["id"])["id"].to_pylist()]
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".txt":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if path.suffix == ".csv":
        return [row["id"] for row in csv.DictReader(text.splitlines())]
    rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
    return [row if isinstance(row, str) else str(row["id"]) for row in rows]


def only(store: Store, ids: list[str], where: str | None = None) -> str:
    """A filter that lets rows of these ids pass, if they pass another one too.

    Raises:
        DataError: there is no row of some id.
    """
    there = set(store.among(ids))
    missing = next((one for one in ids if one not in there), None)
    if missing is not None:
        raise DataError(f"{store.path} has no row {missing!r}")
    chosen = f"id IN ({', '.join(quoted(one) for one in ids)})"
    return chosen if where is None else f"({where}) AND {chosen}"
