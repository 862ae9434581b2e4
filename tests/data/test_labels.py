from __future__ import annotations

import numpy as np
import pytest

from nearfar.data.labels import encode_labels, renumber
from nearfar.errors import DataError


@pytest.mark.parametrize(
    ("values", "labels", "classes"),
    [
        (["b", "a", "b"], [1, 0, 1], ["a", "b"]),
        (["10", "9", "10"], [1, 0, 1], ["9", "10"]),  # by value, not by text
        (["07", "7", "10"], [0, 2, 1], ["07", "10", "7"]),  # 07 is no whole number as Python writes it
        (["a", "", None, float("nan"), " a "], [0, -1, -1, -1, 0], ["a"]),
        ([1.0, float("nan"), 0.0], [1, -1, 0], ["0", "1"]),  # whole numbers with blanks, as tables store them
        (np.array([5, 3, -1, 5]), [1, 0, -1, 1], ["3", "5"]),
        (np.array([7, 7], np.uint8), [0, 0], ["7"]),
        (np.array(["x", "y"]), [0, 1], ["x", "y"]),
        (np.array([b"x", b"y"]), [0, 1], ["x", "y"]),
        (["-1", "a"], [0, 1], ["-1", "a"]),  # among texts -1 is a text
        ([True, False], [1, 0], ["False", "True"]),
        (["", ""], [-1, -1], []),
        ([], [], []),
    ],
)
def test_encoding(values, labels, classes):
    encoded, names = encode_labels(values)
    assert encoded.dtype == np.int64
    assert encoded.tolist() == labels
    assert names == classes


def test_encoding_agrees_with_scikit_learn():
    from sklearn.preprocessing import LabelEncoder

    values = np.random.default_rng(0).choice(["plum", "fig", "Äpfel", "zz"], 200)
    encoded, names = encode_labels(values)
    oracle = LabelEncoder().fit(values)
    assert names == oracle.classes_.tolist()
    assert (encoded == oracle.transform(values)).all()


@pytest.mark.parametrize("values", [np.array([-1, 1, 1]), ["-1", "1", ""]])
def test_minus_one_and_one_is_refused(values):
    with pytest.raises(DataError, match=r"t\.csv: the only labels are -1 and 1.*Write 0 and 1"):
        encode_labels(values, "t.csv")


def test_renumbering_keeps_names():
    labels, merged = renumber(np.array([2, 0, -1, 1]), ["a", "b", "c"], ["c", "a"])
    assert merged == ["c", "a", "b"]
    assert [merged[label] if label >= 0 else None for label in labels] == ["c", "a", None, "b"]
