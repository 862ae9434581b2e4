"""Losses of tuples against plain loops, and fits of curves of known growth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nearfar.diagnosing.negatives import DIAGNOSIS as NEGATIVES
from nearfar.diagnosing.negatives import Classes, growth, tuple_losses


def test_the_loss_of_a_tuple_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    w, x, p, n = rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 5, 3))
    expected = []
    for i in range(4):
        f = w @ x[i]
        expected.append(math.log(1 + sum(math.exp(f @ (w @ n[i, j]) - f @ (w @ p[i])) for j in range(5))))
    found = tuple_losses(*(torch.from_numpy(part) for part in (w, x, p, n)))
    assert found.tolist() == pytest.approx(expected)
    nothing = tuple_losses(torch.zeros(2, 3, dtype=torch.float64), *(torch.from_numpy(part) for part in (x, p, n)))
    assert nothing.tolist() == pytest.approx([math.log(6)] * 4)  # at chance log(1 + k)


def test_growth_of_known_curves():
    ks = np.array([1, 2, 4, 8, 16])
    slope, bend, _ = growth(ks, 1 + 0.5 * np.log(ks))
    assert (slope, bend) == pytest.approx((0.5, 0), abs=1e-12)
    assert growth(ks, 0.1 * ks)[2] == pytest.approx(1) and growth(ks, 0.1 * ks)[1] > 0
    assert growth(ks, 3 * np.sqrt(ks))[2] == pytest.approx(0.5)
    assert math.isnan(growth(ks, np.log(ks))[2])  # a gap of 0 has no power


def test_items_have_length_1_and_stand_by_their_classes():
    world = Classes(3, 8, torch.Generator().manual_seed(0), noise=0.1)
    labels = world.labels(60)
    items = world.items(labels)
    assert items.norm(dim=1).tolist() == pytest.approx([1.0] * 60, abs=1e-6)
    assert (items @ world.means.T).argmax(1).tolist() == labels.tolist()
    assert [tuple(part.shape) for part in world.tuples(5, 7)] == [(5, 8), (5, 8), (5, 7, 8)]


def test_the_gap_does_not_grow_in_proportion_to_the_negatives():
    found = NEGATIVES(ks=(1, 4, 16, 64), tuples=60, held=300, steps=80, classes=6, width=8, columns=4)
    assert found.figures["power"].high < 1
    assert [row["negatives"] for row in found.table] == [1, 4, 16, 64]
    # More tuples, smaller gap: what learning theory says first of all.
    more = NEGATIVES(ks=(1, 4, 16, 64), tuples=600, held=300, steps=80, classes=6, width=8, columns=4)
    assert more.table[-1]["gap"].value < found.table[-1]["gap"].value  # type: ignore[union-attr]
