"""Classes that come after training: each is enrolled by a few of its items, and rows are told by cosine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearfar.errors import DataError

from .checks import Labels, Vectors, as_labels, as_vectors, same_width, unit


@dataclass(frozen=True)
class Enrolled:
    """Classes (C,) with the mean of the unit rows of each, as unit rows (C, D).

    >>> known = enrol(np.eye(3), [4, 4, 9])
    >>> known.classes.tolist(), known.predict(np.array([[1.0, 0.5, 0.2], [0.0, 0.0, 3.0]])).tolist()
    ([4, 9], [4, 9])
    """

    classes: np.ndarray
    means: np.ndarray

    def scores(self, rows: Vectors) -> np.ndarray:
        """(Q, C) cosines of rows (Q, D) with the classes.

        Raises DataError: the width is another than that of the enrolled rows.
        """
        queries = as_vectors(rows)
        same_width(queries, self.means, "vectors and enrolled classes")
        return unit(queries) @ self.means.T

    def predict(self, rows: Vectors) -> np.ndarray:
        """(Q,) the class of largest cosine for each row; of equal ones the lowest."""
        return self.classes[self.scores(rows).argmax(1)]

    def joined(self, other: Enrolled) -> Enrolled:
        """Both sets of classes, which share none.

        Raises DataError: a class is in both, or widths differ.
        """
        same_width(self.means, other.means, "enrolled classes and further ones")
        twice = np.intersect1d(self.classes, other.classes)
        if len(twice):
            raise DataError(f"class {twice[0]} is enrolled already; enrol all of its rows at once")
        classes = np.concatenate([self.classes, other.classes])
        order = classes.argsort()
        return Enrolled(classes[order], np.concatenate([self.means, other.means])[order])


def enrol(rows: Vectors, labels: Labels) -> Enrolled:
    """Enrol every class of some labelled rows (M, D), a handful of each will do; rows of label -1 do not count.

    Raises DataError: no row has a label.
    """
    support = as_vectors(rows)
    known = as_labels(labels, len(support), unknown=True)
    if not (known >= 0).any():
        raise DataError("no row has a label; give at least one row of each class to enrol")
    classes, places = np.unique(known[known >= 0], return_inverse=True)
    sums = np.zeros((len(classes), support.shape[1]))
    np.add.at(sums, places, unit(support[known >= 0]))
    return Enrolled(classes, unit(sums))
