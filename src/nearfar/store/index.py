"""An index over a store, which is kept only if it finds what it promised to find."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.errors import ConfigError

from .lance import as_matrix, writing
from .search import by_index, exact

if TYPE_CHECKING:
    from .table import Store

KINDS = ("hnsw", "pq")
FEWEST = 256  # rows that Lance asks for
_KEY = "nearfar"
_AT = 10


@dataclass(frozen=True)
class Recall:
    """What an index was measured to find.

    Attributes:
        kind: of the index.
        recall: share of the 10 nearest rows that it finds, without a filter.
        queries: rows of the store that were looked for.
        promise: the recall below which it would have been refused.
        rows: how many rows it was built over; later ones are compared one by one.
    """

    kind: str
    recall: float
    queries: int
    promise: float
    rows: int

    def __str__(self) -> str:
        return f"{self.kind} over {self.rows} rows, recall@10 {self.recall:.3f} measured on {self.queries} of them"


def build(store: Store, kind: str = "hnsw", promise: float = 0.95, sample: int = 100, seed: int = 0) -> Recall:
    """Build an index in the place of the one there may be, and measure it on a sample of the rows.

    Args:
        kind: "hnsw", a graph over numbers of 8 bits, or "pq", product quantisation, which is smaller and finds less.
        promise: the least recall@10, against exact search.
        sample: how many rows are looked for.
        seed: of the sample.

    Raises:
        ConfigError: fewer than 256 rows, an unknown kind, or a recall below the promise: then there is no index.
    """
    if kind not in KINDS:
        raise ConfigError(f"an index is one of {', '.join(KINDS)}, not {kind!r}")
    if not 0 <= promise <= 1 or sample < 1:
        raise ConfigError(f"a promise lies between 0 and 1 and a sample has 1 row or more, not {promise} and {sample}")
    rows = len(store)
    if rows < FEWEST:
        raise ConfigError(f"{store.path} has {rows} rows; an index needs {FEWEST}, and below that exact search is fast")
    from lancedb.index import HnswSq, IvfPq

    drop(store)
    config: Any = HnswSq(distance_type="cosine") if kind == "hnsw" else IvfPq(distance_type="cosine")
    with writing(store.path):
        store.table.create_index("vector", config=config)
    _keep(store, Recall(kind, 0.0, 0, promise, rows))  # by_index asks for it
    try:
        chosen = np.sort(np.random.default_rng(seed).choice(rows, min(sample, rows), replace=False))
        found = Recall(kind, measure(store, chosen), len(chosen), promise, rows)
    except BaseException:
        drop(store)
        raise
    if found.recall < promise:
        drop(store)
        raise ConfigError(
            f"the index {found}: less than the {promise} that was promised, so it was not kept. Take "
            f"{'hnsw' if kind == 'pq' else 'exact search'}, or promise less"
        )
    _keep(store, found)
    return found


def measure(store: Store, positions: np.ndarray) -> float:
    """Recall@10 of the index for some rows, none of which counts as found by itself."""
    taken = store.table.take_offsets(positions.tolist()).select(["vector"]).with_row_id().to_arrow()
    queries, own = as_matrix(taken["vector"], store.width), taken["_rowid"].to_numpy().astype(np.int64)
    true, near = exact(store, queries, _AT + 1), by_index(store, queries, _AT + 1)
    shares = []
    for place, row in enumerate(own):
        others = true[1][place][true[0][place] != row][:_AT]
        scores = near[1][place][near[0][place] != row][:_AT]
        # By score, so that of equally near rows either counts.
        shares.append((scores >= others.min()).sum() / len(others))
    return float(np.mean(shares))


def measured(store: Store) -> Recall | None:
    """What was measured of the index of a store; None where there is none."""
    held = (store.table.schema.field("vector").metadata or {}).get(_KEY.encode())
    if not held or not any("vector" in one.columns for one in store.table.list_indices()):
        return None
    return Recall(**json.loads(held))


def drop(store: Store) -> None:
    """Take out the index, if there is one."""
    for one in store.table.list_indices():
        if "vector" in one.columns:
            with writing(store.path):
                store.table.drop_index(one.name)


def _keep(store: Store, found: Recall) -> None:
    with writing(store.path):
        store.table.update_field_metadata({"path": "vector", "metadata": {_KEY: json.dumps(asdict(found))}})
