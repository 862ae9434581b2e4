"""Pairs of dialogues: scores by distance, the other way round, and beside strangers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.text.dialogues import dialogue_pairs
from nearfar.run import fit

TALKS = [[f"{talk}{turn}" for turn in range(7)] for talk in "abcdef"]


def test_scores_fall_with_the_distance_and_are_0_backwards_and_beside_strangers():
    made = dialogue_pairs(TALKS, window=5, seed=3)
    found = Counter()
    for anchor, partner, score in zip(made.columns["anchor"], made.columns["positive"], made.targets, strict=True):
        (mark, parity, first), (other, second) = anchor.split(), partner.split()
        assert (mark, other) == ("[BEFORE]", "[AFTER]")
        if first[0] != second[0]:
            assert score == 0
            found["stranger"] += 1
            continue
        distance = int(second[1:]) - int(first[1:])
        assert 1 <= abs(distance) < 5 and parity == ("[O]" if distance % 2 else "[E]")
        assert score == pytest.approx({1: 0.8, 2: 0.6, 3: 0.4, 4: 0.2}.get(distance, 0.0))
        found["forward" if distance > 0 else "backward"] += 1
    each = sum(6 - turn if turn > 2 else 4 for turn in range(7)) * len(
        TALKS
    )  # at most four turns follow within a window
    assert found == {"forward": each, "backward": each, "stranger": each}


def test_the_next_turn_alone_and_the_same_for_a_seed():
    made, again, other = (dialogue_pairs(TALKS, window=2, seed=seed) for seed in (0, 0, 1))
    assert set(made.targets.tolist()) == {0.0, 0.5}
    assert made.columns == again.columns and made.columns != other.columns


def test_order_is_learned(tmp_path: Path):
    words = [[f"{kind} {talk}" for kind in ("greet", "ask", "answer", "thank")] for talk in range(24)]
    made = dialogue_pairs(words, window=3)
    run = fit(made, tmp_path / "run", method="pairs", encoder="ngrams-64", objective="CosineMSE", steps=60,
              batch_size=64, lr=1e-2, recipe="none", progress=False)  # fmt: skip
    held = dialogue_pairs(
        [[f"{kind} new{talk}" for kind in ("greet", "ask", "answer", "thank")] for talk in range(9)], 3
    )
    from nearfar.modalities.text.source import TextSource

    a, b = (run.embed(TextSource({"text": list(held.columns[name])})).vectors for name in ("anchor", "positive"))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    forward, backward = cosines[0::3], cosines[1::3]
    assert (forward > backward).mean() > 0.9


@pytest.mark.parametrize(("talks", "window", "error"), [(TALKS, 1, ConfigError), (TALKS[:1], 5, DataError),
                                                        ([["a", " "], ["b", "c"]], 5, DataError)])  # fmt: skip
def test_what_makes_no_pairs_is_refused(talks: list, window: int, error: type[Exception]):
    with pytest.raises(error):
        dialogue_pairs(talks, window)
