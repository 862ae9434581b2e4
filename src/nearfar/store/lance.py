"""LanceDB, imported when it is first needed, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError, NearfarError

from .place import Place

_FULL = ("no space left", "disk quota", "file too large")


def connect(path: Place) -> Any:
    """The database in a folder or an object store.

    Raises:
        ImportError: lancedb is not installed.
    """
    os.environ.setdefault("LANCE_LOG", "error")  # it would say on stderr that a new table is new
    try:
        import lancedb
    except ImportError as error:
        raise ImportError("stores need lancedb and pyarrow: pip install 'nearfar[store]'") from error
    return lancedb.connect(str(path))


@contextmanager
def writing(path: Place) -> Iterator[None]:
    """Say what stopped a write; what was written before it is kept.

    Raises:
        NearfarError: the disk is full, the folder is read-only, or files of the store are damaged.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, NearfarError):
            raise
        said = _short(error)
        full = any(word in said.lower() for word in _FULL)
        todo = "make room" if full else "see whether the folder can be written"
        raise NearfarError(
            f"{path}: rows could not be written: {said}; the rows before them are kept: {todo} and run it again"
        ) from None


@contextmanager
def reading(path: Place, where: str | None = None) -> Iterator[None]:
    """Say what is wrong with a filter, or that the store is damaged.

    Raises:
        ConfigError: the filter. DataError: files of the store cannot be read.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, NearfarError):
            raise
        if where is not None and not isinstance(error, OSError) and "LanceError(IO)" not in str(error):
            raise ConfigError(
                f"the filter {where!r} cannot be used: {_short(error)}; "
                "write one as in SQL: label = 'cat' AND year > 2000"
            ) from None
        raise DataError(
            f"{path} is damaged: {_short(error)}; restore it from a copy, or embed the data again"
        ) from None


def quoted(text: str) -> str:
    """A text as SQL writes it.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def fixed_list(vectors: np.ndarray) -> Any:
    """(N, D) float32 as a column."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def as_matrix(column: Any, width: int) -> np.ndarray:
    """(N, D) float32 of a column."""
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    if hasattr(column, "chunks"):
        return np.concatenate(
            [as_matrix(chunk, width) for chunk in column.chunks] or [np.empty((0, width), np.float32)]
        )
    found: np.ndarray = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), width)
    return found.astype(np.float32, copy=False)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".,; ")
