from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, matthews_corrcoef

from nearfar.errors import DataError
from nearfar.evaluation import (
    best_threshold,
    contrast_accuracy,
    pair_quality,
    translation_accuracy,
    triplet_accuracy,
)


def labelled(seed: int = 0, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return np.round(y + rng.normal(0, 1, n), 1), y


def test_equals_scikit_learn_over_all_thresholds() -> None:
    for seed in range(5):
        x, y = labelled(seed)
        found = pair_quality(x, y, resamples=20).metrics
        assert found["average_precision"].value == pytest.approx(average_precision_score(y, x))
        tried = [-np.inf, *np.unique(x), np.inf]
        assert found["accuracy"].value == pytest.approx(max(accuracy_score(y, x >= t) for t in tried))
        assert found["f1"].value == pytest.approx(max(f1_score(y, x >= t, zero_division=0) for t in tried))
        at = found["f1"].settings["threshold"]
        assert found["mcc"].value == pytest.approx(matthews_corrcoef(y, x >= at))


def test_thresholds_lie_between_distinct_scores_only() -> None:
    assert best_threshold([0.5, 0.5, 0.5], [1, 0, 0]) == np.inf
    assert best_threshold([0.5, 0.5, 0.5], [1, 1, 0]) == -np.inf
    assert best_threshold([0.9, 0.7, 0.1], [1, 1, 0]) == pytest.approx(0.4)
    one = np.nextafter(1.0, 2.0)
    assert best_threshold([one, 1.0], [1, 0]) == one


def test_thresholds_chosen_on_other_pairs() -> None:
    x, y = labelled()
    other, z = labelled(7)
    found = pair_quality(x, y, other, z).metrics
    at = best_threshold(other, z)
    assert found["accuracy"].value == pytest.approx(accuracy_score(y, x >= at))
    assert found["accuracy"].settings["chosen_on"] == "other pairs"
    assert pair_quality(x, y).metrics["accuracy"].settings["chosen_on"] == "the same pairs"


def test_random_scores_have_the_share_of_near_pairs_as_average_precision() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(4000) % 5 == 0).astype(int)
    assert pair_quality(rng.normal(size=4000), y, resamples=5).metrics["average_precision"].value == pytest.approx(
        0.2, abs=0.03
    )


def test_ties_of_triplets_and_translations_are_wrong() -> None:
    assert triplet_accuracy([0.9, 0.5, 0.6], [0.1, 0.5, 0.5], margin=0.2).scores["triplet_accuracy"].tolist() == [
        1,
        0,
        0,
    ]
    a = np.array([[1.0, 0], [0, 1], [1, 1]])
    assert translation_accuracy(a, 2 * a).metrics["both_ways"].value == 1
    doubled = translation_accuracy(a[[0, 1, 1]], a[[0, 1, 1]])
    assert doubled.scores["forward"].tolist() == doubled.scores["backward"].tolist() == [1, 0, 0]


def test_contrast_sets() -> None:
    assert contrast_accuracy(np.array([np.eye(2)] * 3)).metrics["both_ways"].value == 1
    ignores_the_query = np.array([[[0.9, 0.1], [0.9, 0.1]]])
    assert contrast_accuracy(ignores_the_query).metrics["by_query"].value == 0
    random = np.random.default_rng(0).normal(size=(20_000, 2, 2))
    found = contrast_accuracy(random, resamples=2).metrics
    assert found["by_query"].value == pytest.approx(1 / 4, abs=0.01)
    assert found["by_document"].value == pytest.approx(1 / 4, abs=0.01)
    assert found["both_ways"].value == pytest.approx(1 / 6, abs=0.01)  # both diagonal scores above both others
    swapped = contrast_accuracy(random[:, ::-1, ::-1], resamples=2).metrics
    assert swapped["by_query"].value == found["by_query"].value


def test_refusals() -> None:
    with pytest.raises(DataError, match="some of both"):
        pair_quality([0.1, 0.2], [1, 1])
    with pytest.raises(DataError, match="not finite"):
        pair_quality([0.1, np.nan], [1, 0])
    with pytest.raises(DataError, match=r"\(N, 2, 2\)"):
        contrast_accuracy(np.zeros((3, 2)))
