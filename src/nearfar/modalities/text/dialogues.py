"""Pairs of utterances of a dialogue: an utterance is embedded as one that comes before or as one that comes after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearfar.errors import ConfigError, DataError

from .source import TextSource

BEFORE, AFTER, PARITY = "[BEFORE]", "[AFTER]", ("[E]", "[O]")


def before(text: str, distance: int) -> str:
    """An utterance as what comes `distance` turns before another.

    >>> before("How are you?", 1), before("How are you?", 2)
    ('[BEFORE] [O] How are you?', '[BEFORE] [E] How are you?')
    """
    return f"{BEFORE} {PARITY[distance % 2]} {text}"


def after(text: str) -> str:
    """An utterance as what comes after another.

    >>> after("Fine.")
    '[AFTER] Fine.'
    """
    return f"{AFTER} {text}"


def dialogue_pairs(dialogues: Sequence[Sequence[str]], window: int = 5, seed: int = 0) -> TextSource:
    """Pairs of utterances with how soon the second follows the first, to be learned by `pairs` with `CosineMSE`.

    - Two turns u and v of a dialogue, v by d = 1, ..., window - 1 turns later: before(u, d) and after(v) have the score
      (window - d) / window;
    - the same two the other way round, before(v, d) and after(u): 0;
    - u, and v by turns, beside an utterance of any other dialogue: 0.

    So cosines tell how soon one utterance can follow another, which is not how soon the other can follow it. The token
    of odd and even distances says whether the same speaker would say it. Empty utterances are left out.

    Args:
        dialogues: the utterances of each, in order.
        window: at least 2, where a score says only whether one follows next.
        seed: of the utterances of other dialogues.

    Raises:
        ConfigError: a window below 2. DataError: fewer than two dialogues of two utterances.

    Source: Erker et al. 2023, Imagination Is All You Need! Curved Contrastive Learning for Abstract Sequence Modeling
    Utilized on Long Short-Term Dialogue Planning, section 3.

    >>> talks = [["Hello.", "Hi, how are you?", "Fine."], ["Tea?", "Please."]]
    >>> made = dialogue_pairs(talks, window=3)
    >>> made.columns["anchor"][0], made.columns["positive"][0], round(float(made.targets[0]), 3)
    ('[BEFORE] [O] Hello.', '[AFTER] Hi, how are you?', 0.667)
    >>> len(made)
    12
    """
    if window < 2:
        raise ConfigError(f"a window holds two turns or more, not {window}")
    talks = [[text for text in talk if text.strip()] for talk in dialogues]
    talks = [talk for talk in talks if len(talk) > 1]
    if len(talks) < 2:
        raise DataError(
            "pairs of dialogues need two dialogues of two utterances each, so that one can be beside the other"
        )
    generator = np.random.default_rng(seed)
    anchors, partners, scores = list[str](), list[str](), list[float]()

    def add(anchor: str, partner: str, score: float) -> None:
        anchors.append(anchor)
        partners.append(partner)
        scores.append(score)

    for number, talk in enumerate(talks):
        for place, first in enumerate(talk):
            for distance, second in enumerate(talk[place + 1 : place + window], 1):
                other = talks[(number + 1 + int(generator.integers(len(talks) - 1))) % len(talks)]
                stranger = other[int(generator.integers(len(other)))]
                add(before(first, distance), after(second), (window - distance) / window)
                add(before(second, distance), after(first), 0.0)
                if generator.integers(2):
                    add(before(first, distance), after(stranger), 0.0)
                else:
                    add(before(stranger, distance), after(second), 0.0)
    return TextSource({"anchor": anchors, "positive": partners}, targets=np.array(scores), details={"task": "pairs"})
