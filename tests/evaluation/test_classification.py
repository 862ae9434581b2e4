from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nearfar.errors import DataError
from nearfar.evaluation import classify, confusion_matrix

labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def test_card_example() -> None:
    report = classify([0, 0, 1, 1, 2], [0, 1, 1, 1, 0])
    values = {key: metric.value for key, metric in report.metrics.items()}
    assert values["accuracy"] == pytest.approx(0.6)
    assert values["macro_f1"] == pytest.approx(0.433333, abs=1e-6)
    assert values["balanced_accuracy"] == pytest.approx(0.5)
    assert [row["precision"].value for row in report.per_class] == pytest.approx([0.5, 2 / 3, 0])
    assert [row["recall"].value for row in report.per_class] == pytest.approx([0.5, 1, 0])
    assert [row["n"] for row in report.per_class] == [2, 2, 1]


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=60, deadline=None)
@given(labels)
def test_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    y, p = (np.array(column) for column in zip(*pairs, strict=True))
    report = classify(y, p, resamples=2)
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, p, zero_division=0)
    for c, row in enumerate(report.per_class):
        found = (row["precision"].value, row["recall"].value, row["f1"].value, row["n"])
        assert found == pytest.approx((precision[c], recall[c], f1[c], support[c]))
    macro = sk.precision_recall_fscore_support(y, p, average="macro", zero_division=0)
    found = tuple(report.metrics[f"macro_{key}"].value for key in ("precision", "recall", "f1"))
    assert found == pytest.approx(macro[:3])
    assert report.metrics["accuracy"].value == pytest.approx(sk.accuracy_score(y, p))
    present = np.isin(report.classes, y)
    assert report.metrics["balanced_accuracy"].value == pytest.approx(recall[present].mean())
    assert (report.confusion == sk.confusion_matrix(y, p, labels=report.classes)).all()


@settings(max_examples=30, deadline=None)
@given(labels, st.permutations(range(5)), st.integers(0, 1000))
def test_names_and_order_do_not_matter(pairs: list[tuple[int, int]], names: list[int], seed: int) -> None:
    y, p = (np.array(column) for column in zip(*pairs, strict=True))
    shuffled = np.random.default_rng(seed).permutation(len(y))
    renamed = np.array(names)
    before, after = classify(y, p, resamples=1), classify(renamed[y][shuffled], renamed[p][shuffled], resamples=1)
    for key, metric in before.metrics.items():
        assert after.metrics[key].value == pytest.approx(metric.value)


def test_intervals_equal_a_plain_loop_over_resampled_items() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 150)
    p = np.where(generator.random(150) < 0.7, y, generator.integers(0, 3, 150))
    report = classify(y, p, resamples=3000)
    loop = []
    for _ in range(1500):
        rows = generator.integers(0, 150, 150)
        truth, guess = y[rows], p[rows]
        hits = [((truth == c) & (guess == c)).sum() for c in range(3)]
        f1 = [2 * hits[c] / ((truth == c).sum() + (guess == c).sum()) for c in range(3)]
        loop.append([np.mean(f1), hits[1] / (guess == 1).sum(), hits[2] / (truth == 2).sum()])
    low, high = np.quantile(loop, [0.025, 0.975], axis=0)
    found = [report.metrics["macro_f1"], report.per_class[1]["precision"], report.per_class[2]["recall"]]
    np.testing.assert_allclose([m.low for m in found], low, atol=0.015)
    np.testing.assert_allclose([m.high for m in found], high, atol=0.015)


def test_several_draws_are_averaged() -> None:
    y = np.array([0, 0, 1, 1])
    draws = np.array([[0, 0, 1, 1], [0, 1, 1, 0]])
    report = classify(y, draws)
    assert report.metrics["accuracy"].value == pytest.approx(0.75)
    expected = np.mean([sk.f1_score(y, p, average="macro") for p in draws])
    assert report.metrics["macro_f1"].value == pytest.approx(expected)
    assert report.confusion.tolist() == [[3, 1], [1, 3]]
    assert report.correct.shape == (2, 4)


def test_confusion_matrix_has_truth_in_rows() -> None:
    matrix, classes = confusion_matrix([5, 5, 9], [9, 5, 9])
    assert matrix.tolist() == [[1, 1], [0, 1]]
    assert classes.tolist() == [5, 9]


def test_bad_labels_are_named() -> None:
    with pytest.raises(DataError, match="row 1 has label -1"):
        classify([0, -1], [0, 0])
    with pytest.raises(DataError, match="shape"):
        classify([0, 1, 1], [0, 0])
    with pytest.raises(DataError, match="integers"):
        classify([0.5, 1.0], [0, 0])
    with pytest.raises(DataError, match="no test row"):
        classify([], [])
