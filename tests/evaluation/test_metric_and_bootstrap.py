from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import Metric, bootstrap_mean, paired_difference
from nearfar.evaluation.bootstrap import resample_counts


def test_metric_reads_well_and_is_json() -> None:
    metric = Metric("kNN accuracy", 0.8431, 5000, 0.8331, 0.8529, {"k": np.int64(20), "grid": (0.1, math.inf)})
    assert str(metric) == "kNN accuracy 0.843 [0.833, 0.853] n=5000"
    back = json.loads(json.dumps(metric.to_json(), allow_nan=False))
    assert back["settings"] == {"k": 20, "grid": [0.1, None]}
    assert Metric("rank", 2.0, 3).to_json()["low"] is None
    with pytest.raises(AttributeError):
        metric.value = 1.0  # type: ignore[misc]


def test_resamples_draw_every_item_equally_often_and_are_seeded() -> None:
    counts = np.concatenate(list(resample_counts(7, 4000, seed=3)))
    assert counts.shape == (4000, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.06)
    # A count is binomial(7, 1/7), with variance 6/7.
    np.testing.assert_allclose(counts.var(axis=0), 6 / 7, atol=0.08)
    assert (counts == np.concatenate(list(resample_counts(7, 4000, seed=3)))).all()


def test_interval_of_an_accuracy_is_close_to_the_normal_one() -> None:
    scores = (np.arange(2000) % 10 < 7).astype(float)
    metric = bootstrap_mean("accuracy", scores, resamples=4000)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 2000)
    assert metric.value == pytest.approx(0.7)
    assert metric.low == pytest.approx(0.7 - half, abs=0.003)
    assert metric.high == pytest.approx(0.7 + half, abs=0.003)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        metric = bootstrap_mean("mean", generator.standard_normal(60), resamples=300, seed=trial)
        covered += metric.low <= 0 <= metric.high
    assert 175 <= covered <= 198


def test_draws_widen_the_interval_when_they_disagree() -> None:
    generator = np.random.default_rng(1)
    same = np.tile((generator.random(500) < 0.7).astype(float), (5, 1))
    apart = np.stack([(generator.random(500) < rate).astype(float) for rate in (0.5, 0.6, 0.7, 0.8, 0.9)])
    width = {name: (m := bootstrap_mean("", s)).high - m.low for name, s in (("same", same), ("apart", apart))}
    one = bootstrap_mean("", same[0])
    assert width["same"] == pytest.approx(one.high - one.low, abs=1e-12)
    # Between draws alone the standard error is sqrt(0.02 / 5) = 0.063.
    assert width["apart"] > 2 * 1.5 * 0.063
    assert bootstrap_mean("", apart).n == 500


def test_paired_difference_agrees_with_scipy() -> None:
    generator = np.random.default_rng(2)
    a = (generator.random(400) < 0.8).astype(float)
    b = np.where(generator.random(400) < 0.9, a, 1 - a)
    found = paired_difference(a, b, resamples=5000)
    oracle = stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples", rng=0)
    boot = stats.bootstrap((a - b,), np.mean, method="percentile", rng=0)
    assert found.value == pytest.approx((a - b).mean())
    assert found.p_value == pytest.approx(oracle.pvalue, abs=0.02)
    assert found.low == pytest.approx(boot.confidence_interval.low, abs=0.004)
    assert found.high == pytest.approx(boot.confidence_interval.high, abs=0.004)


def test_paired_difference_of_equal_models_is_nothing() -> None:
    scores = np.array([1.0, 0.0, 1.0])
    found = paired_difference(scores, scores)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert "p=1" in str(found)


def test_paired_difference_averages_draws_and_pairs_items() -> None:
    a = np.array([[1.0, 1, 0, 0], [1, 0, 0, 0]])
    assert paired_difference(a, np.zeros(4)).value == pytest.approx(0.375)
    with pytest.raises(DataError, match="4 and 3"):
        paired_difference(a, np.zeros(3))


def test_refusals() -> None:
    with pytest.raises(DataError, match="no item"):
        bootstrap_mean("accuracy", np.array([]))
    with pytest.raises(ConfigError, match="at least 1"):
        bootstrap_mean("accuracy", np.ones(3), resamples=0)
