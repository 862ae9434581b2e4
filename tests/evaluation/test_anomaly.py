from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluation import anomaly_scores, auroc


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
