from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import retrieval
from nearfar.evaluation.retrieval import ranking_scores


def naive(x: np.ndarray, y: np.ndarray, ks: tuple[int, ...]) -> dict[str, list[float]]:
    """One query at a time, straight from the definitions."""
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores: dict[str, list[float]] = {}
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        ranked = sorted(others, key=lambda j: (-round(float(z[i] @ z[j]), 9), j))
        rel = [int(y[j] == y[i]) for j in ranked]
        r = sum(rel)
        if r == 0:
            continue
        for k in ks:
            scores.setdefault(f"recall@{k}", []).append(float(any(rel[:k])))
            scores.setdefault(f"precision@{k}", []).append(sum(rel[:k]) / k)
        scores.setdefault("r_precision", []).append(sum(rel[:r]) / r)
        scores.setdefault("map@r", []).append(sum(rel[n] * sum(rel[: n + 1]) / (n + 1) for n in range(r)) / r)
    return scores


def test_card_golden() -> None:
    scores = ranking_scores(np.array([[1, 0, 1, 0]]), np.array([3]), ks=(1, 2))
    assert scores["r_precision"][0] == pytest.approx(0.6667, abs=1e-4)
    assert scores["map@r"][0] == pytest.approx(0.555556, abs=1e-6)
    assert scores["precision@2"][0] == 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 25), st.integers(1, 5))
def test_equals_the_definitions(seed: int, n: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    x = np.concatenate([generator.integers(-1, 2, (n, 2)), np.ones((n, 1))], axis=1)
    y = np.concatenate([[0, 0], generator.integers(0, classes, n - 2)])
    found = retrieval(x, y, ks=(1, 3, 40), resamples=2)
    for key, expected in naive(x, y, (1, 3, 40)).items():
        np.testing.assert_allclose(found.scores[key], expected, err_msg=key)
        assert found.metrics[key].value == pytest.approx(np.mean(expected))


def test_renaming_labels_and_turning_the_space_change_nothing() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((60, 5)), generator.integers(0, 4, 60)
    turned = x @ np.linalg.qr(generator.standard_normal((5, 5)))[0]
    one, two = retrieval(x, y), retrieval(turned, np.array([7, 2, 9, 4])[y])
    for key, metric in one.metrics.items():
        assert two.metrics[key] == metric


def test_lone_queries_are_left_out_and_counted() -> None:
    x = np.array([[1, 0], [1, 0.1], [0, 1.0]])
    found = retrieval(x, [0, 0, 5])
    assert found.lone == 1
    assert found.kept.tolist() == [0, 1]
    assert found.metrics["recall@1"].n == 2
    assert found.metrics["recall@1"].settings["lone_queries"] == 1
    with pytest.raises(DataError, match="no query has another row"):
        retrieval(x, [0, 1, 2])


def test_separate_bank_and_shared_ids() -> None:
    bank, z = np.array([[1, 0], [0, 1.0], [1, 1]]), np.array([0, 1, 0])
    found = retrieval(np.array([[1, 0.2]]), [0], bank, z, ks=(1,))
    assert found.scores["r_precision"].tolist() == [1.0]
    # The same item sits in the bank as row 0: it must be neither found nor counted as relevant.
    found = retrieval(np.array([[1, 0.2]]), [0], bank, z, ks=(1,), exclude=([10], [10, 11, 12]))
    assert found.scores["map@r"].tolist() == [1.0]
    found = retrieval(np.array([[0.2, 1]]), [0], bank, z, ks=(1,), exclude=([10], [10, 11, 12]))
    assert found.scores["recall@1"].tolist() == [0.0]


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="ks"):
        retrieval(np.eye(2), [0, 0], ks=(0,))
    with pytest.raises(DataError, match="bank_labels"):
        retrieval(np.eye(2), [0, 0], bank=np.eye(2))
