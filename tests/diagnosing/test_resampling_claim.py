"""Labelling error of near pairs and classes of far ones by plain loops, with and without a teacher of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.diagnosing.resampling import DIAGNOSIS as RESAMPLING
from nearfar.diagnosing.resampling import told_of
from nearfar.errors import DataError


def test_errors_are_those_of_plain_loops():
    vectors = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    y = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    vectors += 0.7 * torch.eye(3)[y]
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    s = unit @ unit.T
    best = [max((j for j in range(9) if j != i), key=lambda j: s[i, j]) for i in range(9)]
    wrong = np.mean([y[i] != y[best[i]] for i in range(9)])
    found = told_of(vectors, y, add_near=True)
    assert found["added of another class"] == pytest.approx(wrong) and 0 < wrong < 1
    assert found["labelling error"] == pytest.approx(wrong / 2)  # each row has its other view beside the added one
    # Of the 16 rows of other items 4 are of the class of a row; the added one is no longer far, in one of its views.
    within = [2 * 2 - (y[i] == y[best[i]]) for i in range(9)]
    assert found["far of the same class"] == pytest.approx(sum(within) / (9 * (2 * 8 - 1)))
    none = told_of(vectors, y)
    assert none["labelling error"] == 0 and np.isnan(none["added of another class"])
    assert none["far of the same class"] == pytest.approx(2 / 8)


def test_a_teacher_that_knows_the_classes_makes_no_error_and_one_that_knows_nothing_gains_nothing(tmp_path: Path):
    labels = np.arange(200) % 4
    rng = np.random.default_rng(0)
    for name, vectors in (
        ("knows", np.eye(4)[labels] + 0.01 * rng.normal(size=(200, 4))),
        ("not", rng.normal(size=(200, 4))),
    ):
        np.savez(tmp_path / f"{name}.npz", vectors=vectors.astype(np.float32), labels=labels, ids=np.arange(200))
    how = {"batch": 50, "batches": 4, "drop_alike": 0.2}
    good, bad = (RESAMPLING(data=str(tmp_path / f"{name}.npz"), **how) for name in ("knows", "not"))
    assert good.holds and good.figures["error"].value == 0
    assert good.figures["gained"].value == pytest.approx(0.75, abs=0.02)
    assert not bad.holds and abs(bad.figures["gained"].value) < 0.1
    np.savez(tmp_path / "bare.npz", vectors=np.eye(4, dtype=np.float32), ids=np.arange(4))
    with pytest.raises(DataError, match="has no labels"):
        RESAMPLING(data=str(tmp_path / "bare.npz"))
    with pytest.raises(DataError, match="200 labelled rows, a batch 300"):
        RESAMPLING(data=str(tmp_path / "not.npz"), batch=300)
