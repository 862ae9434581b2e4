"""Stores from files and to files: npy, npz, Parquet and Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.mining import open_vectors

from .lance import as_matrix
from .place import is_store, place_of
from .provenance import Provenance
from .table import BLOCK, Store

KINDS = (".npy", ".npz", ".parquet", ".arrow")


@dataclass
class _Content:
    """What a file holds: the types of its columns beside id and vector, and its rows in blocks."""

    width: int
    columns: dict[str, str]
    blocks: Iterator[tuple[list[str], np.ndarray, dict[str, list[Any]]]]


def import_file(path: str | Path, store: str | Path, encoder: str = "", vector: str = "vector") -> Store:
    """Put the vectors of a file into a store, a new one or one of the same origin.

    A .npy file names its rows by their number; an .npz is one of `nearfar embed` (`vectors`, `names`, `labels`); tables
    have a column of vectors, and perhaps `id`, beside which all columns of texts, numbers and truth values are taken.
    Rows whose ids are there already are left as they are, so that an import that was stopped can be run again.

    Args:
        path: .npy, .npz, .parquet, or .arrow (IPC, file format).
        store: its folder or address.
        encoder: what made the vectors, which a later import must say too.
        vector: name of the column of vectors.

    Raises:
        ConfigError: another kind of file, or vectors of another origin. DataError: the file cannot be read, an id
        stands in it twice, a vector holds NaN or has another width.
    """
    path, place = Path(path).expanduser(), place_of(store)
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: vectors are read from {', '.join(KINDS)}")
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    content = _arrays(path) if path.suffix in (".npy", ".npz") else _table(path, vector)
    origin = Provenance(encoder=encoder)
    if is_store(place):
        made = Store.open(place)
        made.provenance.require(origin, str(place))
    else:
        made = Store.create(place, content.width, origin, content.columns)
    seen: set[str] = set()
    with made.locked():
        for ids, vectors, columns in content.blocks:
            twice = next((one for one in ids if one in seen), None)
            if twice is not None or len(set(ids)) < len(ids):
                twice = twice or next(one for place_, one in enumerate(ids) if one in ids[:place_])
                raise DataError(f"{path}: the id {twice!r} stands there twice; ids must all differ")
            seen.update(ids)
            there = set(made.among(ids))
            new = [row for row, one in enumerate(ids) if one not in there]
            made.add(
                [ids[row] for row in new],
                vectors[new],
                {name: [values[row] for row in new] for name, values in columns.items()},
            )
    return made


def export_file(store: Store, path: str | Path, where: str | None = None) -> int:
    """Write the rows that pass a filter to a file, whole or not at all; how many they were.

    .npy holds the vectors alone; .npz also `names` (the ids); .parquet and .arrow all columns.

    Raises:
        ConfigError: another kind of file, or a filter that cannot be used.
    """
    path = Path(path).expanduser()
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: vectors are written to {', '.join(KINDS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if path.suffix in (".parquet", ".arrow"):
            count = _write_table(store, part, where)
        else:
            batches = list(store.blocks(where, ["id", "vector"]))
            vectors = [as_matrix(batch["vector"], store.width) for batch in batches]
            matrix = np.concatenate([np.empty((0, store.width), np.float32), *vectors])
            names = [name for batch in batches for name in batch["id"].to_pylist()]
            count = len(names)
            if path.suffix == ".npy":
                np.save(part, matrix)
            else:
                np.savez(part, vectors=matrix, names=np.array(names, dtype=np.str_))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _write_table(store: Store, path: Path, where: str | None) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, count = store.table.schema, 0
    writer = pq.ParquetWriter(path, schema) if path.suffix == ".parquet" else pa.ipc.new_file(str(path), schema)
    with writer:
        for batch in store.blocks(where, schema.names):
            rows = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            writer.write_table(rows)
            count += len(rows)
    return count


def _arrays(path: Path) -> _Content:
    vectors = open_vectors(path)
    names, labels = [str(row) for row in range(len(vectors))], None
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            held = set(archive.files)
            if "names" in held:
                names = archive["names"].astype(str).tolist()
            if {"labels", "classes"} <= held:
                classes = archive["classes"].astype(str).tolist()
                labels = [classes[label] if label >= 0 else None for label in archive["labels"].tolist()]
    if len(names) != len(vectors):
        raise DataError(f"{path} holds {len(vectors)} vectors but {len(names)} names; there must be one for each")

    def blocks() -> Iterator[tuple[list[str], np.ndarray, dict[str, list[Any]]]]:
        for start in range(0, len(vectors), BLOCK):
            rows = slice(start, start + BLOCK)
            yield names[rows], np.asarray(vectors[rows]), {} if labels is None else {"label": labels[rows]}

    return _Content(vectors.shape[1], {} if labels is None else {"label": "string"}, blocks())


def _table(path: Path, vector: str) -> _Content:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            schema, batches = file.schema_arrow, file.iter_batches(BLOCK)
        else:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            schema, batches = reader.schema, (reader.get_batch(n) for n in range(reader.num_record_batches))
        if vector not in schema.names:
            raise DataError(f"{path} has no column {vector!r}; it has {', '.join(schema.names)}")
        first = next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if first is None or not len(first):
        raise DataError(f"{path} has no rows")
    columns = {
        field.name: kind
        for field in schema
        if field.name not in ("id", vector) and (kind := _kind(field.type)) is not None
    }
    width = len(first[vector][0].as_py())

    def blocks() -> Iterator[tuple[list[str], np.ndarray, dict[str, list[Any]]]]:
        done, batch = 0, first
        while batch is not None:
            count = len(batch)
            if "id" in batch.schema.names:
                ids = [str(one) for one in batch["id"].to_pylist()]
            else:
                ids = [str(row) for row in range(done, done + count)]
            yield ids, _matrix(batch[vector], width, path, done), {name: batch[name].to_pylist() for name in columns}
            done, batch = done + count, next(batches, None)

    return _Content(width, columns, blocks())


def _matrix(column: Any, width: int, path: Path, first: int) -> np.ndarray:
    lengths = [None if one is None else len(one) for one in column.to_pylist()]
    wrong = next((row for row, length in enumerate(lengths) if length != width), None)
    if wrong is not None:
        raise DataError(
            f"{path}: the vector of row {first + wrong} has {lengths[wrong]} numbers, the first one {width}"
        )
    return as_matrix(column, width)


def _kind(kind: Any) -> str | None:
    """The type of a column of a store that takes such values; None where none does."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int64"
    return "float64" if pa.types.is_floating(kind) else None
