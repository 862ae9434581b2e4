"""Drift of vectors against naive loops over kernels and neighbours, and SciPy's Procrustes."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluation.drift import cka, movement


def pair(n: int = 30, width: int = 5, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width)) + 2.0
    return x, x + noise * rng.normal(size=x.shape)


def naive_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 4: sums over all ordered tuples of different rows, term by term."""
    n = len(x)
    k, other = [[float(a @ b) for b in x] for a in x], [[float(a @ b) for b in y] for a in y]
    two = three = four = 0.0
    for i in range(n):
        for j in range(n):
            if j == i:
                continue
            two += k[i][j] * other[i][j]
            for q in range(n):
                if q in (i, j):
                    continue
                three += k[i][j] * other[i][q]
                for r in range(n):
                    if r not in (i, j, q):
                        four += k[i][j] * other[q][r]
    pairs, triples = n * (n - 1), n * (n - 1) * (n - 2)
    return two / pairs + four / (triples * (n - 3)) - 2 * three / triples


def test_cka_is_the_ratio_of_unbiased_hsic() -> None:
    x, y = pair(n=12, width=3)
    y = np.hstack([y, np.random.default_rng(1).normal(size=(12, 2))])  # widths may differ
    want = naive_hsic(x, y) / np.sqrt(naive_hsic(x, x) * naive_hsic(y, y))
    assert cka(x, y) == pytest.approx(want, rel=1e-9)


def test_cka_forgives_rotation_scale_and_place_and_is_about_zero_at_chance() -> None:
    x, _ = pair(n=60)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    assert cka(x, 3 * x @ rotation + 7) == pytest.approx(1)
    far = [cka(*np.random.default_rng(seed).normal(size=(2, 40, 200))) for seed in range(20)]
    assert abs(np.mean(far)) < 0.05 and min(far) < 0  # the plain estimator would give about 0.83
    assert np.isnan(cka(np.ones((6, 2)), np.random.default_rng(0).normal(size=(6, 2))))


def test_neighbour_overlap_is_that_of_sorted_lists() -> None:
    x, y = pair()
    k = 4

    def near(rows: np.ndarray, i: int) -> set[int]:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        order = sorted((j for j in range(len(rows)) if j != i), key=lambda j: -float(unit[i] @ unit[j]))
        return set(order[:k])

    want = [len(near(x, i) & near(y, i)) / k for i in range(len(x))]
    found = movement(x, y, k=k)
    np.testing.assert_allclose(found.overlaps, want)
    metric = found.metrics["neighbour_overlap"]
    assert metric.value == pytest.approx(np.mean(want)) and metric.settings == {"k": k, "chance": k / 29}


def test_cosines_and_alignment() -> None:
    from scipy.linalg import orthogonal_procrustes

    x, y = pair()
    found = movement(x, y)
    cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(found.cosines, cosines, rtol=1e-5)
    assert found.farthest(3).tolist() == sorted(range(30), key=lambda i: (cosines[i], i))[:3]
    a, b = x - x.mean(0), y - y.mean(0)
    turned = a @ orthogonal_procrustes(a, b)[0]
    want = np.mean([u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in zip(turned, b, strict=True)])
    assert found.metrics["aligned_cosine"].value == pytest.approx(want, rel=1e-5)


def test_a_rotation_moves_the_vectors_and_not_their_geometry() -> None:
    x, _ = pair()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    found = {key: metric.value for key, metric in movement(x, x @ rotation).metrics.items()}
    assert found["neighbour_overlap"] == 1 and found["cka"] == pytest.approx(1)
    assert found["aligned_cosine"] == pytest.approx(1) and found["cosine"] < 0.9
    assert "aligned_cosine" not in movement(*pair(n=12, width=20), k=3).metrics


@pytest.mark.parametrize(
    ("before", "after", "k", "message"),
    [
        (np.ones((5, 2)), np.ones((6, 2)), 2, "same rows and width"),
        (np.ones((3, 2)), np.ones((3, 2)), 2, "at least 4 rows"),
        (np.eye(5), np.eye(5), 5, "choose k between 1 and 4"),
        (np.full((5, 2), np.nan), np.ones((5, 2)), 2, "vectors before"),
    ],
)
def test_what_cannot_be_compared(before: np.ndarray, after: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        movement(before, after, k)
