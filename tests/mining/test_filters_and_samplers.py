"""What filters keep, by their formulas written out; how often samplers draw, by their probabilities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chisquare

from nearfar.errors import ConfigError, DataError
from nearfar.mining import (
    Bins,
    Ceiling,
    Exact,
    Gumbel,
    Margin,
    Mixture,
    Near,
    PairScorer,
    Percentage,
    Positives,
    Random,
    Ranks,
    SameId,
    SameText,
    SimANS,
    Top,
    text_keys,
)
from nearfar.mining.filters import Block
from nearfar.mining.samplers import draw, uniform


def block(scores: list[float], near: list[float], rows: int = 1, index: list[int] | None = None) -> Block:
    """Candidates 10, 11, ... of some queries, all alike; positives are documents 0, 1, ..."""
    columns = np.tile(np.array(index or range(10, 10 + len(scores))), (rows, 1))
    known = len(near)
    return Block(
        rows=np.arange(rows),
        index=columns,
        scores=np.tile(np.array(scores, dtype=np.float64), (rows, 1)),
        ranks={},
        alive=columns >= 0,
        positives=np.tile(np.arange(known) if known else np.array([-1]), (rows, 1)),
        positive_scores=np.tile(np.array(near or [np.nan]), (rows, 1)),
    )


SCORES = [0.9, 0.8, 0.76, 0.74, 0.5, -0.2]


@pytest.mark.parametrize(
    ("chosen", "near", "kept"),
    [
        (Margin(0.0), [0.8], [0.8, 0.76, 0.74, 0.5, -0.2]),
        (Margin(0.05), [0.8], [0.74, 0.5, -0.2]),
        (Margin(0.05), [0.95, 0.8], [0.74, 0.5, -0.2]),  # the least of several counts
        (Percentage(1.0), [0.8], [0.8, 0.76, 0.74, 0.5, -0.2]),
        (Percentage(0.95), [0.8], [0.76, 0.74, 0.5, -0.2]),
        (Percentage(0.5), [0.8], [-0.2]),
        (Percentage(0.95), [-0.1], [-0.2]),  # below zero: a margin of 0.05
        (Percentage(0.95), [], SCORES),
        (Margin(), [], SCORES),
        (Ceiling(0.76), [0.8], [0.74, 0.5, -0.2]),
        (Ranks(3), [0.8], [0.76, 0.74, 0.5, -0.2]),
        (Ranks(2, 3), [0.8], [0.8, 0.76]),
    ],
)
def test_what_is_kept(chosen, near: list[float], kept: list[float]):  # type: ignore[no-untyped-def]
    there = block(SCORES, near)
    assert there.scores[chosen.keep(there)].tolist() == kept


def test_ranks_count_what_is_left():
    there = block(SCORES, [])
    there.alive[0, 0] = False
    assert there.scores[Ranks(2, 2).keep(there)].tolist() == [0.76]


def test_a_smaller_share_keeps_a_subset():
    kept = [set(np.flatnonzero(Percentage(share).keep(block(SCORES, [0.85])))) for share in (1.0, 0.95, 0.9, 0.6)]
    assert all(later <= earlier for earlier, later in pairwise(kept))


def test_known_positives_ids_and_texts():
    there = block(SCORES, [0.8, 0.7], index=[1, 10, 11, 12, 0, -1])
    assert Positives().keep(there)[0].tolist() == [False, True, True, True, False, True]
    ids = [f"d{row}" for row in range(13)]
    assert SameId(["d11"], ids).keep(there)[0, :5].tolist() == [False, True, False, True, False]
    texts = [f"text {row}" for row in range(13)]
    texts[10], texts[12] = "A  query!", "text 1."
    keys = text_keys(["a query", *texts])
    filtered = SameText(keys[:1], keys[1:])
    # 1 and 0 are positives, 10 has the text of the query, 12 that of a positive
    assert filtered.keep(there)[0, :5].tolist() == [False, False, True, False, False]
    texts[12] = "text 11"
    filtered = SameText(keys[:1], text_keys(texts))
    assert filtered.keep(there)[0, :5].tolist() == [False, False, True, False, False]  # 12 repeats 11


def test_text_keys_tell_signs_apart():
    assert len(set(text_keys(["?!", "...", "", "a"]).tolist())) == 4


def test_a_guide_scores_instead_of_the_miner():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    there = block([0.9, 0.8], [0.1], index=[1, 2])
    assert Margin(0.0).keep(there).tolist() == [[False, False]]
    assert Margin(0.0, guide=Exact(vectors[:1], vectors)).keep(there).tolist() == [[True, True]]
    seen: list[int] = []

    def length(pairs: list[tuple[str, str]]) -> list[float]:
        seen.append(len(pairs))
        return [float(len(document)) for _, document in pairs]

    scorer = PairScorer(length, ["q"], ["xx", "x", "xxx"], batch_size=2)
    assert Margin(0.0, guide=scorer).keep(there).tolist() == [[True, False]]
    assert max(seen) == 2
    with pytest.raises(DataError, match="gave 1 scores for 2 pairs"):
        PairScorer(lambda pairs: [0.0], ["q"], ["a", "b"]).score(np.array([0]), np.array([[0, 1]]))


def test_pairs_of_unknown_rows_are_named():
    with pytest.raises(DataError, match="pair 1 is query 0 and document 9"):
        Near([(0, 1), (0, 9)], queries=1, documents=5)
    near = Near([(1, 4), (1, 2), (1, 4)], queries=3, documents=5)
    assert near.of(np.arange(3)).tolist() == [[-1, -1], [2, 4], [-1, -1]]
    assert near.has(np.array([1, 1, 0]), np.array([4, 3, 2])).tolist() == [True, False, False]


# Samplers -----------------------------------------------------------


def frequencies(sampler, near: list[float], scores: list[float] = SCORES) -> np.ndarray:  # type: ignore[no-untyped-def]
    """How often each candidate is drawn first, over 20,000 queries."""
    there = block(scores, near, rows=20_000)
    return np.bincount(draw(sampler, there, 1, seed=3)[:, 0], minlength=len(scores))


@pytest.mark.parametrize(
    ("sampler", "near", "weights"),
    [
        (Random(), [0.8], [1.0] * 6),
        (Random(within=2), [0.8], [1.0, 1.0, 0, 0, 0, 0]),
        (Gumbel(0.5), [0.8], np.exp(np.array(SCORES) / 0.5)),
        (SimANS(20.0, 0.05), [0.8], np.exp(-20 * (np.array(SCORES) - 0.8 + 0.05) ** 2)),
        (SimANS(0.0), [0.8], [1.0] * 6),
        (SimANS(20.0), [], [1.0] * 6),
        # bins of width 0.11 from -0.2: one alone, one alone, {0.76, 0.74, 0.8} and {0.9}
        (Bins(4), [0.8], [1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1]),
    ],
)
def test_draws_follow_the_weights(sampler, near: list[float], weights):  # type: ignore[no-untyped-def]
    drawn, expected = frequencies(sampler, near), np.asarray(weights) / np.sum(weights) * 20_000
    possible = expected > 0
    assert drawn[~possible].sum() == 0
    assert chisquare(drawn[possible], expected[possible]).pvalue > 1e-3


def test_one_of_several_positives_is_drawn_for_simans():
    """Two positives, sharp weights: half of the queries draw near the one, half near the other."""
    drawn = frequencies(SimANS(1e6, 0.0), [0.9, 0.5])
    assert chisquare(drawn[[0, 4]]).pvalue > 1e-3 and drawn.sum() == drawn[[0, 4]].sum()


@pytest.mark.parametrize("shares", [None, {"a": 3.0, "b": 1.0}])
def test_a_mixture_draws_a_miner_then_a_candidate(shares: dict[str, float] | None):
    """a found 0, 1, 2, 3, b found 3, 4; the first is not alive."""
    there = block(SCORES[:5], [0.8], rows=20_000)
    there.ranks = {"a": np.tile([1, 2, 3, 4, 0], (20_000, 1)), "b": np.tile([0, 0, 0, 1, 2], (20_000, 1))}
    there.alive[:, 0] = False
    drawn = np.bincount(draw(Mixture(shares), there, 1, seed=1)[:, 0], minlength=5)
    a = 0.5 if shares is None else 0.75
    expected = np.array([a / 3, a / 3, a / 3 + (1 - a) / 2, (1 - a) / 2]) * 20_000
    assert drawn[0] == 0 and chisquare(drawn[1:], expected).pvalue > 1e-3
    assert draw(Mixture({"b": 1.0}), there, 3, seed=0).tolist()[0] == [3, 4, -1]
    with pytest.raises(ConfigError, match="no miner is called 'c'"):
        draw(Mixture({"c": 1.0}), there, 1, seed=0)


def test_simans_does_not_see_a_shift_of_all_scores():
    there, moved = block(SCORES, [0.8], rows=50), block([s + 7 for s in SCORES], [7.8], rows=50)
    assert (draw(SimANS(), there, 3, 0) == draw(SimANS(), moved, 3, 0)).all()


def test_draws_are_different_documents_hardest_first():
    there = block(SCORES, [0.8], rows=500)
    there.alive[:, 1] = False
    columns = draw(Gumbel(), there, 4, seed=0)
    assert (np.diff(columns, axis=1) > 0).all() and (columns != 1).all()
    assert draw(Top(), there, 2, seed=0)[0].tolist() == [0, 2]
    assert draw(Random(), there, 8, seed=0)[0].tolist() == [0, 2, 3, 4, 5, -1, -1, -1]


def test_random_numbers_are_uniform_and_belong_to_their_pair():
    numbers = uniform(5, np.arange(300)[:, None], np.arange(300))
    assert chisquare(np.histogram(numbers, bins=50, range=(0, 1))[0]).pvalue > 1e-3
    assert abs(np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1]) < 0.2
    assert len(np.unique(numbers)) == numbers.size
    assert (uniform(6, np.arange(300), np.arange(300)) != np.diag(numbers)).all()


def test_impossible_settings_are_refused():
    for wrong in (
        lambda: Ranks(0),
        lambda: Ranks(5, 4),
        lambda: Percentage(1.2),
        lambda: Random(0),
        lambda: Gumbel(0),
        lambda: SimANS(-1),
        lambda: Bins(0),
        lambda: Mixture({}),
    ):
        with pytest.raises(ConfigError):
            wrong()
