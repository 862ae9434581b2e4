from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nearfar.errors import DataError
from nearfar.evaluation import alignment, channel_std, class_cosines, effective_rank, geometry, spectrum, uniformity

A = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
B = np.array([[2.0, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]])


def unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def test_golden_values() -> None:
    assert alignment(A, B).mean() == pytest.approx(0.319007, abs=1e-6)
    assert uniformity(A) == pytest.approx(-2.158455, abs=1e-6)
    assert effective_rank(A) == pytest.approx(2.892219, abs=1e-6)


@pytest.mark.parametrize("n", [3, 4])
def test_uniformity_of_a_regular_simplex(n: int) -> None:
    simplex = np.eye(n) - 1 / n
    assert uniformity(simplex) == pytest.approx(-4 * n / (n - 1))


def test_uniformity_in_blocks_equals_all_pairs() -> None:
    x = np.random.default_rng(0).standard_normal((53, 6))
    z = unit(x)
    pairs = [math.exp(-2 * ((z[i] - z[j]) ** 2).sum()) for i in range(53) for j in range(i)]
    for block in (1, 7, 53, 100):
        assert uniformity(x, block=block) == pytest.approx(math.log(np.mean(pairs)), abs=1e-12)


def test_uniformity_of_uniform_vectors_in_many_dimensions() -> None:
    x = np.random.default_rng(0).standard_normal((800, 512))
    assert uniformity(x) == pytest.approx(-4, abs=0.05)
    assert channel_std(x) == pytest.approx(1 / math.sqrt(512), rel=0.01)


def test_class_cosines_equal_a_loop_over_pairs() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((40, 5)), generator.integers(0, 4, 40) * 3
    z = unit(x)
    pairs = [(z[i] @ z[j], y[i] == y[j]) for i in range(40) for j in range(40) if i != j]
    same, other = class_cosines(x, y)
    assert same == pytest.approx(np.mean([s for s, near in pairs if near]))
    assert other == pytest.approx(np.mean([s for s, near in pairs if not near]))
    assert math.isnan(class_cosines(x, np.arange(40))[0])
    assert math.isnan(class_cosines(x, np.zeros(40, dtype=int))[1])


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_spectrum_equals_the_singular_values(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(2).standard_normal(shape)
    np.testing.assert_allclose(spectrum(x), np.linalg.svd(x, compute_uv=False), rtol=1e-9)


def test_effective_rank_ignores_rotation_and_scale() -> None:
    generator = np.random.default_rng(3)
    x = generator.standard_normal((30, 6)) * [5, 3, 1, 1, 0.5, 0.1]
    turn = np.linalg.qr(generator.standard_normal((6, 6)))[0]
    assert effective_rank(7 * x @ turn) == pytest.approx(effective_rank(x))
    assert effective_rank(np.eye(6)) == pytest.approx(6)
    assert effective_rank(np.zeros((4, 3))) == 0


def test_verdicts() -> None:
    generator = np.random.default_rng(4)
    row = generator.standard_normal((1, 64))
    cloud = generator.standard_normal((300, 64))
    flat = np.outer(generator.standard_normal(300), row[0])

    collapsed = geometry(np.tile(row, (300, 1)))
    assert not collapsed.healthy and collapsed.verdict.startswith("Collapsed")
    assert collapsed.metrics["effective_rank"].value == pytest.approx(1)
    assert collapsed.metrics["channel_std"].value == pytest.approx(0, abs=1e-12)
    assert collapsed.metrics["uniformity"].value == pytest.approx(0, abs=1e-12)
    assert geometry(row + 0.05 * cloud).verdict.startswith("Close to collapse")
    assert geometry(flat).verdict.startswith("Dimensional collapse")
    healthy = geometry(cloud)
    assert healthy.healthy and "of 64" in healthy.verdict
    cloud[5] = 0
    assert "1 vectors are all zero" in geometry(cloud).verdict


def test_report_takes_tensors_views_and_unknown_labels() -> None:
    found = geometry(torch.tensor(A), labels=[0, 1, -1, 0], views=torch.tensor(B)).metrics
    z = unit(A)
    assert found["tolerance"].value == pytest.approx(z[0] @ z[3])
    assert found["tolerance"].n == 3
    assert found["between_cosine"].value == pytest.approx((z[0] @ z[1] + z[3] @ z[1]) / 2)
    assert found["alignment"].value == pytest.approx(0.319007, abs=1e-6)
    assert found["alignment"].low < 0.319 < found["alignment"].high
    assert not found["uniformity"].has_interval


def test_refusals() -> None:
    with pytest.raises(DataError, match="two views"):
        alignment(A, B[:3])
    with pytest.raises(DataError, match="at least two"):
        geometry(A[:1])
