"""Stores come from files and go to files without a number or a name lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.store import Store, export_file, import_file

VECTORS = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
IDS = ["a", "b", "c", "d", "e"]


def write(path: Path, ids: list[str] = IDS, vectors: np.ndarray = VECTORS) -> Path:
    """A table as another program would write it: lists of any length, double numbers, a column nobody can take."""
    table = pa.table(
        {
            "id": ids,
            "vector": pa.array(vectors.astype(np.float64).tolist()),
            "kind": pa.array(["x", None, "y", "x", "y"][: len(ids)]).dictionary_encode(),
            "year": pa.array(range(len(ids)), pa.int32()),
            "parts": [[1]] * len(ids),
        }
    )
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("kind", [".parquet", ".arrow"])
def test_a_table_goes_in_and_out(tmp_path: Path, kind: str):
    store = import_file(write(tmp_path / f"in{kind}"), tmp_path / "s", encoder="other")
    assert store.column("id").to_pylist() == IDS and store.columns == ["kind", "year"]
    assert np.array_equal(store.vectors(IDS), VECTORS)
    assert store.column("kind").to_pylist() == ["x", None, "y", "x", "y"]
    assert export_file(store, tmp_path / f"out{kind}", "year > 1") == 3
    out = tmp_path / f"out{kind}"
    table = pq.read_table(out) if kind == ".parquet" else pa.ipc.open_file(str(out)).read_all()
    assert table.column_names == ["id", "vector", "kind", "year"] and table["year"].to_pylist() == [2, 3, 4]
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), VECTORS[2:])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"in{kind}", f"out{kind}", "s"])


@pytest.mark.parametrize("kind", [".npy", ".npz"])
def test_arrays_go_in_and_out(tmp_path: Path, kind: str):
    path = tmp_path / f"in{kind}"
    if kind == ".npy":
        np.save(path, VECTORS)
    else:
        classes = np.array(["cat", "dog"])
        np.savez(path, vectors=VECTORS, names=np.array(IDS), labels=np.array([0, 1, -1, 0, 1]), classes=classes)
    store = import_file(path, tmp_path / "s")
    ids = IDS if kind == ".npz" else ["0", "1", "2", "3", "4"]
    assert store.column("id").to_pylist() == ids
    if kind == ".npz":
        assert store.column("label").to_pylist() == ["cat", "dog", None, "cat", "dog"]
    assert export_file(store, tmp_path / f"out{kind}") == 5
    back = np.load(tmp_path / f"out{kind}")
    np.testing.assert_array_equal(back if kind == ".npy" else back["vectors"], VECTORS)
    if kind == ".npz":
        assert back["names"].tolist() == IDS


def test_an_import_goes_on_where_it_was_and_keeps_to_its_encoder(tmp_path: Path):
    import_file(write(tmp_path / "one.parquet", IDS[:2], VECTORS[:2]), tmp_path / "s", "other")
    store = import_file(write(tmp_path / "all.parquet"), tmp_path / "s", "other")
    assert store.column("id").to_pylist() == IDS
    with pytest.raises(ConfigError, match="vectors of other, and these are vectors of another"):
        import_file(tmp_path / "all.parquet", tmp_path / "s", "another")


def test_bad_files_are_named(tmp_path: Path):
    (tmp_path / "no.parquet").write_text("x")
    (tmp_path / "no.arrow").write_text("x")
    np.save(tmp_path / "flat.npy", VECTORS[0])
    write(tmp_path / "twice.parquet", ["a", "b", "a"], VECTORS[:3])
    pq.write_table(pa.table({"vector": [[1.0, 2.0], [1.0]]}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"words": ["x"]}), tmp_path / "words.parquet")
    for name, error, message in (
        ("none.npy", DataError, "there is no file"),
        ("x.csv", ConfigError, r"vectors are read from \.npy, \.npz, \.parquet, \.arrow"),
        ("no.parquet", DataError, "cannot be read"),
        ("no.arrow", DataError, "cannot be read"),
        ("flat.npy", DataError, "must have shape"),
        ("twice.parquet", DataError, "the id 'a' stands there twice"),
        ("ragged.parquet", DataError, "the vector of row 1 has 1 numbers, the first one 2"),
        ("words.parquet", DataError, "has no column 'vector'; it has words"),
    ):
        with pytest.raises(error, match=message):
            import_file(tmp_path / name, tmp_path / f"store of {name}")
    with pytest.raises(ConfigError, match="vectors are written to"):
        export_file(Store.create(tmp_path / "s", 2), tmp_path / "x.csv")
