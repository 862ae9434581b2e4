"""What training leaves in vectors: features that stand for one class, and class means at right angles."""

from __future__ import annotations

import numpy as np

from nearfar.errors import DataError

from .checks import Labels, Vectors, as_labels, as_vectors, unit

ACTIVE = 1e-5  # a feature above this is at work


def sparsity(vectors: Vectors, threshold: float = ACTIVE) -> float:
    """Share of all numbers of the vectors (N, D) that are 0, or nearly: |z| < threshold. From 0 to 1.

    Source: Wang et al. 2024, Non-negative Contrastive Learning; PKU-ML/non_neg.

    >>> sparsity(np.array([[1.0, 0.0], [0.0, 0.0]]))
    0.75
    """
    return float((np.abs(as_vectors(vectors)) < threshold).mean())


def class_consistency(vectors: Vectors, labels: Labels, threshold: float = ACTIVE) -> float:
    """Mean over features of the share of the most frequent class among the vectors in which the feature is at work.

    1 when every feature stands for one class; about the share of the largest class when features know of none. A
    feature that is at work nowhere does not count; vectors of label -1 do not either. NaN where no feature works.
    Source: as `sparsity`.

    >>> class_consistency(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), [0, 0, 1])        # (1 + 1/2) / 2
    0.75
    """
    x = as_vectors(vectors)
    y = as_labels(labels, len(x), unknown=True)
    active, y = x[y >= 0] > threshold, y[y >= 0]
    counts = np.stack([active[y == c].sum(0) for c in np.unique(y)]) if len(y) else np.zeros((1, x.shape[1]))
    at_work = counts.sum(0) > 0
    return float((counts.max(0)[at_work] / counts.sum(0)[at_work]).mean()) if at_work.any() else float("nan")


def feature_correlation(vectors: Vectors) -> float:
    """Mean of |correlation - identity| over all D x D pairs of features: 0 when features say different things.

    A feature that never changes is correlated with none. Source: as `sparsity`.
    """
    x = as_vectors(vectors).astype(np.float64)
    centred = x - x.mean(0)
    spread = np.linalg.norm(centred, axis=0)
    centred = centred / np.where(spread > 0, spread, 1)
    correlation = centred.T @ centred
    np.fill_diagonal(correlation, 0)
    return float(np.abs(correlation).mean())


def _means(vectors: Vectors, labels: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of known class, their classes from 0, and the means of the classes (C, D)."""
    x = unit(as_vectors(vectors)).astype(np.float64)
    y = as_labels(labels, len(x), unknown=True)
    x, y = x[y >= 0], y[y >= 0]
    classes, y = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise DataError("the arrangement of class means needs vectors of at least two classes")
    return x, y, np.stack([x[y == c].mean(0) for c in range(len(classes))])


def orthogonality_gap(vectors: Vectors, labels: Labels) -> float:
    """How far the class means of the unit vectors are from equal length and right angles: |G / |G| - I / |I||.

    G (C, C) are the products of the means, norms are Frobenius'. 0 for an orthogonal frame, which a non-negative
    supervised contrast reaches whatever the sizes of the classes; at most 2. Source: Behnia et al. 2023, Symmetric
    Neural-Collapse Representations; the formula is reconstructed.

    >>> orthogonality_gap(np.eye(3), [0, 1, 2])
    0.0
    """
    _, _, means = _means(vectors, labels)
    gram, identity = means @ means.T, np.eye(len(means))
    norm = np.linalg.norm(gram)
    return float(np.linalg.norm(gram / (norm if norm > 0 else 1) - identity / np.linalg.norm(identity)))


def within_class_collapse(vectors: Vectors, labels: Labels) -> float:
    """tr(S_w S_b^+) / C of unit vectors: their scatter within classes, measured by that of the class means.

    0 when every class is one point. S_w is the mean over vectors of the outer product of what is left of the class's
    mean; S_b the mean over classes for the class means and their mean; ^+ is the pseudo-inverse. Source: NC1 of Papyan
    et al. 2020; as `orthogonality_gap`.
    """
    x, y, means = _means(vectors, labels)
    rest, middle = x - means[y], means - means.mean(0)
    within, between = rest.T @ rest / len(x), middle.T @ middle / len(means)
    return float(np.trace(within @ np.linalg.pinv(between, hermitian=True)) / len(means))
