"""Triplets by inverse propensity: weights, frequencies, and what is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from nearfar.errors import ConfigError, DataError
from nearfar.mining import propensity_triplets, propensity_weights
from nearfar.mining.propensity import _drawn


def scene() -> tuple[np.ndarray, list[str]]:
    """60 meanings of four texts: two in one wording, two in another; each wording is shared by three meanings."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((60, 24))
    space, texts = [], []
    for row in range(240):
        meaning, other = row // 4, row % 4 // 2
        space.append(centres[meaning] + 0.15 * draw.standard_normal(24))
        wording = meaning // 3 + (100 if other else 0)
        texts.append(f"w{wording} v{wording} u{wording} own{row}")
    return np.array(space), texts


def test_weights_are_flat_where_surface_is_meaning_and_scores_where_it_says_nothing() -> None:
    score = np.linspace(0.8, 1.0, 5)
    assert propensity_weights(score, score)[0].tolist() == [1.0] * 5
    np.testing.assert_allclose(propensity_weights(score, np.full(5, 0.5))[0], score * 2)
    low = np.linspace(0.0, 0.5, 5)
    np.testing.assert_allclose(propensity_weights(low, np.full(5, 0.5))[1], (1 - low) * 2)
    assert propensity_weights(np.array([0.9]), np.array([0.0]), eps=0.01)[0].tolist() == [20.0]


def test_frequencies_are_those_of_the_weights() -> None:
    weights, rows = np.array([0.0, 1.0, 3.0, 0.5, 0.0, 5.5]), np.arange(4000)
    chosen = _drawn(np.tile(weights, (4000, 1)), rows, np.tile(np.arange(6), (4000, 1)), seed=3)
    counts = np.bincount(chosen, minlength=6)
    assert counts[[0, 4]].sum() == 0
    assert chisquare(counts[weights > 0], 400 * weights[weights > 0]).pvalue > 0.001


def test_positives_mean_the_same_in_other_words_and_negatives_look_alike() -> None:
    space, texts = scene()
    found = propensity_triplets(space, texts, nearest=5, others=200)
    figures = found.figures
    assert figures["left_out"] == 0 and found.rows[:, 0].tolist() == list(range(240))
    assert (found.rows[:, 1] // 4 == found.rows[:, 0] // 4).all()
    assert (found.rows[:, 2] // 4 != found.rows[:, 0] // 4).all()
    words = [set(text.split()) for text in texts]
    overlap = [len(words[a] & words[c]) / len(words[a] | words[c]) for a, c in found.rows[:, :2]]
    assert figures["positive_overlap"] == pytest.approx(np.mean(overlap))
    assert figures["positive_overlap"] < figures["nearest_overlap"] - 0.1
    assert figures["negative_overlap"] > 1.2 * figures["any_overlap"]
    some = propensity_triplets(space, texts, nearest=5, others=200, queries=np.array([7, 3]))
    assert some.rows.tolist() == found.rows[[7, 3]].tolist()
    assert propensity_triplets(space, texts, nearest=5, others=200, seed=1).rows.tolist() != found.rows.tolist()


def test_anchors_without_a_partner_are_left_out_and_impossible_pools_refused() -> None:
    space, texts = np.eye(12), [f"text {row}" for row in range(12)]
    found = propensity_triplets(space, texts, nearest=3, others=3)
    assert found.rows.shape == (0, 3) and found.figures == {"anchors": 12, "left_out": 12}
    with pytest.raises(ConfigError, match="needs more than the 12 there are"):
        propensity_triplets(space, texts)
    with pytest.raises(ConfigError, match="must lie below high"):
        propensity_triplets(space, texts, nearest=3, others=3, low=0.9)
    with pytest.raises(DataError, match="11 texts and 12 vectors"):
        propensity_triplets(space, texts[1:], nearest=3, others=3)
