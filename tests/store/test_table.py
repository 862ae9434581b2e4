"""A store keeps what it is given, once, and says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError, NearfarError
from nearfar.store import Provenance, Store

VECTORS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
IDS = list("abcdef")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "s", 4, Provenance("aa", "e", "text"), {"label": "string", "year": "int64"})
    made.add(IDS, VECTORS, {"label": ["x", "y", None, "x", "y", "it's"], "year": list(range(2000, 2006))})
    return made


def held(store: Store) -> list[str]:
    return store.column("id").to_pylist()  # type: ignore[no-any-return]


def test_what_was_put_in_comes_out_to_the_bit_after_opening_again(store: Store):
    again = Store.open(store.path)
    assert len(again) == 6 and again.width == 4 and again.columns == ["label", "year"]
    assert held(again) == IDS and np.array_equal(again.vectors(["e", "a"]), VECTORS[[4, 0]])
    assert again.column("label").to_pylist() == ["x", "y", None, "x", "y", "it's"]
    assert again.provenance == Provenance("aa", "e", "text")


def test_upsert_replaces_and_appends_and_delete_takes_out(store: Store):
    store.upsert(["b", "z"], -VECTORS[:2], {"label": ["new", "new"]})
    assert sorted(held(store)) == [*IDS, "z"] and np.array_equal(store.vectors(["b"]), -VECTORS[:1])
    assert store.delete(["a", "nobody"]) == 1 and store.delete(where="label = 'new'") == 2
    assert sorted(held(store)) == list("cdef")


def test_every_change_is_a_version_that_opens_and_comes_back(store: Store):
    before = store.version
    store.delete(["a"])
    store.add(["q"], VECTORS[:1])
    assert [rows for _, _, rows in store.versions()][-3:] == [6, 5, 6]
    assert held(Store.open(store.path, before)) == IDS
    store.restore(before)
    assert held(store) == held(Store.open(store.path)) == IDS
    with pytest.raises(ConfigError, match="has no version 99; it has 1 to"):
        Store.open(store.path, 99)


def test_an_add_that_cannot_be_leaves_the_store_as_it_was(store: Store):
    bad = VECTORS[:2].copy()
    bad[1, 2] = np.nan
    for ids, vectors, columns, message in (
        (["g", "a"], VECTORS[:2], None, "has a row 'a' already"),
        (["g", "g"], VECTORS[:2], None, "the id 'g' is given to 2 rows"),
        (["g", ""], VECTORS[:2], None, "row 1: an id is a text that is not empty"),
        (["g", "h"], bad, None, "row 1 holds NaN"),
        (["g", "h"], np.full((2, 4), 1e39), None, "row 0 holds NaN, infinity or a number above"),
        (["g", "h"], VECTORS[:2, :3], None, "holds vectors of width 4, and these have 3"),
        (["g", "h"], VECTORS[:1], None, "2 ids but 1 vectors"),
        (["g", "h"], VECTORS[:2], {"colour": ["r", "g"]}, "has no column 'colour'"),
        (["g", "h"], VECTORS[:2], {"year": ["r", "g"]}, "the column 'year' holds int64"),
    ):
        with pytest.raises(DataError if "colour" not in message else ConfigError, match=message):
            store.add(ids, vectors, columns)
    assert held(store) == IDS


def test_vectors_of_another_model_are_refused():
    own = Provenance("aa", "e", "text")
    own.require(Provenance("aa", "another name", "text"), "s")
    for other in (Provenance("bb", "e", "text"), Provenance("aa", "e", "images"), Provenance("", "e")):
        with pytest.raises(ConfigError, match="vectors of two models cannot be compared"):
            own.require(other, "s")
    with pytest.raises(ConfigError):
        Provenance("", "one").require(Provenance("", "other"), "s")


def test_a_place_that_is_no_store_is_named(tmp_path: Path, store: Store):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "photo").write_text("x")
    for name, opened, created in (("none", "not there", None), ("file", "is a file", "is a file"),
                                  ("folder", "is no store", "is there already")):  # fmt: skip
        with pytest.raises(ConfigError, match=opened.removeprefix("is ")):
            Store.open(tmp_path / name)
        if created:
            with pytest.raises(ConfigError, match=created):
                Store.create(tmp_path / name, 2)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="is there already"):
        Store.create(store.path, 4)
    with pytest.raises(ConfigError, match="a column 'id'"):
        Store.create(tmp_path / "t", 2, columns={"id": "string"})


def test_a_store_that_was_stopped_before_it_was_made_is_made(tmp_path: Path):
    for folder, file in (("_transactions", "0.txn"), ("_versions", "1.manifest#1")):
        (tmp_path / "s" / "rows.lance" / folder).mkdir(parents=True)
        (tmp_path / "s" / "rows.lance" / folder / file).write_text("half")
    with pytest.raises(ConfigError, match="is no store"):
        Store.open(tmp_path / "s")
    assert len(Store.create(tmp_path / "s", 2)) == 0


@pytest.mark.parametrize("what", ["_versions", "data"])
def test_a_damaged_store_is_called_so(store: Store, what: str):
    for file in (store.path / "rows.lance" / what).iterdir():
        file.write_bytes(b"nothing")
    with pytest.raises(DataError, match="is damaged"):
        Store.open(store.path).vectors(["a"])


def test_one_process_writes_at_a_time(store: Store):
    with (
        store.locked(),
        pytest.raises(ConfigError, match="another process is writing"),
        Store.open(store.path).locked(),
    ):
        pass
    Store.open(store.path).delete(["a"])
    store.add(["z"], VECTORS[:1])
    assert sorted(held(store)) == list("bcdefz")


def test_a_full_disk_is_said_and_loses_nothing(store: Store):
    program = (
        "import resource, sys, numpy as np\n"
        "from nearfar.store import Store\n"
        "store = Store.open(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "store.add([str(row) for row in range(20_000)], np.ones((20_000, 4)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, store.path], capture_output=True, text=True)
    assert NearfarError.__name__ in ran.stderr and "the rows before them are kept: make room" in ran.stderr
    assert held(Store.open(store.path)) == IDS
    store.add(["z"], VECTORS[:1])
    assert len(store) == 7
