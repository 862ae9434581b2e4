"""Rows from Parquet and Arrow files, and from folders that Hugging Face `datasets` saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nearfar.errors import DataError

from ..archives import printable
from .findings import Findings

COLUMNAR = (".parquet", ".arrow", ".feather")
ROWS = 4096  # that are in memory at a time
STATE = "state.json"  # a folder that `datasets` saved has it

Walk = Callable[[Sequence[str], Findings], Iterator[tuple[str, dict[str, Any]]]]


def open_columnar(paths: Sequence[Path]) -> tuple[str, list[str], Walk, dict[str, list[str]]]:
    """What a `files.Table` of these files, one after another, is made of.

    Raises:
        DataError: a file cannot be read.
    """
    where = printable(paths[0])
    schema, _ = _opened(paths[0], None)

    def walk(names: Sequence[str], found: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in paths:
            row = 0
            for batch in _opened(path, list(names))[1]:
                for cells in batch.to_pylist():
                    yield f"{printable(path)}[{row}]", cells
                    row += 1

    return where, list(schema.names), walk, _classes(schema)


def saved_folder(folder: Path) -> list[Path] | None:
    """The files of a folder that `Dataset.save_to_disk` wrote, in order; None where it is no such folder.

    Raises:
        DataError: a file that it names is not there.
    """
    state = folder / STATE
    if not state.is_file():
        return None
    try:
        files = [folder / Path(file["filename"]).name for file in json.loads(state.read_text())["_data_files"]]
    except (ValueError, KeyError, TypeError, OSError):
        return None
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise DataError(f"{printable(missing)}: no such file, though {STATE} names it; copy the whole folder")
    return files or None


def _opened(path: Path, names: list[str] | None) -> tuple[Any, Iterator[Any]]:
    """The schema of a file and its batches of rows."""
    try:
        import pyarrow as pa
        import pyarrow.ipc
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"reading {path.suffix} files needs pyarrow: pip install 'nearfar[text]'") from error

    def batches(made: Iterator[Any]) -> Iterator[Any]:
        try:
            for batch in made:
                for first in range(0, batch.num_rows, ROWS):
                    yield (batch if names is None else batch.select(names)).slice(first, ROWS)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{printable(path)}: damaged: {error}") from error

    try:
        if path.suffix.lower() == ".parquet":
            file = pq.ParquetFile(path)
            return file.schema_arrow, batches(file.iter_batches(ROWS, columns=names))
        source = pa.memory_map(str(path))
        try:
            stream = pyarrow.ipc.open_stream(source)
            return stream.schema, batches(iter(stream))
        except pa.ArrowInvalid:
            indexed = pyarrow.ipc.open_file(source)
            made = (indexed.get_batch(place) for place in range(indexed.num_record_batches))
            return indexed.schema, batches(made)
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise DataError(f"{printable(path)}: not a readable {kind} file: {error}") from error


def _classes(schema: Any) -> dict[str, list[str]]:
    """Names of class numbers by column, where Hugging Face `datasets` wrote them into the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {
        name: [str(text) for text in feature["names"]]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }
