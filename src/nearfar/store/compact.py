"""Compact vectors: 8 bits or 1 bit for each number, or the first numbers alone; what they find is scored again in full.

They are scanned by faiss and kept beside the store, with the recall that was measured when they were made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.errors import ConfigError

from .beside import Arrays, beside
from .lance import as_matrix, reading
from .search import by_the_index, cosines, exact, units

if TYPE_CHECKING:
    from .table import Store

AGAIN = {"int8": 4, "binary": 32}  # so many times k rows are scored by their whole vectors
AGAIN_CUT = 8  # for vectors of which the first numbers are kept
_TRAINED = 20_000  # rows from which the range of each number is taken
_SAMPLE, _AT = 100, 10


@dataclass(frozen=True)
class Compact:
    """Compact vectors of a store.

    Attributes:
        kind: "int8", "binary", or how many of the first numbers are kept, such as "128".
        size: bytes of each.
        recall: share of the 10 nearest rows that are found with them, after scoring again.
        queries: rows of the store that were looked for.
    """

    kind: str
    size: int
    recall: float
    queries: int

    def __str__(self) -> str:
        what = self.kind if self.kind in AGAIN else f"the first {self.kind} numbers"
        return (
            f"{what}, {self.size} bytes for each row, recall@10 {self.recall:.3f} measured on {self.queries} rows "
            f"({again(self.kind)} times as many rows are scored again in full)"
        )


def again(kind: str) -> int:
    """How many times k rows are scored again."""
    return AGAIN.get(kind, AGAIN_CUT)


def compact(store: Store, kind: str) -> Compact:
    """Compact vectors of a store, made where there are none of this version.

    Raises:
        ConfigError: an unknown kind, or a store without rows. ImportError: faiss is not installed.
    """
    held = _held(store, kind)
    return Compact(kind, int(held["size"]), float(held["recall"]), int(held["queries"]))


def by_compact(
    store: Store, queries: np.ndarray, k: int, where: str | None, kind: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Row numbers and scores of k near rows of each query, found by compact vectors; scores are those of `exact`.

    Where few rows pass a filter all of them are compared in full; where many do, the scan passes over the others.
    """
    if not by_the_index(store, where):
        return exact(store, queries, k, where)
    held, name = _held(store, kind), f"opened-{kind}"
    if name not in store.kept or store.kept[name][0] != store.version:
        read = _faiss().deserialize_index_binary if kind == "binary" else _faiss().deserialize_index
        store.kept[name] = store.version, read(held["index"])
    return _found(store, store.kept[name][1], held["rows"], queries, k, where, kind)


def _held(store: Store, kind: str) -> Arrays:
    if kind not in AGAIN and not (kind.isdecimal() and 0 < int(kind) < store.width):
        raise ConfigError(
            f"compact vectors are {', '.join(AGAIN)}, or a width below that of the store ({store.width}), not {kind!r}"
        )
    return beside(store, f"compact-{kind}", lambda: _made(store, kind))


def _made(store: Store, kind: str) -> Arrays:
    faiss, rows = _faiss(), len(store)
    if not rows:
        raise ConfigError(f"{store.path} is empty; there is nothing to make compact")
    index: Any
    if kind == "binary":
        index = faiss.IndexBinaryFlat(8 * -(-store.width // 8))
    elif kind == "int8":
        index = faiss.IndexScalarQuantizer(store.width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        chosen = np.sort(np.random.default_rng(0).choice(rows, min(rows, _TRAINED), replace=False))
        taken = store.table.take_offsets(chosen.tolist()).select(["vector"]).to_arrow()
        index.train(_codes(as_matrix(taken["vector"], store.width), kind))
    else:
        index = faiss.IndexFlatIP(int(kind))
    numbers = []
    for batch in store.blocks(None, ["vector"], 32768):
        index.add(_codes(as_matrix(batch["vector"], store.width), kind))
        numbers.append(batch["_rowid"].to_numpy().astype(np.int64))
    every = np.concatenate(numbers)
    queries = min(_SAMPLE, rows)
    chosen = np.sort(np.random.default_rng(1).choice(rows, queries, replace=False))
    taken = store.table.take_offsets(chosen.tolist()).select(["vector"]).with_row_id().to_arrow()
    asked, own = as_matrix(taken["vector"], store.width), taken["_rowid"].to_numpy().astype(np.int64)
    recall = _recall(exact(store, asked, _AT + 1), _found(store, index, every, asked, _AT + 1, None, kind), own)
    write = faiss.serialize_index_binary if kind == "binary" else faiss.serialize_index
    facts = {"size": index.code_size, "recall": recall, "queries": queries}
    return {"index": write(index), "rows": every, **{key: np.array(value) for key, value in facts.items()}}


def _recall(true: Any, near: Any, own: np.ndarray) -> float:
    """Share of the 10 nearest that were found, by score, so that of equally near rows either counts."""
    shares = []
    for place, row in enumerate(own):
        others = true[1][place][true[0][place] != row][:_AT]
        scores = near[1][place][near[0][place] != row][:_AT]
        shares.append((scores >= others.min()).sum() / len(others) if len(others) else 1.0)
    return float(np.mean(shares))


def _found(
    store: Store, index: Any, rows: np.ndarray, queries: np.ndarray, k: int, where: str | None, kind: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    faiss = _faiss()
    how, passing = {}, len(rows)
    if where is not None:
        ids = [batch["_rowid"].to_numpy().astype(np.int64) for batch in store.blocks(where)]
        places = np.flatnonzero(np.isin(rows, np.concatenate([np.empty(0, np.int64), *ids])))
        passing = len(places)
        how = {"params": faiss.SearchParameters(sel=faiss.IDSelectorBatch(places))}
    found_rows, found_scores = [], []
    _, near = index.search(_codes(queries, kind), min(again(kind) * k, passing), **how)
    for query, line in zip(units(queries.astype(np.float64)), near, strict=True):
        numbers = np.sort(rows[line[line >= 0]])
        with reading(store.path):
            taken = store.table.take_row_ids(numbers.tolist()).select(["vector"]).with_row_id().to_arrow()
        numbers = taken["_rowid"].to_numpy().astype(np.int64)
        scores = cosines(query, as_matrix(taken["vector"], store.width))
        best = np.lexsort((numbers, -scores))[:k]
        found_rows.append(numbers[best])
        found_scores.append(scores[best])
    return found_rows, found_scores


def _codes(vectors: np.ndarray, kind: str) -> np.ndarray:
    """What faiss takes: rows of length 1, cut before that, or their signs."""
    if kind == "binary":
        return np.packbits(vectors > 0, axis=1)
    return units((vectors if kind == "int8" else vectors[:, : int(kind)]).astype(np.float64)).astype(np.float32)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ImportError("compact vectors need faiss: pip install 'nearfar[store]'") from None
    return faiss
