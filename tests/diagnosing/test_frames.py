"""Free vectors under SupCon end where the theory says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.diagnosing.frames import DIAGNOSIS as FRAMES
from nearfar.diagnosing.frames import WAYS, Batches, FramesOptions, dealt, one_training
from nearfar.errors import ConfigError


def test_even_classes_of_any_sign_end_in_a_simplex():
    options = FramesOptions(sizes=(4, 4, 4), steps=120)
    delta, scatter = one_training(options, "any sign", "all at once", seed=0)
    gram = np.full((3, 3), -0.5) + 1.5 * np.eye(3)  # cosines of a regular triangle
    expected = np.linalg.norm(gram / np.linalg.norm(gram) - np.eye(3) / np.sqrt(3))
    assert delta == pytest.approx(expected, abs=0.01) and scatter < 0.01


def test_uneven_classes_end_at_right_angles_without_negative_numbers_alone():
    options = FramesOptions(sizes=(20, 6, 4), steps=160)
    ends = {way: one_training(options, *way, seed=0)[0] for way in WAYS[:4]}
    assert ends["not negative", "all at once"] < 0.02 and ends["any sign", "all at once"] > 0.5
    assert ends["not negative", "bound"] < 0.1 < 0.3 < ends["not negative", "disjoint"]


def test_figures_are_of_the_trainings():
    found = FRAMES(seeds=2, sizes=(4, 4), steps=2)
    options = FramesOptions(seeds=2, sizes=(4, 4), steps=2)
    ends = [[one_training(options, *way, seed)[0] for way in WAYS] for seed in (0, 1)]
    assert [row["delta"].value for row in found.table] == pytest.approx(np.mean(ends, axis=0))
    assert found.figures["binding"].value == pytest.approx(np.mean([row[1] - row[2] for row in ends]))
    assert found.figures["relu"].value == pytest.approx(np.mean([row[6] for row in ends])) and not found.holds


@pytest.mark.parametrize("batches", ["disjoint", "bound"])
def test_batches_share_one_item_of_every_class_or_none(batches: Batches):
    options = FramesOptions(sizes=(9, 7, 6), batches=3)
    labels = torch.tensor([0] * 9 + [1] * 7 + [2] * 6)
    parts = [set(rows.tolist()) for rows in dealt(labels, options, batches, seed=1)]
    assert set.union(*parts) == set(range(22))
    shared = set.intersection(*parts)
    assert sorted(labels[list(shared)].tolist()) == ([0, 1, 2] if batches == "bound" else [])
    assert sum(map(len, parts)) == 22 + 2 * len(shared)
    assert all((labels[list(part)] == c).sum() >= 2 for part in parts for c in range(3))


@pytest.mark.parametrize(
    ("settings", "told"), [({"columns": 2}, "as many columns, not 2"), ({"sizes": (9, 3)}, "sizes of 4 at least")]
)
def test_settings_that_cannot_be_measured_are_refused(settings: dict[str, object], told: str):
    with pytest.raises(ConfigError, match=told):
        FRAMES(**settings)
