"""Data go into a store once, whatever happens, and are found by words."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.text.source import TextSource
from nearfar.opening import open_run
from nearfar.run import Run
from nearfar.store import Store
from nearfar.store.place import is_store
from nearfar.storing import embed_into, embed_query, ids_of, search
from saying import Command

TEXTS = ["a cat sleeps", "a dog barks loudly", "stars shine at night", "a cat sleeps", "the kitten naps"]


@pytest.fixture(scope="module")
def run() -> Run:
    return open_run("ngrams", TextSource({"text": TEXTS}))


def content(store: Store) -> dict[str, bytes]:
    ids = store.column("id").to_pylist()
    assert len(set(ids)) == len(ids)
    return {one: vector.tobytes() for one, vector in zip(ids, store.vectors(ids), strict=True)}


def test_rows_are_embedded_once_and_again_when_they_change(run: Run, tmp_path: Path):
    names = ["a", "b", "c", "d", "e"]
    source = TextSource({"text": TEXTS}, names=names, labels=np.array([0, 1, -1, 0, 0]), classes=["cat", "dog"])
    done = embed_into(run, source, tmp_path / "s", block=2, batch_size=2)
    assert (done.added, done.changed, done.kept) == (5, 0, 0)
    np.testing.assert_allclose(done.store.vectors(names), run.embed(source).vectors, atol=1e-6)
    assert done.store.column("text").to_pylist() == TEXTS
    assert done.store.column("label").to_pylist() == ["cat", "dog", None, "cat", "cat"]
    other = TextSource({"text": [*TEXTS[:2], "the sun shines", "new words"]}, names=["a", "b", "c", "z"])
    done = embed_into(run, other, tmp_path / "s")
    assert (done.added, done.changed, done.kept) == (1, 1, 2)
    found = dict(zip(done.store.column("id").to_pylist(), done.store.column("text").to_pylist(), strict=True))
    assert found == {**dict(zip(names, TEXTS, strict=True)), "c": "the sun shines", "z": "new words"}
    assert [one["items"] for one in done.store.facts()["data"].values()] == [5, 4]


def test_ids_are_names_or_content_and_all_differ():
    source = TextSource({"text": TEXTS})
    ids = ids_of(source)
    assert len(set(ids)) == 5 and ids[3] == f"{ids[0]}#2" and len(ids[0]) == 32
    assert ids_of(source.select(np.array([1, 4]))) == [ids[1], ids[4]]
    assert ids_of(source, "name")[3] == "a cat sleeps#2"
    with pytest.raises(DataError, match="use ids by content"):
        ids_of(TextSource({"text": TEXTS[:3]}, names=["x", "x", "x#2"]))
    with pytest.raises(ConfigError, match="auto, name or content"):
        ids_of(source, "number")  # type: ignore[arg-type]


def test_words_find_texts_and_other_weights_are_refused(run: Run, tmp_path: Path):
    done = embed_into(run, TextSource({"text": TEXTS}), tmp_path / "s")
    vectors, asked = run.embed(TextSource({"text": TEXTS})).vectors, embed_query(done.store, "the dog barks")
    cosines = vectors @ asked[0] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(asked)
    hits = search(tmp_path / "s", "the dog barks", k=2)
    assert [hit.columns["text"] for hit in hits] == [TEXTS[row] for row in np.argsort(-cosines)[:2]]
    assert hits[0].score == pytest.approx(cosines.max(), abs=1e-6)
    other = open_run("ngrams", TextSource({"text": TEXTS}), seed=1)
    with pytest.raises(ConfigError, match="vectors of two models cannot be compared"):
        embed_into(other, TextSource({"text": ["x"]}), tmp_path / "s")
    for bad in ({}, {"question": "x", "like": "y"}):
        with pytest.raises(ConfigError, match="search by one of"):
            search(tmp_path / "s", **bad)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="without words"):
        search(tmp_path / "s", " ")


def test_the_commands(trained: Path, small: Path, tmp_path: Path, command: Command):
    store = tmp_path / "my.store"
    said = command("embed", trained, small, "--store", store)
    assert said.code == 0 and "(200 new, 0 changed, 0 as they were)" in said.out
    assert "(0 new, 0 changed, 200 as they were)" in command("embed", trained, small, "--store", store).out
    opened = Store.open(store)
    np.testing.assert_allclose(
        opened.vectors(opened.column("id").to_pylist()), Run.load(trained).embed(small).vectors, atol=1e-5
    )
    label = opened.column("label").to_pylist()[0]
    name = opened.column("id").to_pylist()[0]
    said = command("search", store, "--id", name, "-k", 3, "--where", f"label = '{label}'")
    assert said.code == 0 and len(said.out.splitlines()) == 4 and said.out.count(label) == 3
    for arguments, message in (
        (("search", store, "some words"), "not by words"),
        (("search", store, "--id", name, "--where", "colour = 1"), "the filter 'colour = 1' cannot be used"),
        (("search", tmp_path / "none", "x"), "is not there; make a store with"),
        (("embed", "small", small, "--store", store), "vectors of two models cannot be compared"),
        (("embed", trained, small, "--store", small), "is a file; choose another place"),
        (("embed", trained, small, "--store", store, "--out", "x.npz"), "leave out --out"),
        (("store", "delete", store), "say which rows"),
    ):
        said = command(*arguments)
        assert said.code == 2 and message in said.err and "Traceback" not in said.err
    assert "1 rows taken out" in command("store", "delete", store, "--id", name).out
    assert "199 vectors" in command("store", "export", store, tmp_path / "all.parquet").out
    assert "200 vectors" in command("store", "restore", store, opened.version).out
    assert "199 vectors" in command("store", "import", tmp_path / "all.parquet", tmp_path / "copy").out
    assert "200 vectors of width" in command("store", "info", store).out
    assert "an index needs 256" in command("store", "index", store).err


KILLED = """
import sys
from nearfar.modalities.text.source import TextSource
from nearfar.opening import open_run
from nearfar.storing import embed_into
source = TextSource({"text": [f"text number {row} of many" for row in range(3000)]})
print("begun", flush=True)
embed_into(open_run("ngrams", TextSource({"text": ["a", "b"]})), source, sys.argv[1], block=20, batch_size=20)
"""


@pytest.mark.slow
def test_killed_at_any_moment_no_row_is_lost_or_doubled(tmp_path: Path):
    def begin(path: Path) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, path], env=environment, stdout=subprocess.PIPE, text=True
        )

    def rows() -> int:
        return len(Store.open(path)) if is_store(path) else 0

    path, held = tmp_path / "s", 0
    for number in range(4):
        process = begin(path)
        while rows() < held + 300 * (number > 0):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.003 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = rows()
    assert 900 <= held < 3000
    assert begin(path).wait() == 0
    source = TextSource({"text": [f"text number {row} of many" for row in range(3000)]})
    whole = embed_into(
        open_run("ngrams", TextSource({"text": ["a", "b"]})), source, tmp_path / "whole", block=20, batch_size=20
    )
    assert whole.added == 3000 and content(Store.open(path)) == content(whole.store)


def test_pictures_are_found_by_a_picture_and_kept_small(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels = generator.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((120, 120), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{number}.png")
    assert command("embed", "small", "photos", "--store", "s").code == 0
    store = Store.open("s")
    for held, name in zip(store.column("thumbnail").to_pylist(), store.column("name").to_pylist(), strict=True):
        small, whole = Image.open(io.BytesIO(held)), Image.open(name)
        assert small.size == (96, 96)
        want = np.asarray(whole.resize((96, 96), Image.Resampling.BOX), dtype=float)
        assert np.abs(np.asarray(small.convert("RGB"), dtype=float) - want).mean() < 5
    said = command("search", "s", "--file", "photos/3.png", "-k", "2", "--json", "hits.json")
    assert said.code == 0 and "3.png" in said.out.splitlines()[1]
    hits = json.loads(Path("hits.json").read_text())
    assert hits[0]["score"] == pytest.approx(1, abs=1e-6) and "thumbnail" not in hits[0]
    assert "not by words" in command("search", "s", "a picture of noise").err
    Path("broken.png").write_bytes(b"no picture")
    assert "cannot be read: not an image" in command("search", "s", "--file", "broken.png").err
    assert command("search", "s", "--file", "gone.png").code == 2


def test_words_are_found_by_meaning_by_themselves_and_by_both(run: Run, tmp_path: Path, command: Command):
    store = embed_into(run, TextSource({"text": TEXTS}, names=list("abcde")), tmp_path / "s").store
    meaning = [hit.id for hit in search(store, "the dog sleeps", k=5)]
    words = [hit.id for hit in search(store, "the dog sleeps", k=5, words="lexical")]
    assert set(words) == {"a", "b", "d", "e"}
    sums = {one: sum(1 / (61 + ids.index(one)) for ids in (meaning, words) if one in ids) for one in meaning}
    hits = search(store, "the dog sleeps", k=3, words="hybrid")
    assert [hit.score for hit in hits] == pytest.approx(sorted(sums.values(), reverse=True)[:3])
    assert all(hit.score == pytest.approx(sums[hit.id]) for hit in hits)
    said = command("search", tmp_path / "s", "the dog sleeps", "--hybrid", "-k", 3)
    assert [line.split()[2] for line in said.out.splitlines()[1:]] == [hit.id for hit in hits]
    assert "no row holds a word of it" in command("search", tmp_path / "s", "zebra", "--lexical").err
    for bad in (("--id", "a", "--hybrid"), ("x", "--lexical", "--hybrid"), ("x", "--lexical", "--column", "size")):
        assert command("search", tmp_path / "s", *bad).code == 2


def test_hits_are_put_in_another_order_by_a_function_of_words_and_hits(run: Run, tmp_path: Path):
    store = embed_into(run, TextSource({"text": TEXTS}, names=list("abcde")), tmp_path / "s").store
    asked = []

    def shortest(words: str, hits: object) -> list[float]:
        asked.append(words)
        return [-len(hit.columns["text"]) for hit in hits]  # type: ignore[attr-defined]

    hits = search(store, "a cat", k=2, rerank=shortest, depth=5)
    assert [hit.id for hit in hits] in (["a", "d"], ["d", "a"]) and hits[0].score == -12 and asked == ["a cat"]
    with pytest.raises(DataError, match="1 scores for 5 hits"):
        search(store, "a cat", rerank=lambda *_: [1.0])
    with pytest.raises(ConfigError, match="need words"):
        search(store, like="a", rerank=shortest)


def test_a_store_is_searched_by_a_vector_in_a_file_compactly_and_against_hubs(
    run: Run, tmp_path: Path, command: Command
):
    texts = [f"text number {row} of many" for row in range(30)]
    store = embed_into(run, TextSource({"text": texts}, names=[f"t{row}" for row in range(30)]), tmp_path / "s").store
    np.save(tmp_path / "q.npy", store.vectors(["t7"])[0])
    np.save(tmp_path / "two.npy", store.vectors(["t7", "t8"]))
    for how in ((), ("--compact", "int8"), ("--scores", "csls"), ("--scores", "proximity")):
        said = command("search", tmp_path / "s", "--vector", tmp_path / "q.npy", "-k", 1, *how)
        assert said.code == 0 and "t7" in said.out.splitlines()[1], said.err
    assert "int8, " in command("search", tmp_path / "s", "--id", "t7", "--compact", "int8").err
    assert "holds 2 vectors; search by one" in command("search", tmp_path / "s", "--vector", tmp_path / "two.npy").err
    said = command("store", "info", tmp_path / "s", "--hubness")
    assert [line.split(":")[0] for line in said.out.splitlines()[-3:]] == [
        "hubs by cosine", "hubs by csls", "hubs by proximity"
    ]  # fmt: skip
    for row in range(5):
        store.add([f"late {row}"], store.vectors(["t1"]))
    before = sorted(store.column("id").to_pylist())
    assert "35 vectors" in command("store", "compact", tmp_path / "s").out
    again = Store.open(tmp_path / "s")
    assert sorted(again.column("id").to_pylist()) == before and content(again)["late 4"] == content(again)["t1"]
    assert len(again.versions()) > 3
    assert command("store", "compact", tmp_path / "s", "--days", "0").code == 0
    assert len(Store.open(tmp_path / "s").versions()) == 1


@pytest.mark.slow
def test_a_cluster_embeds_the_rows_that_one_process_does(run: Run, tmp_path: Path):
    pytest.importorskip("ray")
    texts = [f"text number {row} of many" for row in range(40)]
    source = TextSource({"text": texts}, names=[f"t{row}" for row in range(40)])
    first = TextSource({"text": ["another text", *texts[1:12]]}, names=[f"t{row}" for row in range(12)])
    for name in ("one", "many"):
        embed_into(run, first, tmp_path / name)
    one = embed_into(run, source, tmp_path / "one", block=8, batch_size=4)
    many = embed_into(run, source, tmp_path / "many", block=8, batch_size=4, cluster=True)
    assert (one.added, one.changed, one.kept) == (many.added, many.changed, many.kept) == (28, 1, 11)
    for column in ("id", "text", "name", "digest", "data"):
        assert many.store.column(column).to_pylist() == one.store.column(column).to_pylist()
    ids = one.store.column("id").to_pylist()
    np.testing.assert_allclose(many.store.vectors(ids), one.store.vectors(ids), atol=1e-6)


@pytest.mark.slow
def test_an_append_killed_at_any_moment_is_whole_or_not_at_all(tmp_path: Path):
    from benchmarks.kills import killed

    assert len(killed("append", tmp_path, 3)) == 3
