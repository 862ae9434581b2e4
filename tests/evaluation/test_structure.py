"""Features that stand for a class, and class means at right angles: by hand, and what training leaves of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from nearfar.errors import DataError
from nearfar.evaluation import (
    class_consistency,
    feature_correlation,
    orthogonality_gap,
    sparsity,
    within_class_collapse,
)
from nearfar.models import NonNegative
from nearfar.objectives import NTXent, SupCon

X = np.array([[1.0, 0, 2, 0], [3, 0, 0, 0], [0, 5, 1, 0], [0, 1e-7, 1, 0], [0, 2, 0, 0]])
Y = [0, 0, 1, 1, -1]


def test_shares_by_hand() -> None:
    assert sparsity(X) == pytest.approx(13 / 20)  # 1e-7 is nearly 0
    assert sparsity(X, threshold=1e-9) == pytest.approx(12 / 20)
    # Feature 1 works in class 0 alone, feature 2 in class 1 alone, feature 3 once and twice, feature 4 nowhere.
    assert class_consistency(X, Y) == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert math.isnan(class_consistency(-X, Y))  # no feature is at work
    assert math.isnan(class_consistency(X, [-1] * 5))


def test_correlation_is_that_of_numpy_and_constant_features_have_none() -> None:
    x = np.random.default_rng(0).standard_normal((30, 5))
    want = np.abs(np.corrcoef(x.T) - np.eye(5)).mean()
    assert feature_correlation(x) == pytest.approx(want)
    assert feature_correlation(np.concatenate([x, np.ones((30, 1))], 1)) == pytest.approx(want * 25 / 36)


def test_frames_in_closed_form() -> None:
    """Regular simplex of 3 classes: products 1 and -1/2, so G / |G| has 1 and -1/2 over sqrt(3 + 6 / 4)."""
    simplex = np.eye(3) - 1 / 3
    norm = math.sqrt(4.5)
    want = math.sqrt(3 * (1 / norm - 1 / math.sqrt(3)) ** 2 + 6 * (0.5 / norm) ** 2)
    assert orthogonality_gap(simplex, [0, 1, 2]) == pytest.approx(want)
    assert orthogonality_gap(7 * np.eye(3), [5, 0, 9]) == pytest.approx(0)
    one = np.ones((4, 3))  # all means are equal
    assert orthogonality_gap(one, [0, 0, 1, 1]) == pytest.approx(math.sqrt(2 * (1 / 2 - 1 / math.sqrt(2)) ** 2 + 2 / 4))


def test_scatter_within_classes_against_that_between_in_closed_form() -> None:
    """Two classes at angles +-a and 90 +- a degrees; the scatter is a matrix of two by two."""
    a = 0.1
    angles = np.array([a, -a, math.pi / 2 + a, math.pi / 2 - a])
    x = np.stack([np.cos(angles), np.sin(angles)], 1)
    # Within: sin^2 a, half of it along each axis. Between: means +-(cos a)(1, -1) / 2, of square cos^2 a / 2.
    want = (math.sin(a) ** 2 / 2) / (math.cos(a) ** 2 / 2) / 2
    assert within_class_collapse(5 * x, [0, 0, 1, 1]) == pytest.approx(want)
    assert within_class_collapse(np.eye(2).repeat(3, 0), [0, 0, 0, 1, 1, 1]) == pytest.approx(0)


def test_means_need_two_classes_of_known_rows() -> None:
    for measure in (orthogonality_gap, within_class_collapse):
        with pytest.raises(DataError, match="at least two classes"):
            measure(X, [0, 0, 0, -1, -1])


# What training leaves ----------------------------------------------------------


def groups_learned(activation: str) -> tuple[float, float]:
    """Class consistency and sparsity after contrast of two views of items in 8 groups."""
    torch.manual_seed(0)
    centres, y = 3 * torch.randn(8, 16), torch.arange(256) % 8
    ends = [NonNegative(activation)] if activation != "none" else []  # type: ignore[arg-type]
    encoder = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32), *ends)
    optimiser, loss = torch.optim.Adam(encoder.parameters(), lr=3e-3), NTXent(temperature=0.2)
    for _ in range(150):
        views = [encoder(centres[y] + torch.randn(256, 16)) for _ in range(2)]
        optimiser.zero_grad()
        loss(*views).backward()
        optimiser.step()
    with torch.no_grad():
        made = encoder(centres[y] + torch.randn(256, 16))
    return class_consistency(made, y), sparsity(made)


def test_without_negative_numbers_features_stand_for_groups() -> None:
    plain, _ = groups_learned("none")
    consistent, empty = groups_learned("rep_relu")
    assert consistent > 0.9 and empty > 0.8
    assert plain < 0.5


def classes_learned(non_negative: bool) -> tuple[float, float]:
    """Gap to right angles and scatter within classes of free rows, ten times more of one class than of the others."""
    torch.manual_seed(0)
    y = torch.tensor([0] * 40 + [1] * 4 + [2] * 4)
    rows = torch.rand(48, 6).requires_grad_()
    end = NonNegative("relu") if non_negative else nn.Identity()
    optimiser, loss = torch.optim.Adam([rows], lr=0.05), SupCon(temperature=1.0)
    for _ in range(150):
        optimiser.zero_grad()
        loss(end(rows), labels=y).backward()
        optimiser.step()
    z = normalize(end(rows.detach()), dim=1)
    return orthogonality_gap(z, y), within_class_collapse(z, y)


def test_without_negative_numbers_unequal_classes_stand_at_right_angles() -> None:
    gap, scatter = classes_learned(non_negative=True)
    assert gap < 0.05 and scatter < 0.01
    assert classes_learned(non_negative=False)[0] > 0.3
