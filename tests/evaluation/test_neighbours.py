from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import knn_predict, nearest

A = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
B = np.array([[2.0, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]])
Y = np.array([0, 0, 1, 1])


def naive(queries: np.ndarray, bank: np.ndarray, k: int, metric: str, excluded: np.ndarray) -> np.ndarray:
    """Double loop; ties by rounding to nine digits, then by index."""
    answer = []
    for i, q in enumerate(queries):
        ranked = []
        for j, b in enumerate(bank):
            if metric == "cosine":
                score = q @ b / (np.linalg.norm(q) * np.linalg.norm(b))
            else:
                score = q @ b if metric == "dot" else -np.linalg.norm(q - b)
            if not excluded[i, j]:
                ranked.append((-round(float(score), 9), j))
        line = [j for _, j in sorted(ranked)[:k]]
        answer.append(line + [-1] * (k - len(line)))
    return np.array(answer)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["cosine", "dot", "euclidean"]),
    st.integers(1, 9),
    st.integers(1, 7),
    st.booleans(),
)
def test_blocks_of_any_size_equal_the_double_loop_with_ties(
    seed: int, metric: str, k: int, block: int, leave: bool
) -> None:
    generator = np.random.default_rng(seed)
    # Small whole numbers make exact ties common; the extra 1 keeps every row off zero.
    bank = np.concatenate([generator.integers(-1, 2, (9, 2)), np.ones((9, 1))], axis=1).astype(float)
    queries = bank if leave else np.concatenate([generator.integers(-1, 2, (5, 2)), np.ones((5, 1))], axis=1)
    ids = generator.integers(0, 4, len(bank))
    excluded = ids[:, None] == ids[None] if leave else np.zeros((len(queries), len(bank)), dtype=bool)
    found = nearest(queries, bank, k, metric, ids if leave else None, query_block=block, bank_block=block + 1)  # type: ignore[arg-type]
    assert found.index.tolist() == naive(queries, bank, k, metric, excluded).tolist()
    assert (np.isneginf(found.scores) == (found.index < 0)).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scores_equal_scikit_learn(metric: str) -> None:
    generator = np.random.default_rng(0)
    queries, bank = generator.standard_normal((30, 16)), generator.standard_normal((200, 16))
    distance, index = NearestNeighbors(n_neighbors=7, metric=metric, algorithm="brute").fit(bank).kneighbors(queries)
    found = nearest(queries, bank, 7, metric, bank_block=64)  # type: ignore[arg-type]
    assert (found.index == index).all()
    np.testing.assert_allclose(found.scores, 1 - distance if metric == "cosine" else -distance, atol=1e-7)


def test_equal_rows_tie_in_order_of_index_wherever_the_blocks_end() -> None:
    row = np.random.default_rng(1).standard_normal(173).astype(np.float32)
    bank = np.tile(row, (1001, 1))
    for block in (7, 64, 4096):
        assert nearest(bank[:3], bank, 500, bank_block=block).index.tolist() == [list(range(500))] * 3


def test_k_above_the_bank_is_refused_and_names_the_bank() -> None:
    with pytest.raises(DataError, match="k=5 neighbours asked of a bank of 4 rows"):
        nearest(A, B, 5)
    with pytest.raises(DataError, match="between 1"):
        nearest(A, B, 0)
    assert nearest(A, B, 4).index.shape == (4, 4)


def test_ids_of_both_sides() -> None:
    found = nearest(B[:1], B, 4, exclude=([7], [7, 7, 1, 2]))
    assert found.index[0, 2:].tolist() == [-1, -1]
    assert set(found.index[0, :2].tolist()) == {2, 3}
    with pytest.raises(DataError, match="pair"):
        nearest(B[:1], B, 2, exclude=[0])


def test_golden_predictions() -> None:
    assert knn_predict(B, Y, A, k=3, temperature=0.07).tolist() == [0, 1, 1, 0]
    assert knn_predict(torch.tensor(B), torch.tensor(Y), torch.tensor(A), k=3).tolist() == [0, 1, 1, 0]


def test_weighted_vote_equals_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    bank, queries = generator.standard_normal((300, 8)), generator.standard_normal((100, 8))
    y = generator.integers(0, 4, 300) * 10
    oracle = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
    )
    assert (knn_predict(bank, y, queries) == oracle.fit(bank, y).predict(queries)).all()


def test_leave_one_out_never_asks_the_row_itself() -> None:
    x = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    assert knn_predict(x, [0, 1, 1, 0], x, k=1).tolist() == [0, 1, 1, 0]
    assert knn_predict(x, [0, 1, 1, 0], x, k=1, exclude=np.arange(4)).tolist() == [1, 0, 0, 1]


def test_a_low_temperature_does_not_overflow() -> None:
    assert knn_predict(B * 1e4, Y, A * 1e4, k=2, temperature=1e-4, metric="dot").shape == (4,)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="manhattan"):
        nearest(A, B, 1, "manhattan")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="temperature"):
        knn_predict(B, Y, A, k=1, temperature=0)
    with pytest.raises(DataError, match="width"):
        nearest(A, B[:, :2], 1)
    with pytest.raises(DataError, match="no neighbour left"):
        knn_predict(B, Y, B, k=1, exclude=[1, 1, 1, 1])
