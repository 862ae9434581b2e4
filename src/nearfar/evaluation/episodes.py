"""Few-shot episodes: rows of a few classes are told by a handful of labelled ones, with and without transport."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearfar.errors import ConfigError, DataError

from .bootstrap import Difference, bootstrap_mean, paired_difference
from .checks import Labels, Vectors, as_labels, as_vectors, unit
from .metric import Metric


@dataclass(frozen=True)
class Episodes:
    """What episodes came to.

    metrics: "accuracy" by class means, "transported" by class means that were moved onto the queries; intervals over
    episodes. scores: (E,) the share of right queries of each episode, by the same names. gain: transported less not,
    paired by episode.
    """

    metrics: dict[str, Metric]
    scores: dict[str, np.ndarray]
    gain: Difference


def episodes(
    vectors: Vectors,
    labels: Labels,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    count: int = 600,
    epsilon: float = 0.05,
    iterations: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> Episodes:
    """Accuracy on `count` drawn tasks: tell `queries` rows of each of `ways` classes by `shots` labelled rows of each.

    A query gets the class of the nearest mean of unit rows. "transported" moves these means first: optimal transport
    between means and queries says what share of its query mass each mean gets, and their mean takes its place (see
    `transported`). That sees all queries of a task at once (transductive), and takes for granted that classes are
    equally frequent among them, as they are here. Vectors (N, D), labels (N,), -1 unknown and left out.

    The interval is over tasks drawn from these rows; other rows and other classes are not in it.

    Raises DataError: too few classes that have shots + queries rows. ConfigError: a number out of range.

    >>> found = episodes(np.eye(5).repeat(20, axis=0), np.arange(100) // 20, count=10)
    >>> found.metrics["accuracy"].value, found.metrics["transported"].value
    (1.0, 1.0)
    """
    if ways < 2 or min(shots, queries, count, iterations) < 1 or epsilon <= 0:
        raise ConfigError(
            f"episodes need 2 or more ways and 1 or more shots, queries, tasks and iterations, got {ways}, {shots}, "
            f"{queries}, {count} and {iterations}, and an epsilon above 0, got {epsilon}"
        )
    x = as_vectors(vectors)
    y = as_labels(labels, len(x), unknown=True)
    classes, sizes = np.unique(y[y >= 0], return_counts=True)
    large = classes[sizes >= shots + queries]
    if len(large) < ways:
        raise DataError(
            f"{len(large)} classes have the {shots + queries} rows of {shots} shots and {queries} queries, and an "
            f"episode has {ways}; ask for fewer ways, shots or queries"
        )
    rows, generator = unit(x), np.random.default_rng(seed)
    members = {c: np.flatnonzero(y == c) for c in large.tolist()}
    truth = np.repeat(np.arange(ways), queries)
    scores = {"accuracy": np.empty(count), "transported": np.empty(count)}
    for task in range(count):
        drawn = [
            generator.choice(members[c], shots + queries, replace=False)
            for c in generator.choice(large, ways, replace=False).tolist()
        ]
        means = unit(np.stack([rows[of][:shots].mean(0) for of in drawn]))
        asked = np.concatenate([rows[of][shots:] for of in drawn])
        moved = transported(means, asked, epsilon, iterations)
        for name, centres in (("accuracy", means), ("transported", moved)):
            scores[name][task] = (_squared(centres, asked).argmin(0) == truth).mean()
    settings = {"ways": ways, "shots": shots, "queries": queries, "epsilon": epsilon, "iterations": iterations}
    title = f"{ways}-way {shots}-shot accuracy"
    names = {"accuracy": title, "transported": f"{title}, transported"}
    metrics = {key: bootstrap_mean(names[key], hits, settings, resamples, seed) for key, hits in scores.items()}
    return Episodes(metrics, scores, paired_difference(scores["transported"], scores["accuracy"], resamples, seed))


def transported(means: np.ndarray, queries: np.ndarray, epsilon: float = 0.05, iterations: int = 10) -> np.ndarray:
    """Class means (C, D) moved onto queries (Q, D) by entropic optimal transport (OpTA): (C, D).

    The cost is the squared distance, over the largest one; classes and queries have uniform mass, so that every class
    gets its even share of the queries. A moved mean is the mean of the queries, weighted by the plan.

    Source: Poulakakis-Daktylidis & Jamali-Rad 2024, BECLR: Batch Enhanced Contrastive Few-Shot Learning (optimal
    transport-based distribution alignment); stypoumic/BECLR utils/optimal_transport.py. That epsilon is 0.05 here too,
    and that means of shots are moved rather than single shots, is unverified.

    >>> transported(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.2, 0.0], [1.2, 0.0]])).round(2).tolist()
    [[0.2, 0.0], [1.2, 0.0]]
    """
    cost = _squared(means, queries)
    plan = np.exp(-cost / (epsilon * max(float(cost.max()), 1e-12)))
    for _ in range(iterations):
        plan /= plan.sum(1, keepdims=True) * len(means)
        plan /= plan.sum(0, keepdims=True) * len(queries)
    moved: np.ndarray = (plan / plan.sum(1, keepdims=True)) @ queries
    return moved


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) squared distances."""
    found: np.ndarray = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
    return found
