from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as Oracle
from sklearn.preprocessing import StandardScaler

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import few_shot_probe, linear_probe
from nearfar.evaluation.logistic import choose, fit, splits
from nearfar.evaluation.probes import draw_rows


def clusters(n: int, width: int, classes: int, seed: int, noise: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).standard_normal((classes, width))
    generator = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (centres[y] + noise * generator.standard_normal((n, width))).astype(np.float32), y


@pytest.mark.parametrize("strength", [0.01, 1.0])
@pytest.mark.parametrize("shape", [(300, 12), (40, 90)])
def test_fit_in_the_span_of_the_rows_equals_the_plain_fit(strength: float, shape: tuple[int, int]) -> None:
    x, y = clusters(*shape, classes=3, seed=0)
    oracle = Oracle(C=strength, max_iter=5000, tol=1e-10).fit(x.astype(np.float64), y)
    found = fit(x, y, strength)
    assert found.converged
    np.testing.assert_allclose(found.probabilities(x), oracle.predict_proba(x), atol=2e-3)


def test_accuracy_equals_scikit_learn_on_standardised_features() -> None:
    x, y = clusters(400, 20, 4, seed=1)
    z, truth = clusters(300, 20, 4, seed=2)
    scale = StandardScaler().fit(x)
    oracle = Oracle(C=0.1, max_iter=1000).fit(scale.transform(x), y)
    found = linear_probe(x * 1000 + 5, y, z * 1000 + 5, truth, strength=0.1)
    assert (found.predictions == oracle.predict(scale.transform(z))).mean() > 0.99
    assert found.report.metrics["accuracy"].value == pytest.approx((found.predictions == truth).mean())
    assert found.report.metrics["accuracy"].settings["C"] == 0.1
    assert found.tried == []


def test_the_chosen_strength_has_the_least_validation_loss() -> None:
    x, y = clusters(1200, 10, 3, seed=3)
    z, truth = clusters(300, 10, 3, seed=4)
    found = linear_probe(x, y, z, truth, strengths=(1e-4, 1e-2, 1.0, 100.0))
    losses = {entry["C"]: entry["validation_loss"] for entry in found.tried}
    assert found.strength == min(losses, key=lambda c: losses[c])
    assert found.strength > 1e-4
    assert found.converged


def test_overfitting_is_answered_by_regularisation() -> None:
    x, y = clusters(60, 200, 3, seed=5, noise=6.0)
    strength, tried = choose(x, y, (1e-5, 1e-3, 1e-1, 10.0), 300, seed=0)
    assert strength <= 1e-1
    assert tried[-1]["validation_loss"] > tried[-2]["validation_loss"]


def test_one_hot_labels_are_read_perfectly_and_noise_is_not() -> None:
    y = np.arange(90) % 3
    assert linear_probe(np.eye(3)[y], y, np.eye(3)[y], y).report.metrics["accuracy"].value == 1.0
    noise = np.random.default_rng(6).standard_normal((90, 4))
    found = linear_probe(noise[:45], y[:45], noise[45:], y[45:]).report.metrics["accuracy"]
    assert found.value < 0.6


def test_too_few_iterations_are_reported() -> None:
    x, y = clusters(200, 10, 3, seed=7)
    found = linear_probe(x, y, x, y, strength=100.0, max_iterations=2)
    assert not found.converged
    assert found.report.metrics["accuracy"].settings["converged"] is False


def test_constant_features_do_no_harm() -> None:
    x, y = clusters(120, 6, 3, seed=8)
    z, truth = clusters(120, 6, 3, seed=9)
    plain = linear_probe(x, y, z, truth, strength=1.0)
    padded = linear_probe(np.pad(x, ((0, 0), (0, 2))), y, np.pad(z, ((0, 0), (0, 2))), truth, strength=1.0)
    assert (plain.predictions == padded.predictions).mean() > 0.98


def test_draws_are_seeded_balanced_and_different() -> None:
    y = np.random.default_rng(10).integers(0, 4, 200)
    rows = draw_rows(y, 7, seed=0)
    assert np.bincount(y[rows]).tolist() == [7, 7, 7, 7]
    assert len(set(rows.tolist())) == 28
    assert rows.tolist() == draw_rows(y, 7, seed=0).tolist() != draw_rows(y, 7, seed=1).tolist()


def test_few_labels_give_the_mean_over_draws() -> None:
    x, y = clusters(300, 16, 3, seed=11)
    z, truth = clusters(200, 16, 3, seed=12)
    found = few_shot_probe(x, y + 5, z, truth + 5, per_class=5, draws=4)
    accuracies = [(guess == truth + 5).mean() for guess in found.predictions]
    assert [draw["accuracy"] for draw in found.draws] == pytest.approx(accuracies)
    metric = found.report.metrics["accuracy"]
    assert metric.value == pytest.approx(np.mean(accuracies))
    assert metric.low < metric.value < metric.high
    assert all(len(draw["rows"]) == 15 for draw in found.draws)
    again = few_shot_probe(x, y + 5, z, truth + 5, per_class=5, draws=4)
    assert (again.predictions == found.predictions).all()
    assert found.report.metrics["accuracy"].value < linear_probe(x, y, z, truth).report.metrics["accuracy"].value


def test_one_label_per_class_has_nothing_to_validate_on() -> None:
    x, y = clusters(60, 16, 3, seed=13, noise=0.2)
    found = few_shot_probe(x, y, x, y, per_class=1, draws=2)
    assert found.report.metrics["accuracy"].value > 0.9


def test_splits_are_stratified_and_every_held_class_is_fitted() -> None:
    y = np.array([0] * 50 + [1] * 10 + [2])
    found = splits(y, seed=0)
    assert sorted(np.concatenate([held for _, held in found]).tolist()) == list(range(60))
    for rows, held in found:
        assert np.bincount(y[held], minlength=3).tolist() == [10, 2, 0]
        assert sorted([*rows, *held]) == list(range(61))
    large = splits(np.arange(20_000) % 4, seed=0)
    assert len(large) == 1 and len(large[0][0]) + len(large[0][1]) == 5000
    assert splits(np.arange(4), seed=0) == []


def test_refusals() -> None:
    x, y = clusters(30, 4, 3, seed=15)
    with pytest.raises(DataError, match="class 2 has 10 training rows, 11 are needed"):
        few_shot_probe(np.concatenate([x, x[:2]]), np.concatenate([y, y[:2]]), x, y, per_class=11)
    with pytest.raises(DataError, match="at least two classes"):
        linear_probe(x, np.zeros(30, dtype=int), x, y)
    with pytest.raises(ConfigError, match="above 0"):
        linear_probe(x, y, x, y, strength=0.0)
    with pytest.raises(ConfigError, match="at least 1"):
        few_shot_probe(x, y, x, y, draws=0)
