"""Triplets by rank: the bands by a plain search, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import ConfigError
from nearfar.mining import RankBand, rank_triplets


def ranks_of(space: np.ndarray, row: int) -> dict[int, int]:
    """The rank of every other row, by a plain sort of cosines."""
    unit = space / np.linalg.norm(space, axis=1, keepdims=True)
    others = [other for other in np.argsort(-(unit @ unit[row]), kind="stable").tolist() if other != row]
    return {other: rank for rank, other in enumerate(others)}


def test_all_stand_in_their_bands_and_the_easy_ones_beyond():
    space = np.random.default_rng(0).standard_normal((300, 8))
    found = rank_triplets(space, RankBand(5, 9, 4), [RankBand(40, 50, 2), RankBand(20, 21, 1)], easy=1)
    assert found.shape == (1200, 3) and found[:, 0].tolist() == np.repeat(np.arange(300), 4).tolist()
    for row in (0, 17, 299):
        ranks, own = ranks_of(space, row), found[found[:, 0] == row]
        assert sorted(ranks[one] for one in own[:, 1]) == [5, 6, 7, 8]
        far = sorted(ranks[one] for one in own[:, 2])
        assert far[0] == 20 and all(40 <= rank < 50 for rank in far[1:3]) and far[3] >= 50
        assert len({*own[:, 1], *own[:, 2]}) == 8
    assert len({tuple(sorted(ranks_of(space, row)[one] for one in found[found[:, 0] == row][:, 2]))
                for row in range(10)}) > 1  # fmt: skip


def test_what_is_drawn_depends_on_the_seed_and_the_anchor_alone():
    space = np.random.default_rng(1).standard_normal((120, 4))
    how = (RankBand(0, 10, 3), [RankBand(30, 60, 2)], 1)
    whole = rank_triplets(space, *how)
    some = rank_triplets(space, *how, queries=np.array([7, 3]))
    assert np.array_equal(some, np.concatenate([whole[whole[:, 0] == row] for row in (7, 3)]))
    assert not np.array_equal(whole, rank_triplets(space, *how, seed=1))


def test_an_equal_row_is_a_neighbour_and_the_row_itself_is_not():
    space = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    assert rank_triplets(space, RankBand(0, 1, 1), [RankBand(2, 3, 1)], easy=0).tolist()[:3] == [
        [0, 1, 3],
        [1, 0, 3],
        [2, 0, 3],
    ]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ((RankBand(0, 5, 2), [RankBand(4, 8, 2)], 0), "overlap"),
        ((RankBand(0, 5, 2), [RankBand(10, 14, 2)], 1), "do not make triplets"),
        ((RankBand(0, 5, 2), [RankBand(15, 20, 2)], 0), "need more than the 20 rows"),
        ((RankBand(0, 5, 2), [RankBand(15, 19, 1)], 1), "need more than the 20 rows"),
    ],
)
def test_bands_that_cannot_be_are_refused(how: tuple, message: str):
    with pytest.raises(ConfigError, match=message):
        rank_triplets(np.eye(20), *how)


def test_a_band_holds_what_it_is_asked_for():
    for wrong in ((5, 5, 1), (-1, 3, 1), (0, 3, 4), (0, 3, 0)):
        with pytest.raises(ConfigError, match="cannot give"):
            RankBand(*wrong)
