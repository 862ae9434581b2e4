"""Columns that come later go to their rows, and change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.store import Store, put_columns


def test_values_go_to_their_rows_and_nothing_else_changes(tmp_path: Path):
    store = Store.create(tmp_path / "s", 2, columns={"label": "string"})
    ids = [f"r{row}" for row in range(20_000)]
    vectors = np.random.default_rng(0).standard_normal((20_000, 2)).astype(np.float32)
    for start in range(0, 20_000, 8192):
        part = slice(start, start + 8192)
        store.add(ids[part], vectors[part], {"label": ids[part]})
    put_columns(store, {"found": "string", "sure": "float64"}, ids[:3][::-1], {"found": "xyz", "sure": [1, 2, None]})
    put_columns(store, {"found": "string"}, ["r7"], {"found": ["w"]})
    again = Store.open(tmp_path / "s")
    held = {name: again.column(name).to_pylist() for name in ("id", "label", "found", "sure")}
    assert sorted(held["id"]) == sorted(ids) and held["label"] == held["id"]
    found = {one: value for one, value in zip(held["id"], held["found"], strict=True) if value is not None}
    assert found == {"r0": "z", "r1": "y", "r2": "x", "r7": "w"}
    assert {one: value for one, value in zip(held["id"], held["sure"], strict=True) if value is not None} == {
        "r1": 2.0,
        "r2": 1.0,
    }
    assert np.array_equal(again.vectors(ids[::1000]), vectors[::1000])


def test_columns_that_cannot_be_are_refused(tmp_path: Path):
    store = Store.create(tmp_path / "s", 2, columns={"label": "string"})
    store.add(["a"], np.ones((1, 2)))
    for kinds, error, message in (
        ({"label": "float64"}, ConfigError, "'label' of .* holds string, not float64"),
        ({"vector": "string"}, ConfigError, "cannot be written"),
        ({"new": "list"}, ConfigError, "cannot be written"),
    ):
        with pytest.raises(error, match=message):
            put_columns(store, kinds, ["a"], {name: [None] for name in kinds})
    with pytest.raises(DataError, match="has no row 'b'"):
        put_columns(store, {"new": "string"}, ["b"], {"new": ["x"]})
