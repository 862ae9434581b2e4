"""The map has a point for each row with what is known of it, and it is drawn in a browser without the network."""

from __future__ import annotations

import csv
import functools
import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from browser import CHROMIUM, Browser
from nearfar.errors import ConfigError, DataError
from nearfar.exploring import mapped, serve, write_site
from nearfar.exploring.site import _opened
from nearfar.report.pictures import encoded, picture
from nearfar.store import Store
from saying import Command

ROWS = 60
RNG = np.random.default_rng(0)
VECTORS = (np.eye(3, 6)[np.arange(ROWS) % 3] + 0.1 * RNG.standard_normal((ROWS, 6))).astype(np.float32)
VECTORS[50] = VECTORS[5]
IDS = [f"r{row}" for row in range(ROWS)]
NAMES = ["cat", "dog", "star"]


def made(path: Path, vectors: np.ndarray = VECTORS, pictures: bool = False) -> Store:
    kinds = {"label": "string", "text": "string", "digest": "string", "loss": "float64"}
    store = Store.create(path, 6, columns={**kinds, **({"thumbnail": "binary"} if pictures else {})})
    columns: dict[str, Any] = {
        "label": [NAMES[row % 3] for row in range(ROWS)],
        "text": [f"words of the {NAMES[row % 3]} number {row}" for row in range(ROWS)],
        "loss": RNG.random(ROWS).tolist(),
    }
    if pictures:
        small = [np.full((1, 8, 8), 80 * (row % 3) + 40, np.uint8) for row in range(ROWS)]
        columns = {"label": columns["label"], "thumbnail": [encoded(picture(one, 96))[0] for one in small]}
    store.add(IDS, vectors, columns)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return made(tmp_path / "s")


def test_every_row_is_a_point_with_its_columns_and_neighbours(store: Store):
    found = mapped(store, copies=True, threshold=0.9999)
    table = found.table
    assert table["id"].to_pylist() == IDS and table["__row"].to_pylist() == list(range(ROWS))
    assert set(table.column_names) == {
        "id", "label", "text", "loss", "__row", "x", "y", "__neighbours", "duplicate", "duplicate_group",
    }  # fmt: skip
    x = VECTORS.astype(np.float64) / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    cosines = x @ x.T
    np.fill_diagonal(cosines, -2)
    for row, near in enumerate(table["__neighbours"].to_pylist()):
        known = np.sort(cosines[row])[::-1][:15]
        np.testing.assert_allclose(1 - np.array(near["distances"]), known, atol=1e-5)
        np.testing.assert_allclose(cosines[row, near["ids"]], known, atol=1e-5)
    told = dict(zip(IDS, table["duplicate"].to_pylist(), strict=True))
    assert {one for one, what in told.items() if what != "single"} == {"r5", "r50"}
    assert (told["r5"], told["r50"]) == ("kept", "may go") and found.colour == "label" and found.text == "text"


def test_who_moved_is_the_share_of_other_neighbours(store: Store, tmp_path: Path):
    other = VECTORS.copy()
    other[:10] = RNG.standard_normal((10, 6))
    against = made(tmp_path / "t", other)
    against.delete(["r59"])
    moved = mapped(store, against).table["moved"].to_pylist()
    near = []
    for vectors in (VECTORS[:59], other[:59]):
        x = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = (x @ x.T).astype(np.float64)
        np.fill_diagonal(cosines, -2)
        near.append([set(np.argsort(-line, kind="stable")[:15].tolist()) for line in cosines])
    naive = [1 - len(a & b) / 15 for a, b in zip(*near, strict=True)]
    assert moved[59] is None and moved[:59] == pytest.approx(naive, abs=1 / 15 + 1e-9)
    assert np.mean(moved[:10]) > np.mean(moved[10:59])
    assert mapped(store, store).table["moved"].to_pylist() == [0.0] * ROWS


def test_a_part_is_drawn_evenly_and_by_its_seed(store: Store):
    one, two = mapped(store, most=20), mapped(store, most=20)
    assert one.table.num_rows == 20 and one.rows == ROWS
    assert (
        one.table["id"].to_pylist() == two.table["id"].to_pylist() == sorted(one.table["id"].to_pylist(), key=IDS.index)
    )


def test_what_cannot_be_is_said(store: Store, tmp_path: Path):
    empty = Store.create(tmp_path / "empty", 6)
    strange = Store.create(tmp_path / "strange", 6)
    strange.add(["x", "y", "z"], np.eye(3, 6))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    for call, error, message in (
        (lambda: mapped(empty), DataError, "has 0 rows"),
        (lambda: mapped(store, strange), DataError, "has 0 of these 60 rows"),
        (lambda: mapped(store, most=2), ConfigError, "3 rows or more"),
        (lambda: mapped(store, projection="tsne"), ConfigError, "pacmap, pca or auto"),
        (lambda: write_site(mapped(store), tmp_path / "full"), ConfigError, "is there already"),
    ):
        with pytest.raises(error, match=message):
            call()
    with _opened(0) as taken, pytest.raises(ConfigError, match="is taken"):
        _opened(taken.getsockname()[1])


@contextmanager
def served(made_map: Any) -> Iterator[str]:
    """The address of a map that is served in a thread of this process."""
    address: list[str] = []
    ready = threading.Event()

    def told(one: str) -> None:
        address.append(one)
        ready.set()

    threading.Thread(target=serve, args=(made_map, 0, told), daemon=True).start()
    assert ready.wait(30)
    yield address[0]


def test_the_map_is_served_under_the_name_of_this_machine_and_nothing_can_be_asked_or_written(store: Store):
    with served(mapped(store)) as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/data/metadata.json") as answer:
            assert json.load(answer)["isStatic"] is True
        for request, code in (
            (urllib.request.Request(f"{address}/data/metadata.json", headers={"Host": "evil.example"}), 400),
            (urllib.request.Request(f"{address}/data/query", data=b"{}"), 405),
            (urllib.request.Request(f"{address}/data/..%2f..%2fetc%2fpasswd"), 404),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code == code


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)")
@pytest.mark.parametrize("pictures", [False, True], ids=["texts", "pictures"])
def test_the_map_is_drawn_offline_from_an_exported_folder(tmp_path: Path, pictures: bool, command: Command):
    made(tmp_path / "s", pictures=pictures)
    said = command("explore", tmp_path / "s", "--export", tmp_path / "site")
    assert said.code == 0 and "60 of 60 rows" in said.out
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        with Browser(tmp_path / "profile", drawing=True) as page:
            page.open(address, "true")
            page.wait("document.body.innerText.includes('60 points') && document.querySelector('canvas') !== null", 90)
            page.wait("document.body.innerText.includes('star')")
            if pictures:
                page.wait("document.querySelectorAll('img[src^=\"data:image/png\"]').length > 0")
            else:
                page.wait("document.body.innerText.includes('words of the cat number 0')")
            assert "Error" not in page.text()
            outside = [one for one in page.asked if not one.startswith((address, "data:", "blob:"))]
            missed = "Failed to load resource: the server responded with a status of 404"  # no icon, nothing kept yet
            assert outside == [] and [one for one in page.told if not one.startswith(missed)] == []
        server.shutdown()


def test_a_selection_of_the_map_is_exported_from_the_store(store: Store, tmp_path: Path, command: Command):
    rows = [{"id": "r3", "label": "cat"}, {"id": "r1", "label": "dog"}]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "s.txt").write_text("r3\nr1\n\n")
    with (tmp_path / "s.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "label"])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(mapped(store).table.take([3, 1]), tmp_path / "s.parquet")
    for kind in ("json", "jsonl", "txt", "csv", "parquet"):
        said = command("store", "export", store.path, tmp_path / "out.parquet", "--ids", tmp_path / f"s.{kind}")
        assert said.code == 0 and said.out.startswith("2 vectors"), said.err
        assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == ["r1", "r3"]
    (tmp_path / "bad.csv").write_text("name\nr1\n")
    for name, message in (("bad.csv", "no column 'id'"), ("none.csv", "there is no file"), ("s.npy", "ids are read")):
        assert message in command("store", "export", store.path, tmp_path / "o.npz", "--ids", tmp_path / name).err
    (tmp_path / "odd.txt").write_text("r1\nnobody\n")
    said = command("store", "export", store.path, tmp_path / "o.npz", "--ids", tmp_path / "odd.txt")
    assert said.code == 2 and "has no row 'nobody'" in said.err
