"""Two stores of the same rows agree where their models do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.store import Store
from nearfar.upgrading import compare_stores
from saying import Command

ROWS, WIDTH = 120, 6
RNG = np.random.default_rng(0)
OLD = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
TURN = np.linalg.qr(RNG.standard_normal((WIDTH, WIDTH)))[0]
IDS = [f"r{row}" for row in range(ROWS)]


def made(path: Path, vectors: np.ndarray, ids: list[str] = IDS) -> Store:
    store = Store.create(path, vectors.shape[1])
    store.add(ids, vectors)
    return store


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return np.asarray(a @ b.T / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)))


def test_figures_are_those_of_plain_loops(tmp_path: Path):
    new = (OLD + 0.5 * RNG.standard_normal(OLD.shape)).astype(np.float32)
    shuffled = RNG.permutation(ROWS)
    found = compare_stores(made(tmp_path / "a", OLD), made(tmp_path / "b", new[shuffled], [IDS[r] for r in shuffled]))
    tables = [cosines(OLD, OLD), cosines(new, new), cosines(new, OLD)]
    lists = [
        [[r for r in np.argsort(-table[row]).tolist() if r != row][:10] for row in range(ROWS)] for table in tables
    ]
    overlap = sum(len(set(one) & set(other)) for one, other in zip(lists[0], lists[1], strict=True)) / ROWS / 10
    crossed = sum(len(set(one) & set(other)) for one, other in zip(lists[0], lists[2], strict=True)) / ROWS / 10
    itself = sum(int(np.argmax(tables[2][row])) == row for row in range(ROWS)) / ROWS
    rest = [[r for r in range(ROWS) if r != row] for row in range(ROWS)]
    profiles = [np.corrcoef(tables[0][row, rest[row]], tables[1][row, rest[row]])[0, 1] for row in range(ROWS)]
    assert found.metrics["neighbour_overlap"].value == pytest.approx(overlap)
    assert found.metrics["cross_recall"].value == pytest.approx(crossed)
    assert found.metrics["cross_self"].value == pytest.approx(itself)
    assert found.metrics["profile"].value == pytest.approx(np.mean(profiles))
    assert [name for name, _ in found.moved] == [IDS[row] for row in np.argsort(profiles)[:10]]
    assert found.rows == ROWS


def test_a_rotated_model_keeps_all_but_its_coordinates(tmp_path: Path, command: Command):
    old = made(tmp_path / "a", OLD)
    made(tmp_path / "same", 2 * OLD)
    made(tmp_path / "turned", (OLD @ TURN).astype(np.float32))
    made(tmp_path / "wide", np.concatenate([OLD @ TURN, np.zeros((ROWS, 3))], axis=1).astype(np.float32))
    made(tmp_path / "other", RNG.standard_normal((ROWS, WIDTH)))
    assert "they may stay" in compare_stores(old, tmp_path / "same").verdict
    for name in ("turned", "wide"):
        found = compare_stores(old, tmp_path / name)
        assert found.metrics["neighbour_overlap"].value == 1 and "after a rotation" in found.verdict
        assert found.metrics["mapped_self"].value == 1 and ("cross_recall" in found.metrics) == (name == "turned")
    said = command("store", "compare", tmp_path / "a", tmp_path / "other", "--json", tmp_path / "x.json")
    assert said.code == 0 and "embed all of the data again" in said.out
    told = json.loads((tmp_path / "x.json").read_text())
    assert told["rows"] == ROWS and abs(told["metrics"]["cka"]["value"]) < 0.1 and len(told["moved"]) == 10


def test_too_few_common_rows_are_named(tmp_path: Path):
    old = made(tmp_path / "a", OLD)
    with pytest.raises(DataError, match="have 19 ids in common"):
        compare_stores(old, made(tmp_path / "b", OLD[:19], IDS[:19]))
    with pytest.raises(DataError, match="k=60 neighbours asked of 120 common rows"):
        compare_stores(old, old, k=60)
