"""Pairs that a search finds again, against a plain loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nearfar.errors import ConfigError
from nearfar.mining import Exact, Near, consistent


@pytest.mark.parametrize(("first", "block"), [(1, 1024), (2, 7), (40, 3), (200, 1024)])
def test_pairs_before_which_few_others_are_found_stay(first: int, block: int):
    rng = np.random.default_rng(0)
    queries, corpus = rng.normal(size=(30, 4)), rng.normal(size=(90, 4))
    pairs = {(int(q), int(d)) for q, d in zip(rng.integers(25, size=60), rng.integers(90, size=60), strict=True)}
    assert max(Counter(q for q, _ in pairs).values()) > 2
    kept = set()
    for q, d in pairs:
        scores = corpus @ queries[q] / np.linalg.norm(corpus, axis=1)
        others = [row for row in range(90) if (q, row) not in pairs]
        if sum(scores[row] > scores[d] for row in others) < first:
            kept.add((q, d))
    found = consistent(Near(list(pairs), 30, 90), Exact(queries, corpus), first, block)
    assert set(map(tuple, found.pairs.tolist())) == kept
    assert (kept == pairs) == (first == 200) and kept


def test_nothing_known_leaves_nothing_and_first_counts_from_one():
    miner = Exact(np.eye(2), np.eye(2))
    assert len(consistent(Near([], 2, 2), miner).pairs) == 0
    with pytest.raises(ConfigError, match="first = 0"):
        consistent(Near([(0, 0)], 2, 2), miner, first=0)
