"""What is told of labelled rows against plain loops, and the bound, which is exact."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nearfar.diagnosing.mean_classifier import told_of
from saying import Command


def by_loops(f: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The same from the definitions, row by row."""

    def loss(v: float) -> float:
        return math.log2(1 + math.exp(-v))

    n, classes = len(f), sorted(set(y.tolist()))
    means = {c: f[y == c].mean(0) for c in classes}
    triples, pairs, weights, right = [], [], [], []
    for i in range(n):
        own = [j for j in range(n) if y[j] == y[i]]
        triples.append(np.mean([loss(f[i] @ (f[p] - f[q])) for p in own for q in range(n)]))
        for c in classes:
            if c != y[i]:
                pairs.append(loss(f[i] @ (means[y[i]] - means[c])))
                weights.append(np.mean(y == c))
        right.append(max(classes, key=lambda c: f[i] @ means[c]) == y[i])
    deviation = 0.0
    for c in classes:
        rows = f[y == c]
        covariance = (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / len(rows)
        deviation += np.mean(y == c) * math.sqrt(np.linalg.norm(covariance, 2)) * np.linalg.norm(rows, axis=1).mean()
    rho = sum(np.mean(y == c) ** 2 for c in classes)
    un = float(np.mean(triples))
    return {
        "L_un": un,
        "collisions": rho,
        "bound": (un - rho) / (1 - rho),
        "L_sup": float(np.average(pairs, weights=weights)),
        "s(f)": deviation,
        "mean classifier": float(np.mean(right)),
    }


def test_figures_are_those_of_plain_loops():
    rng = np.random.default_rng(0)
    y = np.array([0] * 7 + [1] * 4 + [2] * 9)
    f = rng.normal(size=(20, 3)) + 2 * np.eye(3)[y]
    assert told_of(f, y) == pytest.approx(by_loops(f, y))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_bound_is_exact_on_any_rows(scale: float):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 3, 30)
        found = told_of(scale * rng.normal(size=(30, 4)), y)
        assert found["L_sup"] <= found["bound"] + 1e-12


def test_rows_that_are_their_class_reach_the_bound():
    y = np.arange(12) % 3
    found = told_of(2 * np.eye(3)[y], y)
    assert found["L_sup"] == pytest.approx(found["bound"]) == pytest.approx(math.log2(1 + math.exp(-4)))
    assert found["s(f)"] == 0 and found["mean classifier"] == 1


def test_vectors_of_a_file_are_told(tmp_path: Path, command: Command):
    y = np.arange(60) % 3
    np.savez(tmp_path / "v.npz", vectors=2 * np.eye(3)[y], labels=y)
    said = command("diag", "mean-classifier", "--set", f"data={tmp_path / 'v.npz'}", "--set", "rows=60")
    assert said.code == 0 and "Holds here: L_sup is 0.026" in said.out, said.err
    np.savez(tmp_path / "bare.npz", vectors=np.eye(3))
    said = command("diag", "mean-classifier", "--set", f"data={tmp_path / 'bare.npz'}")
    assert said.code == 2 and "has no labels" in said.err


def test_the_toy_keeps_to_the_bound(command: Command):
    sizes = ("ks=[1,8]", "steps=20", "batch=16", "rows=60", "width=8", "columns=3", "classes=3")
    said = command("diag", "mean-classifier", "--seeds", 2, *(part for size in sizes for part in ("--set", size)))
    assert said.code == 0 and "Holds here: L_sup is below its bound in every training" in said.out
    assert "8 of other classes" in said.out
