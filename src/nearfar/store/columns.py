"""Columns that come to a store later, such as what was found out about its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.errors import ConfigError, DataError

from .lance import writing
from .table import TYPES, Store


def put_columns(
    store: Store, kinds: Mapping[str, str], ids: Sequence[str], values: Mapping[str, Sequence[Any]]
) -> None:
    """Write values of some rows into columns, which are made where there are none; the other rows keep theirs.

    Rows may change their places, as by `upsert`, and an index is to be built again.

    Args:
        kinds: name of each column -> "string", "int64", "float64" or "bool".
        ids: (M,) rows that get values.
        values: name of each column -> (M,) values, None for empty.

    Raises:
        ConfigError: a column is there with another type, or cannot be. DataError: there is no such row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    with store.locked():
        schema = store.table.schema
        for name, kind in kinds.items():
            if kind not in TYPES or name in ("id", "vector") or name.startswith("_"):
                raise ConfigError(f"a column {name!r} of type {kind!r} cannot be written to {store.path}")
            if name in schema.names and schema.field(name).type != pa.type_for_alias(kind):
                raise ConfigError(f"the column {name!r} of {store.path} holds {schema.field(name).type}, not {kind}")
        there = store.column("id")
        places = pc.index_in(pa.array(ids, pa.string()), value_set=there).to_pylist()
        if None in places:
            raise DataError(f"{store.path} has no row {ids[places.index(None)]!r}")
        filled: dict[str, Any] = {"id": there}
        for name, kind in kinds.items():
            column = store.column(name).to_pylist() if name in schema.names else [None] * len(there)
            for place, value in zip(places, values[name], strict=True):
                column[place] = value
            filled[name] = pa.array(column, pa.type_for_alias(kind))
        new = [pa.field(name, pa.type_for_alias(kind)) for name, kind in kinds.items() if name not in schema.names]
        with writing(store.path):
            if new:
                store.table.add_columns(new)
            if len(there):
                store.table.merge_insert("id").when_matched_update_all().execute(pa.table(filled))
