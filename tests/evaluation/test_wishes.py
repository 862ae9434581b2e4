"""The wishes for a representation, by loops and scikit-learn; and the command that looks at a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from nearfar.errors import DataError
from nearfar.evaluation import priors


def cloud() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    x = np.maximum(np.eye(3)[y] @ rng.normal(size=(3, 6)) + 0.5 * rng.normal(size=(60, 6)), 0)
    x[:, 0] += 0.01  # no row of zeros, which is as near to one as to another
    return x.astype(np.float32), y


def test_figures_are_those_of_loops_and_scikit_learn():
    x, y = cloud()
    found = {metric.name: metric for metrics in priors(x, y, k=5).metrics.values() for metric in metrics}
    index = NearestNeighbors(n_neighbors=6, metric="cosine").fit(x).kneighbors(x, return_distance=False)
    same = [np.mean([y[j] == y[i] for j in row if j != i][:5]) for i, row in enumerate(index)]
    assert found["neighbours of the same class"].value == pytest.approx(np.mean(same))
    assert found["share of zeros"].value == pytest.approx((x == 0).mean())
    corr = np.corrcoef(x.T.astype(np.float64)) - np.eye(6)
    assert found["mean correlation of two features"].value == pytest.approx(np.abs(corr).mean(), rel=1e-6)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)  # a row of zeros has no direction
    cosines = [unit[i] @ unit[j] for i in range(60) for j in range(60) if i != j]
    assert found["mean cosine of two rows"].value == pytest.approx(np.mean(cosines), rel=1e-4)
    assert {"NMI", "silhouette", "class consistency", "effective rank", "hubness"} <= set(found)


def test_rows_of_unknown_class_count_for_the_cloud_alone():
    x, y = cloud()
    some = np.where(np.arange(60) % 4, y, -1)
    found, known = priors(x, some, k=5).metrics, some >= 0
    assert found["smoothness"][0] == priors(x[known], y[known], k=5).metrics["smoothness"][0]
    assert found["sparsity"][0].n == 60 and found["smoothness"][0].n == 45
    assert set(priors(x, np.full(60, -1)).metrics) == {"spread", "sparsity", "disentanglement"}
    with pytest.raises(DataError, match="at least two"):
        priors(x[:1])


def test_the_command_says_what_a_file_shows(command, tmp_path: Path):
    x, y = cloud()
    np.savez(tmp_path / "v.npz", vectors=x, labels=y)
    np.save(tmp_path / "v.npy", x)
    said = command("geometry", tmp_path / "v.npz", "-k", 5, "--json", tmp_path / "v.json")
    assert said.code == 0 and "smoothness\n  neighbours of the same class" in said.out and "need labels" not in said.out
    kept = json.loads((tmp_path / "v.json").read_text())
    assert kept["sparsity"][0]["value"] == pytest.approx((x == 0).mean()) and kept["verdict"] in said.out
    said = command("geometry", tmp_path / "v.npy")
    assert said.code == 0 and "Smoothness and clusters need labels" in said.out
    said = command("geometry", tmp_path / "none.npy")
    assert said.code == 2 and "there is no file" in said.err
