"""Episodes: accuracy by plain loops, transport by a linear program, and when it helps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation.episodes import episodes, transported


def kinds(spread: float, seed: int = 0, rows: int = 40, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(rows * classes) % classes
    centres = generator.normal(size=(classes, 8))
    return centres[labels] + spread * generator.normal(size=(len(labels), 8)), labels


def test_the_accuracy_is_that_of_plain_loops():
    x, y = kinds(0.8)
    found = episodes(x, y, ways=3, shots=2, queries=4, count=5, seed=7)
    rows, generator, want = x / np.linalg.norm(x, axis=1, keepdims=True), np.random.default_rng(7), []
    for _ in range(5):
        drawn = [
            generator.choice(np.flatnonzero(y == c), 6, replace=False)
            for c in generator.choice(np.arange(6), 3, replace=False)
        ]
        right = 0
        for true, of in enumerate(drawn):
            for query in of[2:]:
                cosines = []
                for other in drawn:
                    mean = rows[other[0]] + rows[other[1]]
                    cosines.append(float(mean @ rows[query]) / float(np.linalg.norm(mean)))
                right += int(np.argmax(cosines) == true)
        want.append(right / 12)
    assert found.scores["accuracy"].tolist() == pytest.approx(want)
    assert found.metrics["accuracy"].value == pytest.approx(np.mean(want)) and found.metrics["accuracy"].n == 5
    assert found.gain.value == pytest.approx(found.metrics["transported"].value - np.mean(want))


def test_a_sharp_transport_is_that_of_the_linear_program():
    generator = np.random.default_rng(5)  # where the best plan is best by far
    means, queries = generator.normal(size=(3, 2)), generator.normal(size=(6, 2))
    cost = ((means[:, None] - queries) ** 2).sum(2)
    rows, columns = np.kron(np.eye(3), np.ones(6)), np.kron(np.ones(3), np.eye(6))
    shares = np.concatenate([np.full(3, 1 / 3), np.full(6, 1 / 6)])
    plan = linprog(cost.reshape(-1), A_eq=np.concatenate([rows, columns]), b_eq=shares).x.reshape(3, 6)
    want = 3 * plan @ queries
    np.testing.assert_allclose(transported(means, queries, epsilon=0.003, iterations=5000), want, atol=1e-3)


def test_means_that_are_those_of_the_queries_stay_where_classes_lie_apart():
    x, y = kinds(0.02, classes=3)
    means = np.stack([x[y == c].mean(0) for c in range(3)])
    np.testing.assert_allclose(transported(means, x), means, atol=2e-3)


def test_transport_raises_the_accuracy_of_shots_that_lie_beside_their_classes():
    x, y = kinds(0.9)
    found = episodes(x, y, shots=1, count=200)
    assert found.gain.low > 0.02
    assert found.metrics["accuracy"].low < found.metrics["accuracy"].value < found.metrics["accuracy"].high


def test_what_cannot_be_is_said():
    x, y = kinds(1.0)
    with pytest.raises(DataError, match="0 classes have the 45 rows of 5 shots and 40 queries, and an episode has 5"):
        episodes(x, y, shots=5, queries=40)
    with pytest.raises(ConfigError, match="2 or more ways"):
        episodes(x, y, ways=1)
    unknown = np.where(y == 0, -1, y)
    assert episodes(x, unknown, count=3).metrics["accuracy"].n == 3
    with pytest.raises(DataError, match="5 classes have"):
        episodes(x, unknown, ways=6)
