"""Search in a store: exact, block by block, or by its index; filters come before the search in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.mining import Exact

from .lance import as_matrix, reading

if TYPE_CHECKING:
    from .table import Store

_GRID = 2.0**30  # scores that differ by less are ties, whichever blocks they come from
_REFINE = 4  # so many times k candidates of the index are compared by their whole vectors


@dataclass(frozen=True)
class Hit:
    """A row that was found.

    Attributes:
        id: of the row.
        score: its cosine with the query, in float64 on a grid of 2^-30.
        columns: name -> value.
    """

    id: str
    score: float
    columns: dict[str, Any] = field(default_factory=dict)


def search(
    store: Store, queries: np.ndarray, k: int, where: str | None, columns: Sequence[str], approximate: bool
) -> list[list[Hit]]:
    """The k nearest rows of each query by cosine, nearest first; fewer where fewer pass the filter."""
    asked = as_queries(store, queries)
    if k < 1:
        raise ConfigError(f"k is 1 or more, not {k}")
    if approximate:
        rows, scores = by_index(store, asked, k, where)
    else:
        rows, scores = exact(store, asked, k, where)
    return _hits(store, rows, scores, columns)


def as_queries(store: Store, queries: np.ndarray) -> np.ndarray:
    """(Q, D) float32 queries of one or two dimensions.

    Raises:
        DataError: another shape or width, NaN or infinity.
    """
    from .table import checked_vectors

    array = np.asarray(queries)
    return checked_vectors(array[None] if array.ndim == 1 else array, store.width, str(store.path))


def exact(
    store: Store, queries: np.ndarray, k: int, where: str | None = None, size: int = 32768
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Row numbers and scores of the k best of each query, equal to a comparison with every row.

    **Of equal scores the earlier row of the store comes first.** Memory is one block of vectors, whatever the store.
    """
    rows = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0))
    if len(queries):
        for batch in store.blocks(where, ["vector"], size):
            block = Exact(queries, as_matrix(batch["vector"], store.width), precision="float32")
            found = block.find(np.arange(len(queries)), min(k, len(batch)))
            rows = np.concatenate([rows, batch["_rowid"].to_numpy().astype(np.int64)[found.index]], axis=1)
            scores = np.concatenate([scores, _on_grid(found.scores)], axis=1)
            order = np.lexsort((rows, -scores), axis=1)[:, :k]
            rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
    return list(rows), list(scores)


def by_index(
    store: Store, queries: np.ndarray, k: int, where: str | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Row numbers and scores of k near rows of each query, by the index; scores are those of `exact`.

    Raises:
        ConfigError: there is no index.
    """
    if store.recall() is None:
        raise ConfigError(f"{store.path} has no index; build one with: nearfar store index {store.path}")
    rows, scores = [], []
    for query in queries:
        with reading(store.path, where):
            asked = store.table.search(query, vector_column_name="vector").distance_type("cosine").with_row_id(True)
            asked = asked if where is None else asked.where(where, prefilter=True)
            found = asked.refine_factor(_REFINE).select(["vector"]).limit(k).to_arrow()
        near = found["_rowid"].to_numpy().astype(np.int64)
        if not len(near):
            rows.append(near)
            scores.append(np.empty(0))
            continue
        first = np.argsort(near)  # so that ties come in order of the rows
        vectors = as_matrix(found["vector"], store.width)[first]
        best = Exact(query[None], vectors, precision="float32").find(np.zeros(1, np.int64), len(near))
        rows.append(near[first][best.index[0]])
        scores.append(_on_grid(best.scores[0]))
    return rows, scores


def _hits(store: Store, rows: list[np.ndarray], scores: list[np.ndarray], columns: Sequence[str]) -> list[list[Hit]]:
    wanted = np.unique(np.concatenate([np.empty(0, np.int64), *rows]))
    known: dict[int, tuple[str, dict[str, Any]]] = {}
    if len(wanted):
        with reading(store.path):
            found = store.table.take_row_ids(wanted.tolist()).select(["id", *columns]).with_row_id().to_arrow()
        for row in found.to_pylist():
            known[row.pop("_rowid")] = row.pop("id"), row
    if len(known) != len(wanted):
        raise DataError(f"{store.path} changed while it was searched; search again")
    return [
        [Hit(known[row][0], score, known[row][1]) for row, score in zip(line.tolist(), best.tolist(), strict=True)]
        for line, best in zip(rows, scores, strict=True)
    ]


def _on_grid(scores: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.round(scores * _GRID) / _GRID
    return found
