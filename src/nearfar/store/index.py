"""An index over a store, which is kept only if it finds what it promised to find."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.errors import ConfigError

from .lance import as_matrix, writing
from .search import by_index, exact

if TYPE_CHECKING:
    from .table import Store

KINDS = ("hnsw", "bits", "pq")
FEWEST = 256  # rows that Lance asks for
STALE = 0.2  # share of the rows that may come or go before the index must be measured again
NARROW = "_rowid % 20 = 0"  # a filter that has nothing to do with what is near
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
        narrow: the recall under a filter, with the index (few rows are compared without it).
        where: that filter; "" for one row in twenty at random.
        changed: how many rows had come or gone since it was built when this was measured.
    """

    kind: str
    recall: float
    queries: int
    promise: float
    rows: int
    narrow: float = float("nan")
    where: str = ""
    changed: int = 0

    def __str__(self) -> str:
        narrow = f"where {self.where}" if self.where else "among a twentieth of the rows"
        return (
            f"{self.kind} over {self.rows} rows, recall@10 {self.recall:.3f} measured on {self.queries} rows "
            f"({self.narrow:.3f} {narrow})"
        )


def build(
    store: Store,
    kind: str = "hnsw",
    promise: float = 0.95,
    sample: int = 100,
    seed: int = 0,
    where: str | None = None,
) -> Recall:
    """Build an index in the place of the one there may be, and measure it on a sample of the rows.

    Args:
        kind: "hnsw", a graph over numbers of 8 bits, which is searched fastest and built slowest; "bits", cells with
            one bit for each number (RabitQ), built in no time; "pq", cells with product quantisation.
        promise: the least recall@10, against exact search.
        sample: how many rows are looked for.
        seed: of the sample.
        where: a filter such as searches will have, under which the recall is measured too; a random one when None.

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
    from lancedb.index import HnswSq, IvfPq, IvfRq

    drop(store)
    # The graph is built with a third of Lance's own effort: what it finds is compared in full, and it found as much.
    config: Any = {
        "hnsw": HnswSq(distance_type="cosine", m=16, ef_construction=100),
        "bits": IvfRq(distance_type="cosine"),
        "pq": IvfPq(distance_type="cosine"),
    }[kind]
    with writing(store.path):
        store.table.create_index("vector", config=config)
    return _kept(store, Recall(kind, 0.0, sample, promise, rows, where=where or ""), seed)


def remeasure(store: Store, sample: int = 100, seed: int = 0) -> Recall:
    """Measure the index again, after rows have come or gone; below its promise it is thrown away.

    Raises:
        ConfigError: there is no index, or it no longer keeps its promise.
    """
    found = measured(store)
    if found is None:
        raise ConfigError(f"{store.path} has no index; build one with: nearfar store index {store.path}")
    return _kept(store, replace(found, queries=sample, changed=changes(store, found)), seed)


def changes(store: Store, found: Recall) -> int:
    """How many rows have come or gone since the index was built."""
    name = next(one.name for one in store.table.list_indices() if "vector" in one.columns)
    late = int(store.table.index_stats(name).num_unindexed_rows)
    return late + abs(found.rows - (len(store) - late))


def usable(store: Store) -> Recall:
    """What was measured of the index.

    Raises:
        ConfigError: there is none, or the rows have changed so much since that the figure says nothing.
    """
    found = measured(store)
    if found is None:
        raise ConfigError(f"{store.path} has no index; build one with: nearfar store index {store.path}")
    changed = abs(changes(store, found) - found.changed)
    if changed > STALE * found.rows:
        raise ConfigError(
            f"{store.path}: {changed} rows have come or gone since the index {found} was measured; measure it again "
            f"with: nearfar store index {store.path} --again, or build a new one"
        )
    return found


def _kept(store: Store, asked: Recall, seed: int) -> Recall:
    """The recall of the index, which is thrown away below its promise."""
    rows = len(store)
    _keep(store, asked)  # by_index asks for it
    try:
        chosen = np.sort(np.random.default_rng(seed).choice(rows, min(asked.queries, rows), replace=False))
        recall, narrow = (measure(store, chosen, where) for where in (None, asked.where or NARROW))
        found = replace(asked, recall=recall, narrow=narrow, queries=len(chosen))
    except BaseException:
        drop(store)
        raise
    if found.recall < found.promise:
        drop(store)
        raise ConfigError(
            f"the index {found}: less than the {found.promise} that was promised, so it was not kept. Take "
            f"{'exact search' if found.kind == 'hnsw' else 'hnsw'}, or promise less"
        )
    _keep(store, found)
    return found


def measure(store: Store, positions: np.ndarray, where: str | None = None) -> float:
    """Recall@10 of the index for some rows, none of which counts as found by itself; NaN where no row passes."""
    taken = store.table.take_offsets(positions.tolist()).select(["vector"]).with_row_id().to_arrow()
    queries, own = as_matrix(taken["vector"], store.width), taken["_rowid"].to_numpy().astype(np.int64)
    true, near = exact(store, queries, _AT + 1, where), by_index(store, queries, _AT + 1, where)
    shares = []
    for place, row in enumerate(own):
        others = true[1][place][true[0][place] != row][:_AT]
        scores = near[1][place][near[0][place] != row][:_AT]
        # By score, so that of equally near rows either counts.
        if len(others):
            shares.append((scores >= others.min()).sum() / len(others))
    return float(np.mean(shares)) if shares else float("nan")


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
