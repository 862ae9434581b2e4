from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nearfar.errors import DataError
from nearfar.evaluation import anisotropy, hubness, length_bias


def test_anisotropy_is_the_mean_cosine_of_all_pairs() -> None:
    x = np.random.default_rng(0).normal(1, 1, (40, 5))
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert anisotropy(x) == pytest.approx((z @ z.T)[np.triu_indices(40, 1)].mean())
    assert anisotropy(np.ones((9, 3))) == pytest.approx(1)
    spread = np.random.default_rng(1).normal(size=(2000, 64))
    assert anisotropy(spread) == pytest.approx(0, abs=1e-3)


def test_hubness_is_the_skewness_of_how_often_a_row_is_found() -> None:
    x = np.random.default_rng(0).normal(size=(60, 20))
    distances = np.linalg.norm(x[:, None] - x[None], axis=2) + 1e9 * np.eye(60)
    counts = np.bincount(np.argsort(distances, axis=1)[:, :5].ravel(), minlength=60)
    assert hubness(x, 5, "euclidean") == pytest.approx(stats.skew(counts))
    star = np.concatenate([[[1.0, 1, 1, 1]], np.eye(4)])
    assert hubness(star, 1) > 1  # the one in the middle is the nearest of all others
    assert hubness(np.eye(4), 3) == 0
    with pytest.raises(DataError, match="need 5 rows"):
        hubness(np.eye(4), 4)


def test_length_bias_takes_out_what_content_explains() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(1, 30, (2, 500))
    content = rng.normal(size=500) - 0.3 * abs(first - second)
    scores = content + 0.1 * rng.normal(size=500)
    plain = length_bias(scores, first, second)
    assert plain == pytest.approx(stats.spearmanr(scores, -abs(first - second)).statistic)
    assert plain > 0.8
    rest = length_bias(scores, first, second, content)
    ranks = [stats.rankdata(column) for column in (scores, -abs(first - second), content)]
    left = [column - np.polyval(np.polyfit(ranks[2], column, 1), ranks[2]) for column in ranks[:2]]
    assert rest == pytest.approx(np.corrcoef(left)[0, 1])
    assert abs(rest) < 0.15
    assert np.isnan(length_bias(np.ones(9), np.arange(9), np.zeros(9)))
    with pytest.raises(DataError, match="must be"):
        length_bias([1, 2], [1, 2, 3], [1, 2, 3])
