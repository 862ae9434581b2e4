"""Enrolled classes against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluation import enrol

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 6))
LABELS = np.array([3, 7, 3, 5, 7, 3, 5, 9])
ROWS = CENTRES[np.searchsorted([3, 5, 7, 9], LABELS)] + 0.3 * RNG.normal(size=(8, 6))
QUERIES = RNG.normal(size=(20, 6))


def test_means_are_of_unit_rows_and_rows_go_to_the_class_of_largest_cosine():
    known = enrol(ROWS, LABELS)
    assert known.classes.tolist() == [3, 5, 7, 9]
    for query, said, scores in zip(QUERIES, known.predict(QUERIES), known.scores(QUERIES), strict=True):
        cosines = {}
        for c in (3, 5, 7, 9):
            mean = np.mean([row / np.linalg.norm(row) for row, y in zip(ROWS, LABELS, strict=True) if y == c], axis=0)
            cosines[c] = float(query @ mean / np.linalg.norm(query) / np.linalg.norm(mean))
        assert said == max(cosines, key=cosines.__getitem__)
        np.testing.assert_allclose(scores, list(cosines.values()))


def test_predictions_are_the_nearest_means_of_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    known = enrol(ROWS, LABELS)
    theirs = neighbors.NearestNeighbors(n_neighbors=1, metric="cosine").fit(known.means)
    places = theirs.kneighbors(QUERIES, return_distance=False)[:, 0]
    assert known.predict(QUERIES).tolist() == known.classes[places].tolist()


def test_lengths_of_rows_do_not_matter_and_unknown_rows_do_not_count():
    longer = ROWS * RNG.uniform(0.1, 9, (8, 1))
    np.testing.assert_allclose(enrol(longer, LABELS).means, enrol(ROWS, LABELS).means)
    more, labels = np.concatenate([ROWS, QUERIES]), np.concatenate([LABELS, np.full(20, -1)])
    np.testing.assert_allclose(enrol(more, labels).means, enrol(ROWS, LABELS).means)


def test_classes_that_come_later_join_those_that_are_known():
    early, late = LABELS < 6, LABELS > 6
    joined = enrol(ROWS[late], LABELS[late]).joined(enrol(ROWS[early], LABELS[early]))
    whole = enrol(ROWS, LABELS)
    assert joined.classes.tolist() == whole.classes.tolist()
    np.testing.assert_allclose(joined.means, whole.means)
    with pytest.raises(DataError, match="class 7 is enrolled already"):
        whole.joined(enrol(ROWS[late], LABELS[late]))


def test_bad_input_is_named():
    with pytest.raises(DataError, match="no row has a label"):
        enrol(ROWS, np.full(8, -1))
    with pytest.raises(DataError, match="vectors and enrolled classes"):
        enrol(ROWS, LABELS).predict(QUERIES[:, :4])
