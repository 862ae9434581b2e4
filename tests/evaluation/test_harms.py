"""Harms of a class made rare: by plain loops and scikit-learn, in closed form, and on a graph of blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.preprocessing import StandardScaler

from nearfar.errors import DataError
from nearfar.evaluation import Encoded, harms, mean_cosines, seeds_mean

RNG = np.random.default_rng(0)
Y, TRUTH = np.arange(120) % 3, np.arange(60) % 3
CENTRES = RNG.standard_normal((3, 5))
KEPT = np.concatenate([np.flatnonzero(Y != 2), [2, 5, 8]])
KEPT.sort()


def vectors(seed: int, noise: float) -> Encoded:
    rng = np.random.default_rng(seed)
    return Encoded(*(CENTRES[y] + noise * rng.standard_normal((len(y), 5)) for y in (Y, TRUTH)))


BALANCED, RARE = vectors(1, 1.0), vectors(2, 2.0)


def test_mean_cosines_by_loops():
    x = np.asarray(BALANCED.test)
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    groups = [z[c == TRUTH] for c in range(3)]
    want = [[np.mean([a @ b for a in one for b in other]) for other in groups] for one in groups]
    np.testing.assert_allclose(mean_cosines(x, TRUTH), want, atol=1e-12)
    assert np.isnan(mean_cosines(x, TRUTH, classes=4)[3]).all()


def test_harms_by_scikit_learn():
    found = harms(BALANCED, RARE, Y, TRUTH, KEPT, ["a", "b", "c"], strength=0.5)

    def said(rows: np.ndarray, y: np.ndarray, scored: np.ndarray) -> np.ndarray:
        scale = StandardScaler().fit(rows)
        model = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(scale.transform(rows), y)
        return confusion_matrix(TRUTH, model.predict(scale.transform(scored)), normalize="true")

    base = said(BALANCED.train, Y, BALANCED.test)
    indirect, total = said(RARE.train, Y, RARE.test), said(RARE.train[KEPT], Y[KEPT], RARE.test)
    np.testing.assert_allclose(found.effects["total"][0], total - base, atol=1e-12)
    np.testing.assert_allclose(found.effects["indirect"][0], indirect - base, atol=1e-12)
    np.testing.assert_allclose(found.effects["direct"][0], total - indirect, atol=1e-12)
    assert abs(total - indirect).max() > 0.1  # the head matters here
    np.testing.assert_allclose(found.accuracy[0], [base.trace() / 3, indirect.trace() / 3, total.trace() / 3])
    ratio = (1 - mean_cosines(RARE.test, TRUTH)) / (1 - mean_cosines(BALANCED.test, TRUTH))
    np.testing.assert_allclose(found.representation[0], ratio)
    assert (found.rare, found.kept, found.classes) == (2, 3, ["a", "b", "c"])


def test_the_same_encoder_twice_does_no_harm():
    found = harms(BALANCED, BALANCED, Y, TRUTH, KEPT, strength=0.1)
    np.testing.assert_allclose(found.representation, 1)
    assert not found.effects["indirect"].any()
    np.testing.assert_array_equal(found.effects["total"], found.effects["direct"])


def test_a_class_that_has_moved_onto_another_is_seen():
    rare = Encoded(*(np.where((y == 2)[:, None], CENTRES[0], CENTRES[y]) for y in (Y, TRUTH)))
    plain = Encoded(CENTRES[Y], CENTRES[TRUTH])
    found = harms(plain, rare, Y, TRUTH, KEPT, strength=1.0)
    assert found.representation[0, 2, 0] == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.representation[0, 0, 0])  # all rows of the class are equal
    # No head can tell classes 0 and 2 any more: with all labels it is a tie, with few the larger class wins.
    assert found.effects["total"][0, 2].tolist() == [1, 0, -1]


def test_in_a_graph_of_blocks_a_smaller_class_comes_closer():
    """The two leading eigenvectors of three groups, linked by 0.95 inside and 0.4 across, of 256, 256 and fewer."""
    cosines = []
    for size in (128, 32, 4):
        y = np.repeat([0, 1, 2], [256, 256, size])
        graph = np.where(y[:, None] == y[None, :], 0.95, 0.4)
        degree = graph.sum(axis=1)
        values, parts = np.linalg.eigh(graph / np.sqrt(np.outer(degree, degree)))
        vectors = parts[:, -2:] * np.sqrt(values[-2:]) / np.sqrt(degree)[:, None]
        cosines.append(mean_cosines(vectors, y)[2, 0])
    assert cosines[0] < cosines[1] < cosines[2]


def test_seeds_are_averaged_with_students_interval(tmp_path: Path):
    pairs = [harms(BALANCED, vectors(seed, 2.0), Y, TRUTH, KEPT, list("abc"), strength=0.1) for seed in (3, 4, 5)]
    found = pairs[0].joined(pairs[1:])
    assert found.seeds == 3
    values = np.array([one.effects["total"][0, 2, 1] for one in pairs])
    metric = found.of_rare()["total"][1]
    half = 4.302653 * values.std(ddof=1) / np.sqrt(3)  # t of two degrees of freedom
    np.testing.assert_allclose([metric.value, metric.high], [values.mean(), values.mean() + half], rtol=1e-6)
    text = str(found)
    assert "Rare class: c, 3 training rows left; seeds: 3" in text and metric.short() in text
    read = json.loads(found.save(tmp_path / "harms.json").read_text())
    assert read["rare"] == "c" and np.shape(read["effects"]["direct"]) == (3, 3, 3)
    assert not seeds_mean("x", [0.5]).has_interval


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="here 0 have fewer"):
        harms(BALANCED, RARE, Y, TRUTH, np.arange(120))
    with pytest.raises(DataError, match="here 2 have fewer"):
        harms(BALANCED, RARE, Y, TRUTH, np.arange(1, 119))
    with pytest.raises(DataError, match="'2' has no training rows, none that are kept"):
        harms(BALANCED, RARE, Y, TRUTH, np.flatnonzero(Y != 2))
    with pytest.raises(DataError, match="no seed"):
        seeds_mean("x", [])
