"""A store: one folder with a table of ids, vectors and columns, whose every change is whole or does not happen."""

from __future__ import annotations

import fcntl
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError

from . import compact as compacting
from . import hubs, lexical
from . import index as indexing
from . import search as searching
from .known import Known
from .lance import as_matrix, connect, fixed_list, quoted, reading, writing
from .place import TABLE, Place, is_store, lock_of, place_of, taken
from .provenance import Provenance

BLOCK = 8192  # rows that are read or written at a time
LARGEST = 1e15  # of the numbers in a vector, so that products stay in the range of float32
_KEY = b"nearfar"
_OWN = ("id", "vector")
TYPES = ("string", "int64", "float64", "bool", "binary")


class Store:
    """Vectors with ids, columns and their origin. `Store.create` makes one, `Store.open` opens one.

    Every change makes a version, whole or not at all, whatever stops the program; older versions can be opened.

    Attributes:
        path: its folder, or its address in an object store.
        provenance: what made the vectors.
        width: of the vectors.

    >>> store = Store.create("animals.store", 2, columns={"label": "string"})       # doctest: +SKIP
    >>> store.add(["a", "b"], np.eye(2), {"label": ["cat", "dog"]})                 # doctest: +SKIP
    >>> store.search(np.array([[0.9, 0.1]]), k=1)[0][0].id                          # doctest: +SKIP
    'a'
    """

    def __init__(self, path: Place, table: Any) -> None:
        self.path, self.table = path, table
        metadata = table.schema.metadata or {}
        if _KEY not in metadata or not set(_OWN) <= set(table.schema.names):
            raise DataError(f"{path} is damaged, or not a store of nearfar; make one with: nearfar embed ... --store")
        self.provenance = Provenance.from_json(metadata[_KEY], str(path))
        self.width: int = table.schema.field("vector").type.list_size
        self._locked, self._ids = False, Known()
        self.kept: dict[str, tuple[int, Any]] = {}  # what was made of the rows, by name, and of which version
        self._usable = -1  # version whose index was seen to be fit for use

    @classmethod
    def create(
        cls,
        path: str | Path,
        width: int,
        provenance: Provenance | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> Store:
        """A new store without rows.

        Args:
            path: a folder that is not there yet, or is empty; or an address such as s3://bucket/my.store.
            width: of the vectors.
            provenance: what makes the vectors.
            columns: name -> "string", "int64", "float64", "bool" or "binary"; any cell may be empty (None).

        Raises:
            ConfigError: something is there already, or a column cannot be.
        """
        path = place_of(path)
        if is_store(path) or (isinstance(path, Path) and taken(path)):
            what = "is a file" if isinstance(path, Path) and path.is_file() else "is there already"
            raise ConfigError(f"{path} {what}; choose another place for the store")
        if width < 1:
            raise ConfigError(f"vectors have a width of 1 or more, not {width}")
        database = connect(path)
        import pyarrow as pa

        fields = [pa.field("id", pa.string(), False), pa.field("vector", pa.list_(pa.float32(), width), False)]
        for name, kind in (columns or {}).items():
            if name in _OWN or name.startswith("_") or kind not in TYPES:
                raise ConfigError(f"a column {name!r} of type {kind!r} cannot be: types are {', '.join(TYPES)}, and "
                                  "id, vector and names that begin with _ are taken")  # fmt: skip
            fields.append(pa.field(name, pa.type_for_alias(kind)))
        schema = pa.schema(fields, metadata={_KEY: (provenance or Provenance()).to_json().encode()})
        with writing(path):
            return cls(path, database.create_table(TABLE, schema=schema))

    @classmethod
    def open(cls, path: str | Path, version: int | None = None) -> Store:
        """A store that is there, at its newest version or, to read only, at an earlier one.

        Raises:
            ConfigError: there is none, or no such version. DataError: it is damaged.
        """
        path = place_of(path)
        if not is_store(path):
            why = "no store" if isinstance(path, str) or path.is_dir() else "a file" if path.exists() else "not there"
            raise ConfigError(f"{path} is {why}; make a store with: nearfar embed RUN DATA --store {path}")
        with reading(path):
            table = connect(path).open_table(TABLE)
        if version is not None:
            try:
                table.checkout(version)
            except (ValueError, RuntimeError, OSError):
                raise ConfigError(f"{path} has no version {version}; it has {_numbers(table)}") from None
        return cls(path, table)

    def __len__(self) -> int:
        with reading(self.path):
            return int(self.table.count_rows())

    def __repr__(self) -> str:
        return f"Store({self.path}, {len(self)} vectors of width {self.width}, {self.provenance.sentence()})"

    @property
    def columns(self) -> list[str]:
        """Names of the columns beside id and vector."""
        return [name for name in self.table.schema.names if name not in _OWN]

    @property
    def version(self) -> int:
        """Number of the version that is open."""
        return int(self.table.version)

    def versions(self) -> list[tuple[int, datetime, int]]:
        """Number, time and rows of all versions, oldest first."""
        return [
            (int(one["version"]), one["timestamp"], int(one["metadata"].get("total_rows", 0)))
            for one in self.table.list_versions()
        ]

    def restore(self, version: int) -> None:
        """Make an earlier version the newest one; those between stay.

        Raises:
            ConfigError: there is no such version.
        """
        if version not in [number for number, _, _ in self.versions()]:
            raise ConfigError(f"{self.path} has no version {version}; it has {_numbers(self.table)}")
        with self.locked(), writing(self.path):
            self.table.restore(version)
            self.table.checkout_latest()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing; the lock goes with the process, however that ends.

        The lock of a store that is no folder holds on this machine alone.

        Raises:
            ConfigError: another process writes.
        """
        if self._locked:
            yield
            return
        with lock_of(self.path).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(f"another process is writing to {self.path}; wait for its end") from None
            self._locked = True
            try:
                self.table.checkout_latest()
                yield
            finally:
                self._locked = False

    def add(self, ids: Sequence[str], vectors: np.ndarray, columns: Mapping[str, Sequence[Any]] | None = None) -> None:
        """Append rows, all or none.

        Args:
            ids: (N,) names, all different and not in the store.
            vectors: (N, D) finite numbers.
            columns: name -> (N,) values; a column that is left out stays empty.

        Raises:
            DataError: an id twice or there already, NaN or infinity, another width, an unknown column.
        """
        block = self._block(ids, vectors, columns)
        with self.locked():
            there = self._ids.among(self, ids)
            if there:
                raise DataError(
                    f"{self.path} has a row {there[0]!r} already ({len(there)} of these {len(ids)} ids are there); "
                    "leave those out, or replace them with upsert"
                )
            if len(ids):
                before = self.version
                with writing(self.path):
                    self.table.add(block)
                self._ids.take(self, ids, before)

    def upsert(
        self, ids: Sequence[str], vectors: np.ndarray, columns: Mapping[str, Sequence[Any]] | None = None
    ) -> None:
        """Put rows in the place of those with the same ids, and append those that are new, all or none.

        Raises:
            DataError: as of `add`, but for ids that are there.
        """
        block = self._block(ids, vectors, columns)
        if len(ids):
            with self.locked(), writing(self.path):
                before = self.version
                how = self.table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
                how.execute(block)
                self._ids.take(self, ids, before)

    def delete(self, ids: Sequence[str] = (), where: str | None = None) -> int:
        """Take out rows by id or by a filter as in SQL; how many they were.

        Raises:
            ConfigError: the filter cannot be used.
        """
        with self.locked():
            before = len(self)
            for start in range(0, len(ids), BLOCK):
                with writing(self.path):
                    self.table.delete(f"id IN ({', '.join(quoted(one) for one in ids[start : start + BLOCK])})")
            if where is not None:
                with reading(self.path, where):
                    self.table.delete(where)
            return before - len(self)

    def among(self, ids: Sequence[str]) -> list[str]:
        """Those ids that are in the store, in the order given."""
        import pyarrow as pa
        import pyarrow.compute as pc

        there = self.column("id")
        return pa.array(ids, pa.string()).filter(pc.is_in(pa.array(ids, pa.string()), value_set=there)).to_pylist()

    def column(self, name: str) -> Any:
        """All values of a column, in the order of the rows, as an Arrow array."""
        import pyarrow as pa

        self._known([name])
        with reading(self.path):
            batches = list(self.table.search().select([name]).to_batches(batch_size=BLOCK))
        return pa.chunked_array([batch.column(name) for batch in batches], self.table.schema.field(name).type)

    def blocks(self, where: str | None = None, columns: Sequence[str] = (), size: int = BLOCK) -> Iterator[Any]:
        """Arrow batches of the rows that pass a filter, in order, of at most `size` rows: `columns` and `_rowid`.

        Raises:
            ConfigError: the filter cannot be used, or there is no such column. DataError: the store is damaged.
        """
        self._known(columns)
        with reading(self.path, where):
            found = self.table.search().select(list(columns)).with_row_id(True)
            for batch in (found if where is None else found.where(where)).to_batches(batch_size=size):
                yield from (batch.slice(start, size) for start in range(0, len(batch), size))

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(N, D) float32 vectors of rows, in the order of the ids.

        Raises:
            DataError: there is no such row.
        """
        found: dict[str, np.ndarray] = {}
        for start in range(0, len(ids), BLOCK):
            some = ", ".join(quoted(one) for one in ids[start : start + BLOCK])
            for batch in self.blocks(f"id IN ({some})", ["id", "vector"]):
                found |= zip(batch["id"].to_pylist(), as_matrix(batch["vector"], self.width), strict=True)
        missing = next((one for one in ids if one not in found), None)
        if missing is not None:
            raise DataError(f"{self.path} has no row {missing!r}")
        return np.stack([found[one] for one in ids]) if len(ids) else np.empty((0, self.width), np.float32)

    def search(
        self,
        queries: np.ndarray,
        k: int = 10,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        approximate: bool = False,
        compact: str | None = None,
        scores: str = "cosine",
    ) -> list[list[searching.Hit]]:
        """The k nearest rows of each query, nearest first; fewer where fewer pass the filter.

        Args:
            queries: (Q, D), or (D,) for one.
            where: a filter as in SQL, which rows must pass: label = 'cat' AND year > 2000.
            columns: which to bring along; all but those of bytes when None.
            approximate: by the index, which `build_index` makes.
            compact: by compact vectors, "int8", "binary" or a width such as "128"; see `compact_vectors`.
            scores: "cosine", or "csls" or "proximity", which hubs gain nothing by; see `nearfar.store.hubs`.

        Raises:
            ConfigError: the filter cannot be used, k < 1, two ways at once, or there is no index, or its rows have
            changed much since it was measured. DataError: another width, NaN.
        """
        asked = searching.as_queries(self, queries)
        columns = self._brought(columns)
        if k < 1:
            raise ConfigError(f"k is 1 or more, not {k}")
        if approximate + (compact is not None) + (scores != "cosine") > 1:
            raise ConfigError("search by one of: the index, compact vectors, other scores than the cosine")
        if approximate and self._usable != self.version:
            indexing.usable(self)
            self._usable = self.version
        if compact is not None:
            found = compacting.by_compact(self, asked, k, where, compact)
        elif scores != "cosine":
            found = hubs.corrected(self, asked, k, where, scores)
        elif approximate and searching.by_the_index(self, where):
            found = searching.by_index(self, asked, k, where)
        else:
            found = searching.exact(self, asked, k, where)
        return searching.hits(self, *found, columns)

    def lexical(
        self,
        words: str,
        k: int = 10,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        column: str = "text",
    ) -> list[searching.Hit]:
        """The k best rows that share a word with the question, by BM25; see `nearfar.store.lexical`.

        Raises:
            ConfigError: no such column of texts, or the filter cannot be used.
        """
        rows, scores = lexical.by_words(self, words, k, where, column)
        return searching.hits(self, [rows], [scores], self._brought(columns))[0]

    def like(self, name: str, k: int = 10, where: str | None = None, **how: Any) -> list[searching.Hit]:
        """The k rows nearest to the row with some id, without itself.

        Raises:
            DataError: there is no such row. Further as of `search`.
        """
        other = f"id <> {quoted(name)}"
        if where is not None:
            next(self.blocks(where), None)  # the message then shows the filter as it was given
            other = f"({where}) AND {other}"
        return self.search(self.vectors([name]), k, other, **how)[0]

    def build_index(
        self, kind: str = "hnsw", promise: float = 0.95, sample: int = 100, where: str | None = None
    ) -> indexing.Recall:
        """An index for approximate search, with the recall that was measured on it; see `nearfar.store.index.build`."""
        with self.locked():
            return indexing.build(self, kind, promise, sample, where=where)

    def remeasure_index(self, sample: int = 100) -> indexing.Recall:
        """The recall of the index measured again, after rows have come or gone."""
        with self.locked():
            return indexing.remeasure(self, sample)

    def recall(self) -> indexing.Recall | None:
        """What was measured of the index last; None where there is none."""
        return indexing.measured(self)

    def compact_vectors(self, kind: str) -> compacting.Compact:
        """Compact vectors and what they find, made where there are none of this version; see `nearfar.store.compact`.

        Raises:
            ConfigError: an unknown kind. ImportError: faiss is not installed.
        """
        return compacting.compact(self, kind)

    def compact_files(self, days: float | None = None) -> None:
        """Put many small files together, take out deleted rows, and bring later rows into the indices.

        The rows stay, but their order may change. It is worth its time after many small appends.

        Args:
            days: versions that are older are given up, and the room they take is freed; all are kept when None.
        """
        with self.locked(), writing(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that readers of the versions given up will fail
            self.table.optimize(cleanup_older_than=timedelta(days=36500 if days is None else days))

    def facts(self) -> dict[str, Any]:
        """What is noted beside the rows, such as the data that were embedded."""
        held = (self.table.schema.field("id").metadata or {}).get(_KEY, b"{}")
        found: dict[str, Any] = json.loads(held)
        return found

    def note(self, **facts: Any) -> None:
        """Note JSON-able facts beside the rows, as a version of its own."""
        with self.locked(), writing(self.path):
            self.table.update_field_metadata(
                {"path": "id", "metadata": {_KEY.decode(): json.dumps(self.facts() | facts)}}
            )

    def _brought(self, columns: Sequence[str] | None) -> Sequence[str]:
        """Columns that come along with rows that are found."""
        if columns is None:
            return [name for name in self.columns if self.table.schema.field(name).type != "binary"]
        self._known(columns)
        return columns

    def _known(self, columns: Sequence[str]) -> None:
        unknown = next((name for name in columns if name not in self.table.schema.names), None)
        if unknown is not None:
            raise ConfigError(f"{self.path} has no column {unknown!r}; it has {', '.join(self.table.schema.names)}")

    def _block(self, ids: Sequence[str], vectors: np.ndarray, columns: Mapping[str, Sequence[Any]] | None) -> Any:
        import pyarrow as pa

        ids, columns = list(ids), dict(columns or {})
        rows = checked_vectors(vectors, self.width, str(self.path))
        for name, values in ({"vectors": rows} | columns).items():
            if len(values) != len(ids):
                raise DataError(f"{len(ids)} ids but {len(values)} {name}; there must be one for each row")
        wrong = next((row for row, one in enumerate(ids) if not isinstance(one, str) or not one), None)
        if wrong is not None:
            raise DataError(f"row {wrong}: an id is a text that is not empty, not {ids[wrong]!r}")
        if len(set(ids)) < len(ids):
            often, count = Counter(ids).most_common(1)[0]
            raise DataError(f"the id {often!r} is given to {count} rows; ids must all differ")
        self._known(list(columns))
        arrays = []
        for field in self.table.schema:
            if field.name == "vector":
                arrays.append(fixed_list(rows))
                continue
            values = ids if field.name == "id" else columns.get(field.name, [None] * len(ids))
            try:
                arrays.append(pa.array(values, field.type))
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise DataError(f"the column {field.name!r} holds {field.type}: {error}") from None
        return pa.Table.from_arrays(arrays, schema=self.table.schema)


def checked_vectors(vectors: np.ndarray, width: int, where: str) -> np.ndarray:
    """(N, D) vectors as float32.

    Raises:
        DataError: another shape or width, no numbers, NaN or infinity; the first such row is named.
    """
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(f"vectors must be numbers of shape (N, D), got {array.dtype} of shape {array.shape}")
    if array.shape[1] != width:
        raise DataError(
            f"{where} holds vectors of width {width}, and these have {array.shape[1]}: another model made them"
        )
    # Not (<=), so that NaN is found too.
    broken = np.flatnonzero(~(np.abs(array) <= LARGEST).all(axis=1))
    if len(broken):
        raise DataError(
            f"vectors: row {broken[0]} holds NaN, infinity or a number above {LARGEST:g}; "
            "drop such rows or look at the encoder"
        )
    return array.astype(np.float32, copy=False)


def _numbers(table: Any) -> str:
    numbers = [int(one["version"]) for one in table.list_versions()]
    return f"{numbers[0]} to {numbers[-1]}"
