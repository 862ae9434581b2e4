"""Augmentation distances against plain loops, and what they say of sets of known shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.diagnosing.concentration import (
    RECIPES,
    augmentation_distances,
    delta_of,
    largest_cosine,
    share_within,
)
from saying import Command


def test_distances_are_the_smallest_over_versions():
    versions = np.random.default_rng(0).normal(size=(5, 3, 7))
    expected = [[min(np.linalg.norm(a - b) for a in one for b in two) for two in versions] for one in versions]
    assert augmentation_distances(versions) == pytest.approx(np.array(expected), abs=1e-6)


def test_more_versions_bring_samples_nearer():
    versions = np.random.default_rng(1).normal(size=(6, 8, 4))
    few, many = augmentation_distances(versions[:, :2]), augmentation_distances(versions)
    assert (many <= few + 1e-9).all() and delta_of(many, 0.8) < delta_of(few, 0.8)


def test_delta_and_sigma_of_points_on_a_line():
    at = np.array([0.0, 1.0, 2.0, 10.0])
    far = np.abs(at[:, None] - at)
    assert [delta_of(far, sigma) for sigma in (0.25, 0.5, 0.75, 1.0)] == [0, 1, 1, 8]  # cores: any, any, 1, 2
    assert [share_within(far, delta) for delta in (0.5, 1, 7, 8)] == [0.25, 0.75, 0.75, 1.0]


def test_the_largest_cosine_is_between_different_classes():
    vectors = np.array([[2.0, 0.0], [5.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    assert largest_cosine(vectors, np.array([0, 0, 1, 2])) == pytest.approx(2**-0.5)
    assert largest_cosine(vectors, np.array([0, 0, 1, 1])) == pytest.approx(
        (1 / 2**0.5) / np.hypot(1 / 2**0.5, 1 + 1 / 2**0.5)
    )


def test_recipes_are_told_one_by_one(small: Path, command: Command):
    how = {"data": small, "rows": 80, "held": 40, "per_class": 4, "versions": 2, "steps": 1, "batch": 8}
    settings = [part for key, value in how.items() for part in ("--set", f"{key}={value}")]
    said = command("diag", "concentration", "--seeds", 2, *settings)
    assert said.code == 0, said.err
    assert all(recipe.name in said.out for recipe in RECIPES)
    nothing, flip = (
        next(line for line in said.out.splitlines() if line.startswith(name)) for name in ("nothing", "flip")
    )
    assert "0.000 [0.000, 0.000]" in nothing  # both views are the picture itself: aligned whatever the encoder
    assert float(flip.split()[1]) <= float(nothing.split()[1])  # versions are added to the untouched one


def test_pictures_without_labels_are_refused(tmp_path: Path, command: Command):
    np.savez(tmp_path / "plain.npz", images=np.zeros((40, 8, 8), dtype=np.uint8))
    said = command("diag", "concentration", "--set", f"data={tmp_path / 'plain.npz'}")
    assert said.code == 2 and "no labels of two or more classes" in said.err
