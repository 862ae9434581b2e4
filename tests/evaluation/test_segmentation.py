from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from nearfar.errors import DataError
from nearfar.evaluation.segmentation import box_iou, largest_box, score_masks, whole_box

GENERATOR = np.random.default_rng(0)
TRUTH = GENERATOR.integers(0, 3, (6, 10, 12)).astype(np.uint8)
GUESS = np.where(GENERATOR.random(TRUTH.shape) < 0.6, TRUTH, GENERATOR.integers(0, 3, TRUTH.shape)).astype(np.uint8)


def test_pooled_figures_equal_scikit_learn() -> None:
    truth = TRUTH.copy()
    truth[0, :4] = 255
    kept = truth != 255
    y, p = truth[kept], GUESS[kept]
    found = score_masks(truth, GUESS, classes=4, resamples=100)
    each = jaccard_score(y, p, average=None)
    assert [row["iou"].value for row in found.per_class] == pytest.approx(each)
    assert [row["label"] for row in found.per_class] == [0, 1, 2]  # class 3 is in neither and counts nowhere
    assert found.metrics["mean_iou"].value == pytest.approx(each.mean())
    assert found.metrics["pixel_accuracy"].value == pytest.approx((y == p).mean())
    assert found.metrics["foreground_iou"].value == pytest.approx(jaccard_score(y > 0, p > 0))
    single = [jaccard_score(t[t != 255] > 0, g[t != 255] > 0) for t, g in zip(truth, GUESS, strict=True)]
    assert found.scores["picture_iou"] == pytest.approx(single)
    assert found.metrics["picture_iou"].value == pytest.approx(np.mean(single))
    for metric in found.metrics.values():
        assert metric.n == 6 and metric.low <= metric.value <= metric.high


def test_intervals_are_over_pictures() -> None:
    perfect = score_masks(TRUTH, TRUTH, classes=3, resamples=50)
    assert all(m.low == m.high == m.value == 1 for m in perfect.metrics.values())
    one = score_masks(TRUTH[:1], GUESS[:1], classes=3, resamples=50)  # one picture resampled is itself
    assert one.metrics["mean_iou"].low == one.metrics["mean_iou"].high == one.metrics["mean_iou"].value
    # Half of the pictures right, half wrong: the share of right pixels varies as the share of right pictures does.
    truth = np.zeros((40, 2, 2), dtype=np.uint8)
    truth[:, 0] = 1
    guess = truth.copy()
    guess[::2] = 1 - guess[::2]
    found = score_masks(truth, guess, classes=2, resamples=2000).metrics["pixel_accuracy"]
    half = 1.96 * np.sqrt(0.25 / 40)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=0.02)


def test_boxes_by_hand() -> None:
    assert box_iou((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    assert box_iou((0, 0, 2, 2), (2, 2, 4, 4)) == 0
    assert box_iou((0, 0, 4, 4), (2, 2, 6, 6)) == pytest.approx(4 / 28)
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = mask[3:6, 3:5] = True
    assert largest_box(mask) == (3, 3, 6, 5)
    assert whole_box(mask) == (0, 0, 6, 5)
    diagonal = np.eye(3, dtype=bool)
    assert largest_box(diagonal) == (0, 0, 3, 3)  # corners touch
    assert largest_box(np.zeros((2, 2), dtype=bool)) is None and whole_box(np.zeros((2, 2), dtype=bool)) is None


def test_localisation_by_hand() -> None:
    truth = np.zeros((4, 8, 8), dtype=np.uint8)
    truth[:3, 2:6, 2:6] = 1
    guess = np.zeros_like(truth)
    guess[0, 2:6, 2:6] = 1
    guess[0, 0, 7] = 1  # a stray pixel is no part of the largest piece
    guess[1, 2:6, 4:8] = 1  # half beside it: 8 / 24
    found = score_masks(truth, guess, classes=2, resamples=10)
    assert found.scores["box_iou"] == pytest.approx([1, 8 / 24, 0])
    assert found.scores["corloc"].tolist() == [1, 0, 0]
    assert found.metrics["corloc"].value == pytest.approx(1 / 3) and found.metrics["corloc"].n == 3
    assert found.empty == 1


def test_without_any_foreground_there_are_no_boxes() -> None:
    found = score_masks(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.uint8), classes=2, resamples=10)
    assert set(found.metrics) == {"pixel_accuracy", "mean_iou", "foreground_iou"} and found.empty == 2
    assert np.isnan(found.metrics["foreground_iou"].value)


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(DataError, match="the same for truth and prediction"):
        score_masks(TRUTH, GUESS[:, :5], classes=3)
    with pytest.raises(DataError, match="true masks hold 0 to 2, but the classes are 0 to 1"):
        score_masks(TRUTH, GUESS, classes=2)
    with pytest.raises(DataError, match="predicted masks hold"):
        score_masks(TRUTH, GUESS + 1, classes=3)
    with pytest.raises(DataError, match="every pixel of the test masks is ignored"):
        score_masks(np.full((1, 2, 2), 255, np.uint8), np.zeros((1, 2, 2), np.uint8), classes=2)
