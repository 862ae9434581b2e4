"""Search in a store: exact, block by block, or by its index; no filter takes away what was asked for.

A filter comes before an exact search. With the index it comes before where few rows pass, which are then all compared,
and inside where many do: Lance walks its index and counts the rows that pass alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.errors import DataError

from .lance import as_matrix, reading

if TYPE_CHECKING:
    from .table import Store

GRID = 2.0**30  # scores that differ by less are ties, whichever blocks they come from
_SHORT = 1e-24  # square of a length; below it float32 loses digits
FEW = 10_000  # rows that pass a filter are compared one by one when they are no more than these
SHARE = 0.02  # or no more than this share of the store
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


def by_the_index(store: Store, where: str | None) -> bool:
    """Whether approximate search under a filter goes through the index; where few rows pass, all are compared."""
    if where is None:
        return True
    with reading(store.path, where):
        passing = int(store.table.count_rows(where))
    return passing > max(FEW, SHARE * len(store))


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

    **Of equal scores the earlier row of the store comes first.** Rows are screened in float32, and those that its
    rounding leaves in doubt are scored in float64. Memory is one block of vectors, whatever the store.
    """
    rows = [np.empty(0, dtype=np.int64) for _ in queries]
    scores = [np.empty(0) for _ in queries]
    asked = units(queries.astype(np.float64))
    for batch in store.blocks(where, ["vector"], size) if len(queries) else ():
        block, numbers = as_matrix(batch["vector"], store.width), batch["_rowid"].to_numpy().astype(np.int64)
        squares = np.einsum("nd,nd->n", block, block)
        short = squares < _SHORT  # whose length float32 does not know
        rough = asked.astype(np.float32) @ block.T / np.sqrt(np.maximum(squares, _SHORT))
        for place, query in enumerate(asked):
            least = scores[place][k - 1] if len(scores[place]) == k else -np.inf
            near = _in_doubt(rough[place], short, k, least, store.width)
            found = np.concatenate([scores[place], cosines(query, block[near])])
            there = np.concatenate([rows[place], numbers[near]])
            best = np.lexsort((there, -found))[:k]
            rows[place], scores[place] = there[best], found[best]
    return rows, scores


def cosines(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(N,) cosines of a query of length 1 with (N, D) vectors, in float64, on a grid on which rounding makes no order.

    >>> cosines(np.array([1.0, 0.0]), np.array([[3.0, 4.0], [0.0, 0.0]])).round(6).tolist()
    [0.6, 0.0]
    """
    scores = np.einsum("nd,d->n", units(vectors.astype(np.float64)), query)
    found: np.ndarray = np.round(scores * GRID) / GRID
    return found


def _in_doubt(rough: np.ndarray, short: np.ndarray, k: int, least: float, width: int) -> np.ndarray:
    """Which rows of a block may be among the k best, when the k-th best so far has the score `least`."""
    gap = (width + 16) * 2.0**-23  # twice what a product of rows of length 1 can be off in float32
    known = rough[~short]
    if len(known) > k:
        least = max(least, float(np.partition(known, len(known) - k)[len(known) - k]) - gap)
    return np.flatnonzero((rough >= least - gap) | short)


def units(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays zero.

    >>> units(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    found: np.ndarray = rows / np.where(lengths > 0, lengths, 1.0)[:, None]
    return found


def by_index(
    store: Store, queries: np.ndarray, k: int, where: str | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Row numbers and scores of k near rows of each query, by the index, which must be there; scores are exact."""
    rows, scores = [], []
    for query in queries:
        with reading(store.path, where):
            asked = store.table.search(query, vector_column_name="vector").distance_type("cosine").with_row_id(True)
            asked = asked if where is None else asked.where(where, prefilter=True)
            found = asked.refine_factor(_REFINE).select(["vector", "_distance"]).limit(k).to_arrow()
        near = found["_rowid"].to_numpy().astype(np.int64)
        if not len(near):
            rows.append(near)
            scores.append(np.empty(0))
            continue
        first = np.argsort(near)  # so that ties come in order of the rows
        vectors = as_matrix(found["vector"], store.width)[first]
        found_scores = cosines(units(query[None].astype(np.float64))[0], vectors)
        best = np.argsort(-found_scores, kind="stable")
        rows.append(near[first][best])
        scores.append(found_scores[best])
    return rows, scores


def hits(store: Store, rows: list[np.ndarray], scores: list[np.ndarray], columns: Sequence[str]) -> list[list[Hit]]:
    """Rows with their ids and columns.

    Raises:
        DataError: a row is gone.
    """
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
