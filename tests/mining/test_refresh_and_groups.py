"""Negatives that follow the model, and items grouped into batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.mining import Exact, Mining, Near, Refresh, Replacement, clusters, communities, mutual_ranks, overlap


def world() -> tuple[np.ndarray, Near]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 6)), Near([(row, row) for row in range(50)], 50, 50)


def mine(model: np.ndarray, rows: np.ndarray) -> np.ndarray:
    items, near = world()
    mining = Mining(Exact(items @ model, items @ model), near, negatives=5, depth=8)
    return mining.mine(rows).negatives(rows, 5)


def test_negatives_are_the_nearest_of_the_model_of_the_round_before():
    seen: list[np.ndarray] = []

    def fit(model: np.ndarray, negatives: np.ndarray, number: int) -> np.ndarray:
        seen.append(negatives)
        return model + np.eye(6, k=1) * (number + 1)

    loop = Refresh(mine, fit, queries=50)
    _, negatives = loop.run(np.eye(6), rounds=3)
    items, _ = world()
    moved = items @ (np.eye(6) + np.eye(6, k=1) * 3)  # as it was before the last round
    unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    np.testing.assert_array_equal(negatives, np.argsort(-scores, axis=1)[:, :5])
    assert [line["overlap"] for line in loop.lines] == [None, overlap(seen[0], seen[1]), overlap(seen[1], seen[2])]
    assert 0 < overlap(seen[0], seen[1]) < 1


def test_a_model_that_stands_still_has_no_staleness():
    loop = Refresh(mine, lambda model, negatives, number: model, queries=50)
    loop.run(np.eye(6), rounds=3)
    assert [line["overlap"] for line in loop.lines] == [None, 1.0, 1.0]


def test_parts_are_mined_in_turn_and_the_loop_goes_on(tmp_path: Path):
    calls: list[list[int]] = []

    def listed(model: int, rows: np.ndarray) -> np.ndarray:
        calls.append(rows.tolist())
        return rows[:, None] + model

    def fit(model: int, negatives: np.ndarray, number: int) -> int:
        return model + 10

    whole = Refresh(listed, fit, queries=5, parts=2).run(0, rounds=3)
    assert calls == [[0, 2, 4], [1, 3], [0, 2, 4]]
    assert whole[1][:, 0].tolist() == [20, 11, 22, 13, 24]
    model, negatives = Refresh(listed, fit, queries=5, parts=2, log=tmp_path / "log").run(0, rounds=2)
    again = Refresh(listed, fit, queries=5, parts=2, log=tmp_path / "log")
    assert again.run(model, 3, negatives)[1].tolist() == whole[1].tolist() and len(again.lines) == 3
    with pytest.raises(DataError, match="gave an array of shape"):
        Refresh(lambda model, rows: np.zeros((1, 1)), fit, queries=5).run(0, 1)


def test_overlap_by_hand():
    assert overlap(np.array([[1, 2, -1], [-1, -1, -1]]), np.array([[2, 5, 1], [-1, -1, -1]])) == pytest.approx(
        (2 / 3 + 1) / 2
    )


@pytest.mark.parametrize(("before", "now", "moves"), [(0.9, 0.7, True), (0.9, 0.79, False), (1.0, 0.82, False)])
def test_a_window_that_is_no_longer_hard_is_replaced(before: float, now: float, moves: bool):
    negatives = Replacement(np.arange(100).reshape(2, 50), size=5)
    rows = np.array([1])
    negatives.look(rows, np.full((1, 5), before))
    assert negatives.look(rows, np.full((1, 5), now)).tolist() == [moves]
    assert negatives.of(rows)[0].tolist() == ([60, 61, 62, 63, 64] if moves else [50, 51, 52, 53, 54])
    assert negatives.of(np.array([0]))[0].tolist() == [0, 1, 2, 3, 4]
    again = Replacement(np.arange(100).reshape(2, 50), size=5)
    again.load_state(negatives.state())
    assert (again.of(rows) == negatives.of(rows)).all()


def test_windows_follow_each_other_and_the_last_stays():
    negatives, rows, starts = Replacement(np.arange(25)[None], size=5), np.array([0]), []
    for score in (0.7, 0.6, 0.7, 0.6, 0.7, 0.6, 0.7, 0.6):
        negatives.look(rows, np.full((1, 5), score))
        starts.append(int(negatives.of(rows)[0, 0]))
    assert starts == [0, 10, 10, 15, 15, 20, 20, 20]
    with pytest.raises(ConfigError, match="do not fit"):
        Replacement(np.arange(4)[None], size=5)


def test_clusters_are_those_of_the_directions():
    rng = np.random.default_rng(0)
    centres = np.eye(4)[np.arange(200) % 4]
    found = clusters((centres + 0.1 * rng.normal(size=(200, 4))) * rng.uniform(1, 9, size=(200, 1)), 4)
    assert len({tuple(sorted(set(found[np.arange(200) % 4 == c]))) for c in range(4)}) == 4
    assert all(len(set(found[np.arange(200) % 4 == c])) == 1 for c in range(4))


def test_mutual_ranks_by_hand():
    rng = np.random.default_rng(0)
    q, d = rng.normal(size=(40, 5)), rng.normal(size=(40, 5))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (q, d)]
    ranked = [[j for j in np.argsort(-(unit[0][i] @ unit[1].T)) if j != i][3:10] for i in range(40)]
    expected = {(i, int(j)) for i in range(40) for j in ranked[i] if i < j and i in ranked[j]}
    found = mutual_ranks(q, d, skip=3, keep=7)
    assert {(int(i), int(j)) for i, j in found} == expected and len(found) == len(expected) > 0


def test_planted_communities_are_found():
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(20), 10))
    inside = [(i, j) for i in range(200) for j in range(i) if truth[i] == truth[j] and rng.uniform() < 0.8]
    between = [tuple(rng.integers(0, 200, 2)) for _ in range(60)]
    found = communities(np.array(inside + [(i, j) for i, j in between if i != j]), 200, 10)
    assert np.bincount(found).tolist() == [10] * 20
    together = [len(set(truth[found == group])) for group in range(20)]
    assert np.mean(np.array(together) == 1) > 0.8
    assert np.bincount(communities(np.empty((0, 2), dtype=int), 7, 3)).tolist() == [3, 3, 1]
