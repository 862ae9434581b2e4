"""Exact and approximate search against a float64 sort of all scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.mining import BM25, Approximate, Exact, Union, open_vectors
from nearfar.mining.exact import _ordered


def sorted_all(queries: np.ndarray, corpus: np.ndarray, k: int, cosine: bool) -> tuple[np.ndarray, np.ndarray]:
    """All scores in float64, ties (to 1e-8) by the lower row."""
    q, c = queries.astype(np.float64), corpus.astype(np.float64)
    if cosine:
        q, c = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (q, c))
    scores = q @ c.T
    order = np.argsort(-np.round(scores, 8), axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, 1)


def data(n: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    q, c = rng.normal(size=(40, width)).astype(np.float32), rng.normal(size=(n, width)).astype(np.float32)
    c[n // 2 : n // 2 + 200] = c[:200]  # every one of these twice
    c[50:180] = c[5]  # and one so often that it does not fit into the room of a query
    q[0], q[1], q[2] = 0, c[5], c[7]
    return q, c


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize(("n", "width", "k"), [(3000, 16, 1), (4100, 32, 20), (450, 8, 450)])
def test_search_is_a_sort_of_all_scores(n: int, width: int, k: int, precision: str, similarity: str):
    q, c = data(n, width)
    found = Exact(q, c, similarity, precision).find(np.arange(len(q)), k)  # type: ignore[arg-type]
    index, scores = sorted_all(q, c, k, similarity == "cosine")
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.scores, scores, atol=1e-7)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_rows_that_hardly_differ_are_told_apart(precision: str):
    """Scores closer together than either small type can tell: the last resort is float64."""
    rng = np.random.default_rng(1)
    c = (np.ones(64) + 1e-7 * rng.normal(size=(3000, 64))).astype(np.float64)
    q = rng.normal(size=(5, 64)) + 0.5
    found = Exact(q, c, "dot", precision).find(np.arange(5), 10)
    largest = np.linalg.norm(q, axis=1).max() * np.linalg.norm(c, axis=1).max()
    kth = np.sort(q @ c.T, axis=1)[:, -10]
    # Within the grid of 2^-30 of the largest score they are ties.
    assert ((q @ c.T)[np.arange(5)[:, None], found.index] >= kth[:, None] - 2 * largest / 2**30).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scores_below_zero_and_of_any_size(scale: float):
    rng = np.random.default_rng(2)
    q, c = -np.abs(rng.normal(size=(10, 12))) * scale, np.abs(rng.normal(size=(2500, 12)))
    found = Exact(q, c, "dot", "bfloat16").find(np.arange(10), 7)
    np.testing.assert_array_equal(found.index, np.argsort(-(q @ c.T), axis=1, kind="stable")[:, :7])


def test_bits_of_bfloat16_have_the_order_of_the_numbers():
    import torch

    numbers = torch.tensor([-torch.inf, -3.0, -1e-3, -1e-30, 0.0, 1e-30, 0.5, 2.0, torch.inf]).bfloat16()
    bits = _ordered(numbers.view(torch.int16).numpy())
    assert (np.diff(bits.astype(np.int64)) > 0).all()


def test_the_answer_depends_neither_on_blocks_nor_on_the_file(tmp_path: Path):
    q, c = data(3000, 24)
    np.save(tmp_path / "c.npy", c.astype(np.float16))
    there = open_vectors(tmp_path / "c.npy")
    assert isinstance(there, np.memmap)
    one, other = Exact(q, c.astype(np.float16)), Exact(q, there)
    whole = one.find(np.arange(40), 15)
    for part in (np.arange(7), np.array([39, 3])):
        again = other.find(part, 15)
        np.testing.assert_array_equal(again.index, whole.index[part])
        np.testing.assert_array_equal(again.scores, whole.scores[part])
    assert one.looks[1].sha256 == other.looks[1].sha256


def test_bad_vectors_are_named(tmp_path: Path):
    q, c = np.ones((2, 3)), np.ones((4, 3))
    with pytest.raises(DataError, match="width 3, the corpus 2"):
        Exact(q, c[:, :2])
    with pytest.raises(DataError, match="k = 5 candidates asked of a corpus of 4"):
        Exact(q, c).find(np.arange(2), 5)
    with pytest.raises(DataError, match=r"\(N, D\)"):
        Exact(np.ones((0, 3)), c)
    with pytest.raises(ConfigError, match="similarity"):
        Exact(q, c, "euclid").find(np.arange(2), 1)  # type: ignore[arg-type]
    broken = c.copy()
    broken[2, 1] = np.nan
    with pytest.raises(DataError, match="corpus: row 2 holds NaN"):
        Exact(q, broken).find(np.arange(2), 1)
    with pytest.raises(DataError, match="there is no file"):
        open_vectors(tmp_path / "none.npy")
    (tmp_path / "bad.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match="cannot be read as vectors"):
        open_vectors(tmp_path / "bad.npy")


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_an_index_finds_nearly_all_and_scores_exactly(index: str):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(3)
    q, c = rng.normal(size=(50, 8)), rng.normal(size=(2000, 8))
    miner = Approximate(q, c, index=index, effort=64)  # type: ignore[arg-type]
    found, exact = miner.find(np.arange(50), 10), sorted_all(q, c, 10, cosine=True)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.index, exact[0], strict=True)]) > 0.95
    np.testing.assert_allclose(found.scores[:, 0], exact[1][:, 0], atol=1e-7)
    again = Approximate(q, c, index=index, effort=64).find(np.arange(50), 10)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.index, again.index)


def bm25_by_hand(query: str, corpus: list[str], k1: float = 1.2, b: float = 0.75) -> np.ndarray:
    texts = [text.split() for text in corpus]
    mean, out = np.mean([len(text) for text in texts]), np.zeros(len(corpus))
    for word in query.split():
        df = sum(word in text for text in texts)
        idf = np.log(1 + (len(corpus) - df + 0.5) / (df + 0.5))
        for row, text in enumerate(texts):
            f = text.count(word)
            out[row] += idf * f / (f + k1 * (1 - b + b * len(text) / mean))
    return out


def test_bm25_is_its_formula():
    pytest.importorskip("bm25s")
    corpus = [
        "red fox runs",
        "the dog sleeps long",
        "red leaves fall red",
        "fox and dog",
        "red fox runs",
        "nothing here",
    ]
    queries = ["red fox", "sleeps", "unknown words"]
    miner = BM25(queries, corpus)
    found = miner.find(np.arange(3), k=6)
    assert found.index[1:].tolist() == [[1, -1, -1, -1, -1, -1], [-1] * 6]
    by_hand = bm25_by_hand("red fox", corpus)
    order = [row for row in np.argsort(-np.round(by_hand, 5), kind="stable") if by_hand[row] > 0]
    assert found.index[0, : len(order)].tolist() == order
    np.testing.assert_allclose(found.scores[0, : len(order)], by_hand[order], rtol=1e-5)
    np.testing.assert_allclose(miner.score(np.array([0]), np.array([[3, -1]])), [[by_hand[3], -np.inf]], rtol=1e-5)


def test_a_union_says_which_miner_found_what():
    class Listed:
        queries, documents = 1, 6

        def __init__(self, name: str, index: list[int]) -> None:
            self.name, self.index = name, index

        def find(self, rows: np.ndarray, k: int):  # type: ignore[no-untyped-def]
            from nearfar.mining.found import found

            return found(self.name, np.array([self.index]), np.array([[0.0] * len(self.index)]))

        def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
            return np.where(index < 0, -np.inf, -index.astype(float))

    found = Union([Listed("a", [4, 2]), Listed("b", [5, 4, -1])]).find(np.array([0]), 3)  # type: ignore[list-item]
    assert found.index.tolist() == [[2, 4, 5]]
    assert {name: ranks.tolist() for name, ranks in found.ranks.items()} == {"a": [[2, 1, 0]], "b": [[0, 2, 1]]}
    exact = Exact(np.eye(3), np.eye(3))
    assert Union([exact]).find(np.arange(3), 2).index.tolist() == exact.find(np.arange(3), 2).index.tolist()
    with pytest.raises(ConfigError, match="each of another kind"):
        Union([exact, exact])
    with pytest.raises(DataError, match="other data"):
        Union([exact, Listed("a", [1])])  # type: ignore[list-item]
