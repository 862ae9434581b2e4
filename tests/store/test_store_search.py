"""Exact search is what a comparison with every row says; the index is measured against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.store import Store, index, search
from nearfar.store.search import exact

ROWS, WIDTH = 700, 8
RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
VECTORS[300:310] = VECTORS[20]  # ties
QUERIES = np.concatenate([RNG.standard_normal((4, WIDTH)), VECTORS[20:21]]).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store.create(tmp_path_factory.mktemp("search") / "s", WIDTH, columns={"label": "string", "year": "int64"})
    for start in range(0, ROWS, 250):
        rows = range(start, min(start + 250, ROWS))
        columns = {"label": ["odd" if row % 2 else "even" for row in rows], "year": list(rows)}
        made.add([f"r{row}" for row in rows], VECTORS[rows], columns)
    return made


def judge(query: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[list[str], np.ndarray]:
    """Every row is compared, in float64; of equal scores the earlier row comes first."""
    rows = np.arange(ROWS) if rows is None else rows
    scores = [
        float(np.dot(v, q) / np.linalg.norm(v) / np.linalg.norm(q))
        for q in [query.astype(np.float64)] for v in VECTORS[rows].astype(np.float64)
    ]  # fmt: skip
    order = sorted(range(len(rows)), key=lambda place: (-round(scores[place], 8), place))[:k]
    return [f"r{rows[place]}" for place in order], np.array([scores[place] for place in order])


@pytest.mark.parametrize("size", [97, 32768])
def test_exact_search_is_brute_force_whatever_the_blocks(store: Store, size: int):
    rows, scores = exact(store, QUERIES, 20, None, size)
    order = [batch["_rowid"].to_numpy() for batch in store.blocks()]
    place = {row: f"r{number}" for number, row in enumerate(np.concatenate(order).tolist())}
    for query, found, score in zip(QUERIES, rows, scores, strict=True):
        ids, expected = judge(query, 20)
        assert [place[row] for row in found.tolist()] == ids
        np.testing.assert_allclose(score, expected, atol=2e-9)


def test_vectors_of_any_length_are_compared_by_their_direction(tmp_path: Path):
    lengths = np.array([1e-25, 1e-12, 1e-3, 1, 1e7, 1e14, 0]).repeat(20)[:, None]
    vectors = (RNG.standard_normal((140, 16)) * lengths).astype(np.float32)
    vectors[60:80] = vectors[79] * (1 + 1e-7 * RNG.standard_normal((20, 16)))  # nearer to each other than float32 sees
    made = Store.create(tmp_path / "s", 16)
    made.add([str(row) for row in range(140)], vectors)
    exact_rows = vectors.astype(np.float64)
    norms = np.linalg.norm(exact_rows, axis=1)
    for query in (vectors[70], vectors[3], -vectors[110]):
        cosine = (
            exact_rows @ query.astype(np.float64) / np.where(norms > 0, norms, 1) / np.linalg.norm(query.astype(float))
        )
        hits = made.search(query, 25)[0]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosine)[::-1][:25], atol=2e-9)
        np.testing.assert_allclose([cosine[int(hit.id)] for hit in hits], [hit.score for hit in hits], atol=2e-9)


def test_a_filter_comes_before_the_search(store: Store):
    hits = store.search(QUERIES, 5, "label = 'odd' AND year < 100")
    for query, found in zip(QUERIES, hits, strict=True):
        ids, _ = judge(query, 5, np.arange(1, 100, 2))
        assert [hit.id for hit in found] == ids and all(hit.columns["label"] == "odd" for hit in found)
    assert store.search(QUERIES[0], 5, "year > 5000") == [[]]
    assert len(store.search(QUERIES[0], 5, "year IN (3, 4)")[0]) == 2


@pytest.mark.parametrize("bad", ["colour = 'red'", "label ==== 'x'", "label = "])
def test_a_bad_filter_is_shown(store: Store, bad: str):
    for ask in (lambda: store.search(QUERIES, 1, bad), lambda: store.like("r1", 1, bad)):
        with pytest.raises(ConfigError, match=f"the filter {bad!r} cannot be used"):
            ask()


def test_like_a_row_leaves_that_row_out(store: Store):
    hits = store.like("r303", 10)
    assert [hit.id for hit in hits] == ["r20", *(f"r{row}" for row in range(300, 310) if row != 303)]
    assert all(hit.score == pytest.approx(1, abs=1e-8) for hit in hits)
    assert [hit.id for hit in store.like("r303", 3, "label = 'odd'")] == ["r301", "r305", "r307"]
    with pytest.raises(DataError, match="has no row 'nobody'"):
        store.like("nobody")


def test_bad_questions(store: Store):
    for queries, k, error, message in (
        (QUERIES[:, :3], 1, DataError, "width 8, and these have 3"),
        (np.full(WIDTH, np.nan), 1, DataError, "NaN"),
        (QUERIES, 0, ConfigError, "k is 1 or more"),
    ):
        with pytest.raises(error, match=message):
            store.search(queries, k)
    with pytest.raises(ConfigError, match="has no column 'colour'"):
        store.search(QUERIES, 1, columns=["colour"])


def test_an_index_is_measured_and_kept_only_if_it_keeps_its_promise(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ConfigError, match="has no index; build one"):
        store.search(QUERIES, 3, approximate=True)
    built = store.build_index("hnsw", 0.9, sample=50)
    again = Store.open(store.path)
    assert again.recall() == built and built.rows == ROWS and built.queries == 50 and 0.9 <= built.recall <= 1
    truth = [set(judge(query, 10)[0]) for query in QUERIES[:4]]
    found = again.search(QUERIES[:4], 10, approximate=True)
    assert np.mean([len(one & {hit.id for hit in hits}) / 10 for one, hits in zip(truth, found, strict=True)]) >= 0.9
    odd = again.search(QUERIES[0], 5, "label = 'odd'", approximate=True)[0]
    assert len(odd) == 5 and all(hit.columns["label"] == "odd" for hit in odd)
    again.add(["late"], QUERIES[:1])  # rows behind the index are found too
    assert again.search(QUERIES[0], 1, approximate=True)[0][0].id == "late"
    again.delete(["late"])
    monkeypatch.setattr(index, "measure", lambda *_: 0.5)
    with pytest.raises(ConfigError, match=r"recall@10 0\.500 .* less than the 0\.95 that was promised"):
        again.build_index("hnsw", 0.95)
    assert again.recall() is None and Store.open(store.path).recall() is None


def test_an_index_of_few_rows_or_of_another_kind_is_refused(store: Store, tmp_path: Path):
    few = Store.create(tmp_path / "few", 2)
    with pytest.raises(ConfigError, match="an index needs 256"):
        few.build_index()
    with pytest.raises(ConfigError, match="one of hnsw, bits, pq"):
        store.build_index("tree")


@pytest.mark.parametrize(("kind", "least"), [("hnsw", 0.8), ("bits", 0.5)])  # one bit for each of 8 numbers
def test_an_index_is_measured_under_a_filter_and_few_rows_are_compared_without_it(
    store: Store, kind: str, least: float, monkeypatch: pytest.MonkeyPatch
):
    built = store.build_index(kind, least, sample=30, where="label = 'odd'")
    assert least <= built.narrow <= 1 and built.where == "label = 'odd'" and "where label = 'odd'" in str(built)
    few, _ = judge(QUERIES[0], 5, np.arange(1, ROWS, 2))
    monkeypatch.setattr(search, "by_index", None)
    assert [hit.id for hit in store.search(QUERIES[0], 5, "label = 'odd'", approximate=True)[0]] == few
    monkeypatch.undo()
    monkeypatch.setattr(search, "FEW", 100)
    found = store.search(QUERIES, 5, "label = 'odd'", approximate=True)
    assert all(len(hits) == 5 and all(hit.columns["label"] == "odd" for hit in hits) for hits in found)


def test_an_index_whose_rows_changed_much_is_not_trusted_until_it_is_measured_again(tmp_path: Path):
    made = Store.create(tmp_path / "s", WIDTH)
    made.add([f"r{row}" for row in range(400)], VECTORS[:400])
    made.build_index("hnsw", 0.9, sample=20)
    made.add([f"n{row}" for row in range(50)], VECTORS[400:450])
    made.delete([f"r{row}" for row in range(20)])  # 70 of 400 rows
    assert len(made.search(QUERIES[0], 3, approximate=True)[0]) == 3
    made.delete([f"r{row}" for row in range(20, 40)])  # 90 of them
    with pytest.raises(ConfigError, match=r"90 rows have come or gone since the index .* measure it again"):
        made.search(QUERIES[0], 3, approximate=True)
    assert made.remeasure_index(20).changed == 90
    assert len(Store.open(made.path).search(QUERIES[0], 3, approximate=True)[0]) == 3


def test_a_store_may_lie_behind_an_address(tmp_path: Path):
    place = f"file-object-store://{tmp_path}/s"  # the road that s3:// takes too, with files behind it
    made = Store.create(place, WIDTH)
    made.add(["a", "b"], VECTORS[:2])
    made.upsert(["b", "c"], VECTORS[2:4])
    again = Store.open(place)
    assert again.column("id").to_pylist() == ["a", "b", "c"] and again.search(VECTORS[3], 1)[0][0].id == "c"
    assert again.search(VECTORS[3], 1, compact="int8")[0][0].id == "c" and not (tmp_path / "s" / "beside").exists()
    with made.locked(), pytest.raises(ConfigError, match="another process is writing"), again.locked():
        pass
    assert len(Store.open(f"file://{tmp_path}/s")) == 3
    for bad, message in ((f"{place}2", "is no store"), ("nowhere://x/y", "cannot be reached")):
        with pytest.raises(ConfigError, match=message):
            Store.open(bad)
    with pytest.raises(ConfigError, match="is there already"):
        Store.create(place, 2)
