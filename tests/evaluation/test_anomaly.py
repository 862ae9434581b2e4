from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluation import anomaly_scores, auroc, auroc_quality
from nearfar.evaluation.anomaly import counted_auroc


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_scores_are_sums_of_squared_distances_to_the_nearest_unit_rows(k: int) -> None:
    normal, rows = drawn(0, 30, 6), drawn(1, 7, 6)
    got = anomaly_scores(normal, rows, k)
    for row, score in zip(rows, got, strict=True):
        squares = sorted(
            sum((a / np.linalg.norm(row) - b / np.linalg.norm(held)) ** 2 for a, b in zip(row, held, strict=True))
            for held in normal
        )
        assert score == pytest.approx(sum(squares[:k]), rel=1e-6)


def test_the_area_is_that_of_scikit_learn_with_ties_and_without_unknown_rows() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, scores = rng.integers(0, 2, 40), rng.integers(0, 8, 40) / 8
        assert auroc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    more = np.concatenate([labels, [-1, -1]])
    assert auroc(np.concatenate([scores, [9.0, -9.0]]), more) == auroc(scores, labels)


def test_what_is_unlike_the_normal_rows_scores_above_them() -> None:
    centre = drawn(3, 1, 16)
    normal, same, other = (centre + 0.3 * drawn(k, 50, 16) for k in (4, 5, 6))
    other = other - 2 * centre
    scores = anomaly_scores(normal, np.concatenate([same, other]))
    assert auroc(scores, [0] * 50 + [1] * 50) == 1.0
    mixed = anomaly_scores(normal, np.concatenate([same, normal]), k=1)
    assert auroc(mixed, [0] * 50 + [1] * 50) == 0.0  # the training rows themselves, at distance 0


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(DataError, match="differ in width: 4 and 3"):
        anomaly_scores(np.eye(3), np.eye(4))
    with pytest.raises(DataError, match="needs anomalies and normal rows, got 0 and 3"):
        auroc(np.arange(3.0), [0, 0, 0])


def test_the_area_of_rows_that_count_several_times_is_that_of_as_many_rows() -> None:
    rng = np.random.default_rng(1)
    scores, odd, counts = rng.integers(0, 6, 30) / 6, rng.integers(0, 2, 30), rng.integers(0, 4, (5, 30))
    want = [auroc(np.repeat(scores, row), np.repeat(odd, row)) for row in counts]
    np.testing.assert_allclose(counted_auroc(scores, odd)(counts), want, atol=1e-12)


def test_the_interval_is_about_as_wide_as_hanley_and_mcneil_say() -> None:
    rng = np.random.default_rng(2)
    odd = np.array([1] * 150 + [0] * 250 + [-1] * 9)
    found = auroc_quality(rng.normal(size=409) + odd, odd)
    a = found.value
    spread = a * (1 - a) + 149 * (a / (2 - a) - a**2) + 249 * (2 * a**2 / (1 + a) - a**2)
    assert found.n == 400 and found.settings == {"anomalies": 150}
    assert found.high - found.low == pytest.approx(2 * 1.96 * (spread / (150 * 250)) ** 0.5, rel=0.1)
