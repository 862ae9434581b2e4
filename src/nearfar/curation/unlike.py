"""Rows that are unlike the others, and labels that the neighbours of a row do not share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nearfar.errors import ConfigError
from nearfar.evaluation import nearest
from nearfar.store import Store

from .rows import Rows, labelled, read

Way = Literal["distance", "density", "class"]
WAYS = ("distance", "density", "class")
_SMALL = 1e-12


@dataclass(frozen=True)
class Outliers:
    """Rows with their scores, most unlike first."""

    ids: list[str]
    scores: np.ndarray


@dataclass(frozen=True)
class Doubts:
    """Rows whose label few neighbours share: the label, what the neighbours say, and their vote for each (0 to 1).

    Most doubtful first; only rows whose neighbours give another label more.
    """

    ids: list[str]
    labels: list[str]
    others: list[str]
    own_share: np.ndarray
    other_share: np.ndarray


def outliers(
    store: Store, way: Way = "distance", k: int = 10, label: str = "label", where: str | None = None
) -> Outliers:
    """How unlike the others every row is.

    - "distance": mean of 1 - cosine to the k nearest rows; from 0 to 2.
    - "density": local outlier factor on unit vectors: how much sparser it is around a row than around its k nearest;
      about 1 in line, above 1 out of line. Source: Breunig, Kriegel, Ng and Sander 2000, "LOF".
    - "class": Mahalanobis distance to the mean of the row's own label, by the covariance within all labels, shrunk
      (Ledoit and Wolf 2004). Rows without a label are left out.

    Raises:
        ConfigError: another way, k < 1, or no column of labels. DataError: too few rows, or no labels.
    """
    if way not in WAYS:
        raise ConfigError(f"outliers are found by {', '.join(WAYS)}, not {way!r}")
    rows = read(store, where, label, least=3)
    k = _neighbours(k, len(rows))
    if way == "class":
        known = labelled(store, rows, label, classes=1)
        ids, scores = [rows.ids[row] for row in known], by_class(rows.vectors[known], rows.labels[known])
    else:
        near = nearest(rows.vectors, rows.vectors, k, exclude=np.arange(len(rows)))
        ids = rows.ids
        scores = (1 - near.scores).mean(1) if way == "distance" else factor(near.scores, near.index)
    order = np.argsort(-scores, kind="stable")
    return Outliers([ids[row] for row in order], scores[order])


def factor(cosines: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(N,) local outlier factors from (N, k) cosines to the nearest rows, nearest first, and their numbers."""
    distance = np.sqrt(np.maximum(2 - 2 * cosines, 0.0))
    reach = np.maximum(distance, distance[index, -1])
    density = 1 / (reach.mean(1) + _SMALL)
    found: np.ndarray = density[index].mean(1) / density
    return found


def by_class(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) Mahalanobis distances to the mean of the own label, by the shrunk covariance within labels."""
    from sklearn.covariance import LedoitWolf

    numbers, own = np.unique(labels, return_inverse=True)
    means = np.stack([vectors[own == number].mean(0, dtype=np.float64) for number in range(len(numbers))])
    apart = vectors.astype(np.float64) - means[own]
    found: np.ndarray = np.sqrt(LedoitWolf(assume_centered=True).fit(apart).mahalanobis(apart))
    return found


def doubtful_labels(store: Store, k: int = 10, label: str = "label", where: str | None = None) -> Doubts:
    """Labelled rows whose k nearest labelled rows give another label more votes than theirs, each by its cosine.

    Raises:
        ConfigError: k < 1, or no such column. DataError: fewer than two kinds of labels.
    """
    rows = read(store, where, label, least=3)
    known = labelled(store, rows, label)
    votes = shares(Rows([rows.ids[row] for row in known], rows.vectors[known], rows.labels[known], rows.classes),
                   _neighbours(k, len(known)))  # fmt: skip
    own = rows.labels[known]
    own_share = votes[np.arange(len(known)), own]
    best = votes.argmax(1)
    gap = votes.max(1) - own_share
    doubtful = np.flatnonzero((best != own) & (gap > 0))
    order = doubtful[np.argsort(-gap[doubtful], kind="stable")]
    return Doubts(
        [rows.ids[row] for row in known[order]],
        [rows.classes[number] for number in own[order]],
        [rows.classes[number] for number in best[order]],
        own_share[order],
        votes.max(1)[order],
    )


def shares(rows: Rows, k: int) -> np.ndarray:
    """(N, C) share of each label among the k nearest other rows, weighted by cosines above zero."""
    near = nearest(rows.vectors, rows.vectors, k, exclude=np.arange(len(rows)))
    weights = np.maximum(near.scores, 0.0) + _SMALL
    votes = np.zeros((len(rows), len(rows.classes)))
    np.add.at(votes, (np.arange(len(rows))[:, None], rows.labels[near.index]), weights)
    found: np.ndarray = votes / weights.sum(1, keepdims=True)
    return found


def _neighbours(k: int, count: int) -> int:
    if k < 1:
        raise ConfigError(f"a row is compared with 1 near row or more, not {k}")
    return min(k, count - 1)
