"""The graph of views, its eigenvectors, and angles to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.diagnosing.spectral import DIAGNOSIS as SPECTRAL
from nearfar.diagnosing.spectral import SpectralOptions, eigen, graph_of, largest_angle, learned, views_of
from nearfar.objectives import Spectral

SMALL = SpectralOptions(classes=3, nodes=4, steps=1)


def test_chances_leak_to_other_classes_and_edges_are_of_two_views():
    chances, y = views_of(SMALL, 0.2, np.random.default_rng(0))
    assert chances.sum(1) == pytest.approx(1)
    assert (chances * (y[:, None] != y)).sum(1) == pytest.approx(0.2)
    expected = np.zeros((12, 12))
    for item in chances:
        expected += np.outer(item, item) / 12
    assert graph_of(chances) == pytest.approx(expected)


def test_eigenvalues_and_vectors_of_the_normalised_graph():
    graph = graph_of(views_of(SMALL, 0.2, np.random.default_rng(1))[0])
    values, vectors = eigen(graph)
    assert values[0] == pytest.approx(1) and values.min() >= 0
    root = np.sqrt(graph.sum(1))
    for value, vector in zip(values, vectors.T, strict=True):
        assert graph @ (vector / root) == pytest.approx(value * root * vector)


def test_angles_in_closed_form():
    graph = np.array([[0.7, 0.1, 0.2], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5]])  # equal degrees
    vectors = np.linalg.eigh(graph)[1][:, ::-1]
    turned = np.cos(np.pi / 6) * vectors[:, 1] + np.sin(np.pi / 6) * vectors[:, 2]
    assert largest_angle(graph, turned[:, None] + 5.0, 2) == pytest.approx(30, abs=1e-6)  # a constant counts nothing
    assert largest_angle(graph, vectors[:, 1:2] * -3, 2) == pytest.approx(0, abs=1e-6)


def test_the_minimum_of_spectral_contrast_is_the_top_eigenvectors():
    """Over all pairs of the graph at once, by the formula, no row moves at D^(-1/2) V L^(1/2)."""
    chances, _ = views_of(SMALL, 0.1, np.random.default_rng(2))
    graph = torch.from_numpy(graph_of(chances))
    degrees = graph.sum(1)
    values, vectors = eigen(graph.numpy())
    best = (vectors[:, :3] * np.sqrt(values[:3])) / np.sqrt(degrees.numpy())[:, None]
    rows = torch.from_numpy(best.copy()).requires_grad_()
    products = rows @ rows.T
    (-2 * (graph * products).sum() + (torch.outer(degrees, degrees) * products.square()).sum()).backward()
    assert rows.grad.abs().max() < 1e-12
    assert largest_angle(graph.numpy(), best, 3) == pytest.approx(0, abs=1e-6)


def test_training_brings_vectors_to_them():
    options = SpectralOptions(classes=3, nodes=4, steps=150, batch=128)
    chances, _ = views_of(options, 0.05, np.random.default_rng(3))
    graph = graph_of(chances)
    before = np.random.default_rng([3, 1]).normal(size=(12, 3))
    after = learned(Spectral(mu=1e4), chances, options, 3)
    assert largest_angle(graph, after, 3) < 20 < 40 < largest_angle(graph, before, 3)


def test_a_claim_that_training_cannot_reach_does_not_hold():
    found = SPECTRAL(seeds=2, nodes=4, steps=1, batch=8, leaks=(0.1, 0.3))
    assert found.holds is False and "Does not hold" in found.verdict
    assert found.table[0]["labelling error"].value < found.table[1]["labelling error"].value
