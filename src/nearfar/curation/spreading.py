"""Labels from few: those that are known spread over a graph of near rows, and what is not sure stays without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import nearest
from nearfar.store import Store

from .rows import labelled, read

_ROUNDS, _SETTLED = 1000, 1e-6
_FOLDS = 5


@dataclass(frozen=True)
class Found:
    """Labels that were found.

    Attributes:
        ids: (N,) all rows.
        labels: (N,) the found label, that of the data where it was known, None below the rule.
        confidence: (N,) share of the best label in what reached a row, 0 where nothing did.
        known: (N,) whether the label was there before.
        rule: confidence from which a label is given.
        right: share of hidden labels that were found again right, among those at or above the rule; None when the rule
            was given and nothing hidden.
        covered: share of hidden labels at or above the rule.
    """

    ids: list[str]
    labels: list[str | None]
    confidence: np.ndarray
    known: np.ndarray
    rule: float
    right: float | None
    covered: float | None


def spread_labels(
    store: Store,
    label: str = "label",
    k: int = 10,
    share: float = 0.99,
    promise: float = 0.95,
    rule: float | None = None,
    where: str | None = None,
    seed: int = 0,
) -> Found:
    """Spread the labels of a column to the rows that have none.

    The confidence from which a label is given is `rule`, or the lowest at which, of known labels that were hidden in
    five turns and found again, a share of at least `promise` is right.

    Args:
        label: column of labels, empty where unknown.
        k: near rows that each row is connected with.
        share: of what a row takes from its neighbours against its own label, between 0 and 1.
        promise: share of found labels that are right, to choose the rule by.

    Raises:
        ConfigError: a number out of range, or no such column. DataError: fewer than two kinds of labels, or too few
        labels to choose a rule by.
    """
    for name, value in (("share", share), ("promise", promise), *([] if rule is None else [("rule", rule)])):
        if not 0 < value <= 1 or (name == "share" and value == 1):
            raise ConfigError(f"{name} is between 0 and 1, not {value:g}")
    if k < 1:
        raise ConfigError(f"each row is connected with 1 row or more, not {k}")
    rows = read(store, where, label)
    known = labelled(store, rows, label)
    graph = near_graph(rows.vectors, k)
    right = covered = None
    if rule is None:
        rule, right, covered = _rule(graph, rows.labels, len(rows.classes), known, share, promise, seed)
    mass = spread(graph, rows.labels, len(rows.classes), share)
    best, confidence = judged(mass)
    given = (rows.labels >= 0) | (confidence >= rule)
    best = np.where(rows.labels >= 0, rows.labels, best)
    confidence = np.where(rows.labels >= 0, 1.0, confidence)
    labels = [rows.classes[number] if good else None for number, good in zip(best.tolist(), given, strict=True)]
    return Found(rows.ids, labels, confidence, rows.labels >= 0, rule, right, covered)


def near_graph(vectors: np.ndarray, k: int) -> Any:
    """Sparse (N, N): rows are connected when one is among the k nearest of the other, by their cosine above zero.

    >>> near_graph(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], np.float32), 1).toarray().round(2).tolist()
    [[0.0, 0.8, 0.0], [0.8, 0.0, 0.6], [0.0, 0.6, 0.0]]
    """
    from scipy.sparse import csr_matrix

    count = len(vectors)
    k = min(k, count - 1)
    found = nearest(vectors, vectors, k, exclude=np.arange(count))
    rows = np.repeat(np.arange(count), k)
    weights = np.maximum(found.scores, 0.0).reshape(-1)
    graph = csr_matrix((weights, (rows, found.index.reshape(-1))), shape=(count, count))
    return graph.maximum(graph.T).tocsr()


def spread(graph: Any, labels: np.ndarray, classes: int, share: float) -> np.ndarray:
    """(N, C) how much of each label reaches each row: (1 - share) (1 - share S)^-1 Y, S = D^-1/2 W D^-1/2.

    Every label weighs the same, however many rows have it. labels: (N,), -1 unknown.

    Source: Zhou, Bousquet, Lal, Weston and Schölkopf 2003, "Learning with local and global consistency".

    >>> chain = near_graph(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], np.float32), 1)
    >>> spread(chain, np.array([0, -1, 1]), 2, 0.5)[1].round(3).tolist()
    [0.252, 0.218]
    """
    from scipy.sparse import diags

    degree = np.asarray(graph.sum(1)).ravel()
    scale = diags(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
    smooth = scale @ graph @ scale
    start = np.zeros((len(labels), classes))
    known = np.flatnonzero(labels >= 0)
    start[known, labels[known]] = 1
    start /= np.maximum(start.sum(0), 1)
    mass = start
    for _ in range(_ROUNDS):
        new = share * (smooth @ mass) + (1 - share) * start
        moved = np.abs(new - mass).max()
        mass = new
        if moved <= _SETTLED * start.max():
            break
    return mass


def judged(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label with the largest share of what reached a row, and that share; 0 where nothing did."""
    total = mass.sum(1)
    best = mass.argmax(1)
    confidence = mass[np.arange(len(mass)), best] / np.where(total > 0, total, 1.0)
    return best, confidence


def _rule(
    graph: Any, labels: np.ndarray, classes: int, known: np.ndarray, share: float, promise: float, seed: int
) -> tuple[float, float, float]:
    """The lowest confidence that keeps the promise on hidden labels, the share right, and the share above it."""
    if len(known) < 2 * _FOLDS:
        raise DataError(
            f"there are {len(known)} labels, too few to see how often found ones are right; "
            f"give the confidence with --rule, or at least {2 * _FOLDS} labels"
        )
    fold = np.random.default_rng(seed).permutation(len(known)) % _FOLDS
    best, confidence = np.empty(len(known), np.int64), np.empty(len(known))
    for turn in range(_FOLDS):
        hidden = labels.copy()
        hidden[known[fold == turn]] = -1
        found, sure = judged(spread(graph, hidden, classes, share)[known[fold == turn]])
        best[fold == turn], confidence[fold == turn] = found, sure
    return lowest_rule(best == labels[known], confidence, promise)


def lowest_rule(right: np.ndarray, confidence: np.ndarray, promise: float) -> tuple[float, float, float]:
    """The lowest confidence from which a share of at least `promise` is right, that share, and the share above.

    1, with nothing above it, where there is none. Rows of one confidence stand or fall together.

    >>> lowest_rule(np.array([True, True, False, True]), np.array([0.9, 0.8, 0.7, 0.6]), 0.7)
    (0.6, 0.75, 1.0)
    """
    order = np.argsort(-confidence, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    last = np.append(confidence[order][1:] != confidence[order][:-1], True)
    good = np.flatnonzero(last & (shares >= promise))
    if not len(good):
        return 1.0, 1.0, 0.0
    place = int(good[-1])
    return float(confidence[order][place]), float(shares[place]), (place + 1) / len(right)
