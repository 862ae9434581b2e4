from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import compare_quality, pair_scores, similarity_quality


def test_golden_values_of_ties() -> None:
    found = similarity_quality([1, 2, 2, 3], [0, 1, 2, 3])
    assert found.metrics["spearman"].value == pytest.approx(0.948683, abs=1e-6)


def test_subsets_on_different_offsets() -> None:
    """Each subset in perfect order; together the second, which stands higher by score, is judged lower."""
    scores = np.array([0.1, 0.2, 0.3, 0.4, 1.1, 1.2, 1.3, 1.4])
    gold = np.array([2, 3, 4, 5, 0, 1, 2, 3.0])
    names = ["a"] * 4 + ["b"] * 4
    for how in ("mean", "wmean"):
        assert similarity_quality(scores, gold, names, how).metrics["spearman"].value == pytest.approx(1)
    together = similarity_quality(scores, gold, names).metrics["spearman"].value
    assert together == pytest.approx(stats.spearmanr(scores, gold).statistic)
    assert together < 0


def test_equals_scipy_and_weights_subsets_by_pairs() -> None:
    rng = np.random.default_rng(0)
    x, names = rng.integers(0, 20, 90).astype(float), np.array(["a", "b", "b"] * 30)
    y = x + rng.normal(0, 10, 90)
    found = similarity_quality(x, y)
    assert found.metrics["spearman"].value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.metrics["pearson"].value == pytest.approx(stats.pearsonr(x, y).statistic)
    rho = [stats.spearmanr(x[names == name], y[names == name]).statistic for name in "ab"]
    assert similarity_quality(x, y, names, "mean").metrics["spearman"].value == pytest.approx(np.mean(rho))
    weighted = similarity_quality(x, y, names, "wmean").metrics["spearman"].value
    assert weighted == pytest.approx((30 * rho[0] + 60 * rho[1]) / 90)


def test_the_interval_is_that_of_resampled_pairs() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 9, 60).astype(float)
    y = x + rng.normal(0, 3, 60)
    metric = similarity_quality(x, y, resamples=2000).metrics["spearman"]
    draws = [rng.integers(0, 60, 60) for _ in range(2000)]
    low, high = np.quantile([stats.spearmanr(x[rows], y[rows]).statistic for rows in draws], [0.025, 0.975])
    assert (metric.low, metric.high) == pytest.approx((low, high), abs=0.03)


def test_scores_of_pairs_have_the_figure_as_mean_and_its_spread() -> None:
    rng = np.random.default_rng(2)
    x, z = rng.normal(size=(2, 400))
    y = x + z
    found = similarity_quality(x, y)
    for key, metric in found.metrics.items():
        assert found.scores[key].mean() == pytest.approx(metric.value)
        width = 2 * 1.96 * found.scores[key].std() / 20
        assert metric.high - metric.low == pytest.approx(width, rel=0.15)
    worse = similarity_quality(x + 2 * rng.normal(size=400), y)
    difference = compare_quality(found, worse)["spearman"]
    assert difference.value == pytest.approx(found.metrics["spearman"].value - worse.metrics["spearman"].value)
    assert difference.low > 0 and difference.p_value < 0.01
    assert compare_quality(found, similarity_quality(x.round(3), y))["spearman"].p_value > 0.05


@pytest.mark.parametrize("levels", [4, 1000])
def test_what_is_behind_a_figure_is_the_jackknife(levels: int) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(0, levels, 25).astype(float)
    y = np.round(x + levels * rng.normal(size=25))
    for key, correlation in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        without = np.array([correlation(np.delete(x, i), np.delete(y, i)).statistic for i in range(25)])
        expected = correlation(x, y).statistic + 24 * (without.mean() - without)
        np.testing.assert_allclose(similarity_quality(x, y, resamples=2).scores[key], expected, atol=1e-10)


def test_an_increasing_map_changes_no_rank() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 50))
    assert similarity_quality(np.exp(3 * x), y).metrics["spearman"] == similarity_quality(x, y).metrics["spearman"]


def test_constant_scores_are_undefined_and_not_zero() -> None:
    found = similarity_quality([0.3] * 5, [0, 1, 2, 3, 4])
    for key in ("spearman", "pearson"):
        assert np.isnan(found.metrics[key].value)
        assert found.metrics[key].to_json()["value"] is None
    assert len(found.notes) == 2 and not found.scores


def test_pairs_without_a_judgment_are_left_out_and_counted() -> None:
    found = similarity_quality([0.1, 9, 0.2, 0.3], [1, np.nan, 2, 3])
    assert found.metrics["spearman"].value == pytest.approx(1)
    assert (found.kept.tolist(), found.notes) == ([0, 2, 3], ["1 pairs without a judgment were left out"])


def test_scores_of_vectors() -> None:
    a, b = np.array([[3.0, 4], [1, 0]]), np.array([[4.0, 3], [0, 2]])
    assert pair_scores(a, b).tolist() == pytest.approx([0.96, 0])
    assert pair_scores(a, b, "dot").tolist() == [24, 0]
    assert pair_scores(a, b, "euclidean").tolist() == pytest.approx([-np.sqrt(2), -np.sqrt(5)])


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="needs subsets"):
        similarity_quality([1, 2, 3], [1, 2, 3], how="mean")
    with pytest.raises(DataError, match="3 judged pairs"):
        similarity_quality([1, 2, 3], [1, 2, np.nan])
    with pytest.raises(DataError, match="score NaN"):
        similarity_quality([1, np.nan, 3], [1, 2, 3])
