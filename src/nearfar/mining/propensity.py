"""Triplets against surface: positives that mean the same in other words, negatives that look alike and are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.errors import ConfigError, DataError

from .bands import _beyond, _without
from .exact import Exact
from .samplers import uniform
from .vectors import as_table

_ROWS = 256  # queries that are searched at a time


@dataclass(frozen=True)
class Propensity:
    """Triplets and what they look like.

    Attributes:
        rows: (M, 3) anchor, positive and negative.
        figures: `anchors`, `left_out` (without a positive or a negative), and means over the triplets of the teacher's
            `score` and of the `overlap` of words: of positives and negatives, and of what would be taken otherwise, the
            nearest row as positive and any row of the pool that may be a negative (`nearest_`, `any_`).
    """

    rows: np.ndarray
    figures: dict[str, float]


def propensity_weights(
    score: np.ndarray, surface: np.ndarray, high: float = 0.8, low: float = 0.5, eps: float = 0.05, most: float = 20.0
) -> tuple[np.ndarray, np.ndarray]:
    """How likely candidates are as positives and as negatives, up to a factor, from two scores of any shape.

    With s the teacher's score and r the likeness of surfaces: positive [s >= high] s / max(r, eps), negative
    [s <= low] (1 - s) / max(1 - r, eps), both at most `most`. So what a rule of surfaces would pick anyway counts less.

    >>> up, down = propensity_weights(np.array([0.9, 0.9, 0.2, 0.2]), np.array([0.9, 0.3, 0.9, 0.2]))
    >>> up.tolist(), down.round(3).tolist()
    ([1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 8.0, 1.0])
    """
    up = np.where(score >= high, np.minimum(score / np.maximum(surface, eps), most), 0.0)
    down = np.where(score <= low, np.minimum((1 - score) / np.maximum(1 - surface, eps), most), 0.0)
    return up, down


def propensity_triplets(
    space: np.ndarray,
    texts: Sequence[str],
    *,
    nearest: int = 50,
    others: int = 50,
    high: float = 0.8,
    low: float = 0.5,
    eps: float = 0.05,
    most: float = 20.0,
    queries: np.ndarray | None = None,
    seed: int = 0,
) -> Propensity:
    """A positive and a negative for each anchor, drawn by inverse propensity from a pool of near and of other rows.

    Args:
        space: (N, D) vectors of a teacher, whose cosines say what means the same; neighbours are found exactly.
        texts: N of them; the share of words that two have in common (of all that either has) is how alike they look.
        nearest, others: how many of the nearest rows, and of any further ones, are in the pool of an anchor.
        high, low, eps, most: see `propensity_weights`.
        queries: (Q,) rows that are anchors; all when None. seed: what is drawn depends on it and the anchor alone.

    Raises:
        ConfigError: the limits overlap, or the pool is larger than the rows. DataError: other numbers of texts.

    Source: Miao et al. 2023, DebCSE; reconstructed from its abstract, with limits of our own: unverified.
    """
    space = as_table(space)
    if not low < high or eps <= 0 or most <= 0:
        raise ConfigError(f"low = {low} must lie below high = {high}, and eps and most above 0")
    if nearest < 1 or others < 0 or nearest + others > len(space) - 1:
        raise ConfigError(f"a pool of {nearest} and {others} rows needs more than the {len(space)} there are")
    if len(texts) != len(space):
        raise DataError(f"there are {len(texts)} texts and {len(space)} vectors; give a vector for each text")
    anchors = np.arange(len(space)) if queries is None else np.asarray(queries, dtype=np.int64)
    words = [frozenset(text.lower().split()) for text in texts]
    miner, made = Exact(space, space), []
    for start in range(0, len(anchors), _ROWS):
        some = anchors[start : start + _ROWS]
        near = _without(miner.find(some, nearest + 1).index, some)
        more = [_beyond(row, near[place], len(space), others, seed) for place, row in enumerate(some.tolist())]
        pool = np.concatenate([near, np.stack(more)], axis=1)
        score = _cosines(space, some, pool)
        surface = np.array([[_overlap(words[a], words[c]) for c in row] for a, row in zip(some, pool, strict=True)])
        up, down = propensity_weights(score, surface, high, low, eps, most)
        fits = (up > 0).any(1) & (down > 0).any(1)
        which = [_drawn(weights, some, pool, seed) for weights in (up, down)]
        places = np.stack([*which, np.zeros_like(which[0])], 1)
        picked = [np.take_along_axis(values, places, 1) for values in (pool, score, surface)]
        allowed = (down > 0) / np.maximum((down > 0).sum(1, keepdims=True), 1)
        plain = np.stack([(score * allowed).sum(1), (surface * allowed).sum(1)], 1)
        made.append([part[fits] for part in (some[:, None], *picked, plain)])
    own, chosen, score, surface, plain = (np.concatenate(parts) for parts in zip(*made, strict=True))
    figures: dict[str, float] = {"anchors": len(anchors), "left_out": len(anchors) - len(own)}
    for name, values in (("score", score), ("overlap", surface)):
        kinds = zip(("positive", "negative", "nearest"), values.T, strict=True)
        figures |= {f"{kind}_{name}": float(of.mean()) for kind, of in kinds if len(of)}
    if len(own):
        figures |= {"any_score": float(plain[:, 0].mean()), "any_overlap": float(plain[:, 1].mean())}
    return Propensity(np.concatenate([own, chosen[:, :2]], axis=1), figures)


def _cosines(space: np.ndarray, rows: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """(B, K) of rows with the rows of their pools."""
    one, other = (np.asarray(space[where], dtype=np.float64) for where in (rows, pool))
    lengths = np.linalg.norm(one, axis=-1)[:, None] * np.linalg.norm(other, axis=-1)
    return np.einsum("bd,bkd->bk", one, other) / np.maximum(lengths, 1e-12)


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _drawn(weights: np.ndarray, rows: np.ndarray, pool: np.ndarray, seed: int) -> np.ndarray:
    """(B,) a place of each row, drawn in proportion to weights (B, K); any place where all are 0."""
    waits = -np.log1p(-uniform(seed, rows[:, None], pool))
    return np.argmin(np.where(weights > 0, waits / np.maximum(weights, 1e-300), np.inf), axis=1)
