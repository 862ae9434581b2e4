"""From a store to the table of its map: places, labels, texts, pictures, neighbours, duplicates, what changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.curation import duplicates
from nearfar.curation.rows import read, require, units
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import nearest
from nearfar.report.map import project
from nearfar.store import Store
from nearfar.store.lance import as_matrix

MOST = 20_000  # rows on the map
NEAR = 15  # neighbours that are shown of a row
ROW, X, Y, NEIGHBOURS = "__row", "x", "y", "__neighbours"  # a name with __ is not listed in the browser
_LEFT_OUT = ("digest", "data", "thumbnail")


@dataclass(frozen=True)
class Mapped:
    """What the browser shows.

    Attributes:
        table: an Arrow table with a row for each point.
        how: how vectors became places.
        rows: of the store that pass the filter; the table has at most `most` of them.
    """

    table: Any
    how: str
    rows: int

    @property
    def text(self) -> str | None:
        """Name of the column of texts."""
        return "text" if "text" in self.table.column_names else None

    @property
    def image(self) -> str | None:
        """Name of the column of pictures."""
        return "image" if "image" in self.table.column_names else None

    @property
    def colour(self) -> str | None:
        """Name of the column that colours the points."""
        names = ("label", "label_found", "cluster_name", "duplicate")
        return next((name for name in names if name in self.table.column_names), None)


def mapped(
    store: Store,
    against: Store | None = None,
    copies: bool = False,
    threshold: float | None = None,
    where: str | None = None,
    most: int = MOST,
    projection: str = "auto",
    seed: int = 0,
) -> Mapped:
    """The table of a map.

    Columns of the store (also those that curation wrote, and a loss if there is one) come along; `duplicate` says
    "kept" or "may go", `duplicate_group` which group; `moved` is the share of the 15 nearest rows that are others in
    the store `against`, empty for rows that it does not have.

    Args:
        against: a store of the same rows by other weights.
        copies: look for near duplicates, from the cosine `threshold`, or as the data suggest.
        most: rows; of more some are drawn by `seed`.
        projection: pacmap, pca, or auto.

    Raises:
        DataError: fewer than three rows, or no row in both stores. ConfigError: the filter cannot be used.
    """
    if most < 3:
        raise ConfigError(f"a map shows 3 rows or more, not {most}")
    if projection not in ("auto", "pacmap", "pca"):
        raise ConfigError(f"a map is made by pacmap, pca or auto, not {projection!r}")
    count = sum(len(batch) for batch in store.blocks(where, []))
    require(store, count, 3, where)
    drawn = np.zeros(count, bool)
    drawn[np.random.default_rng(seed).permutation(count)[:most]] = True
    table, vectors = _rows(store, where, drawn)
    ids = table["id"].to_pylist()
    near = nearest(vectors, vectors, min(NEAR, len(ids) - 1), exclude=np.arange(len(ids)))
    flat, how = project(vectors, projection, seed)
    added: dict[str, Any] = {ROW: np.arange(len(ids)), X: flat[:, 0], Y: flat[:, 1]}
    added[NEIGHBOURS] = [
        {"ids": line.tolist(), "distances": (1 - scores).tolist()}
        for line, scores in zip(near.index, near.scores, strict=True)
    ]
    if copies:
        added |= _copies(store, ids, threshold, where)
    if against is not None:
        added["moved"] = moved(ids, vectors, against)
    import pyarrow as pa

    for name, values in added.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, pa.array(values))
    return Mapped(table, how, count)


def _rows(store: Store, where: str | None, drawn: np.ndarray) -> tuple[Any, np.ndarray]:
    """The columns to show and the unit vectors of the rows that were drawn."""
    import pyarrow as pa

    names = ["id", *(name for name in store.columns if name not in _LEFT_OUT)]
    pictures = ["thumbnail"] if "thumbnail" in store.columns else []
    parts, vectors, done = [], [], 0
    for batch in store.blocks(where, [*names, "vector", *pictures]):
        mine = pa.array(drawn[done : done + len(batch)])
        done += len(batch)
        some = pa.Table.from_batches([batch]).filter(mine)
        vectors.append(units(as_matrix(some["vector"], store.width)))
        parts.append(some.select([*names, *pictures]))
    table = pa.concat_tables(parts).combine_chunks()
    empty = [name for name in names[1:] if table[name].null_count == len(table)]
    table = table.drop_columns(empty)
    if "name" in table.column_names and ("text" in table.column_names or table["name"].equals(table["id"])):
        table = table.drop_columns(["name"])
    if pictures:
        bytes_ = table["thumbnail"].combine_chunks()
        image = pa.StructArray.from_arrays([bytes_], ["bytes"], mask=bytes_.is_null())
        table = table.drop_columns(["thumbnail"]).append_column("image", image)
    return table, np.concatenate(vectors)


def _copies(store: Store, ids: list[str], threshold: float | None, where: str | None) -> dict[str, list[Any]]:
    found = duplicates(store, threshold, where=where)
    what: dict[str, tuple[str, int]] = {}
    for number, group in enumerate(found.groups, 1):
        what |= {group.keep: ("kept", number), **{one: ("may go", number) for one in group.drop}}
    told = [what.get(one, ("single", None)) for one in ids]
    return {"duplicate": [kind for kind, _ in told], "duplicate_group": [number for _, number in told]}


def moved(ids: list[str], vectors: np.ndarray, against: Store) -> list[float | None]:
    """For each row the share of its nearest rows that are others in another store, among the rows of both.

    Raises:
        DataError: fewer than three rows are in both.
    """
    other = read(against, least=1)
    place = {one: row for row, one in enumerate(other.ids)}
    both = np.array([row for row, one in enumerate(ids) if one in place], dtype=np.int64)
    if len(both) < 3:
        raise DataError(
            f"{against.path} has {len(both)} of these {len(ids)} rows; embed the same data there, with the same --ids"
        )
    k = min(NEAR, len(both) - 1)
    theirs = other.vectors[[place[ids[row]] for row in both]]
    sides = [nearest(x, x, k, exclude=np.arange(len(both))).index for x in (vectors[both], theirs)]
    found: list[float | None] = [None] * len(ids)
    for row, mine, yours in zip(both.tolist(), *sides, strict=True):
        found[row] = 1 - len(set(mine.tolist()) & set(yours.tolist())) / k
    return found
