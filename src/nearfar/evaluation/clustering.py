"""Do groups found without labels agree with the classes? k-means on unit vectors, beside the labels and by itself.

Every figure is a mean over several runs of k-means, each from its own seed. With K clusters against C classes:

- accuracy    rows right under the one-to-one matching of clusters to classes that makes most rows right (Hungarian
              method); rows of a cluster left without a class (K > C) are wrong
- purity      rows of the most frequent class of their own cluster (of a tie the lower class); it cannot fall when K
              grows, so compare it at equal K
- NMI         mutual information / mean of the two entropies
- AMI         NMI corrected for chance: 0 for random groups, whatever K
- ARI         pairs of rows on which both agree, corrected for chance (adjusted Rand index)
- silhouette  mean of (b - a) / max(a, b), a = mean distance within the cluster, b = to the nearest other; no labels

Accuracy and purity are means over rows: their intervals cover seeds and rows, with the matching held fixed. The rest
are statistics of all pairs, for which resampling rows is biased (see `geometry`): their intervals cover seeds alone.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from nearfar.errors import ConfigError, DataError

from .bootstrap import bootstrap_mean, interval, resample_draws
from .checks import Labels, Vectors, as_labels, as_vectors, unit
from .logistic import one_thread
from .metric import Metric

SILHOUETTE_ROWS = 2000  # distances of all pairs of rows: more are sampled, by seed


@dataclass(frozen=True)
class Clustering:
    """What `clustering` found.

    metrics: "accuracy", "purity", "nmi", "ami", "ari", "silhouette" -> Metric. assignments: (seeds, N) cluster of each
    row. correct: (seeds, N) booleans behind the accuracy, for `paired_difference`.
    """

    metrics: dict[str, Metric]
    assignments: np.ndarray
    correct: np.ndarray


def clustering(
    vectors: Vectors,
    labels: Labels,
    clusters: int | None = None,
    seeds: int = 5,
    resamples: int = 1000,
    seed: int = 0,
) -> Clustering:
    """Group unit vectors by k-means (`seeds` runs, k-means++ starts) and compare the groups with the labels.

    vectors (N, D), labels (N,). clusters: K, the number of classes when None.

    Raises DataError: fewer than two classes, or more clusters than rows; ConfigError: fewer than two clusters.

    >>> x = np.eye(3).repeat(4, axis=0)
    >>> found = clustering(x, np.arange(12) // 4)
    >>> found.metrics["accuracy"].value, round(found.metrics["ari"].value, 6)
    (1.0, 1.0)
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

    x = unit(as_vectors(vectors)).astype(np.float32)
    y = as_labels(labels, len(x))
    classes, y = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"all labels are {classes[0]}; clustering is compared with two classes or more")
    k = len(classes) if clusters is None else clusters
    if k < 2 or seeds < 1:
        raise ConfigError(f"clusters must be at least 2 and seeds at least 1, got {k} and {seeds}")
    if k > len(x):
        raise DataError(f"{k} clusters asked of {len(x)} rows; choose clusters={len(x)} or less")
    assignments = np.stack([_kmeans(x, k, seed + number) for number in range(seeds)])
    settings = {"clusters": k, "classes": len(classes), "seeds": seeds}
    correct = np.stack([matched(y, found) == y for found in assignments])
    pure = np.stack([majority(y, found) == y for found in assignments])
    metrics = {
        "accuracy": bootstrap_mean("clustering accuracy", correct, settings, resamples, seed),
        "purity": bootstrap_mean("purity", pure, settings, resamples, seed),
    }
    agreements = {
        "nmi": normalized_mutual_info_score,
        "ami": adjusted_mutual_info_score,
        "ari": adjusted_rand_score,
    }
    for key, score in agreements.items():
        values = np.array([score(y, found) for found in assignments])
        metrics[key] = _over_seeds(key.upper(), values, len(x), settings, resamples, seed)
    values, rows = _silhouettes(x, assignments, seed)
    metrics["silhouette"] = _over_seeds("silhouette", values, rows, settings, resamples, seed)
    return Clustering(metrics, assignments, correct)


def matched(y: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(N,) the class that the best one-to-one matching gives each row's cluster, -1 where it gets none.

    >>> matched(np.array([0, 0, 1, 1, 1]), np.array([5, 5, 3, 3, 4])).tolist()
    [0, 0, 1, 1, -1]
    """
    from scipy.optimize import linear_sum_assignment

    counts, of_row = _counts(y, clusters)
    taken, given = linear_sum_assignment(-counts)
    named = np.full(len(counts), -1)
    named[taken] = given
    return named[of_row]


def majority(y: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(N,) the most frequent class of each row's cluster; of a tie the lower one.

    >>> majority(np.array([0, 1, 1, 0, 2]), np.array([7, 7, 7, 2, 2])).tolist()
    [1, 1, 1, 0, 0]
    """
    counts, of_row = _counts(y, clusters)
    return counts.argmax(axis=1)[of_row]


def _counts(y: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (K, C) of the clusters that hold a row, and the number of each row's cluster among them."""
    present, of_row = np.unique(clusters, return_inverse=True)
    counts = np.zeros((len(present), int(y.max()) + 1), dtype=np.int64)
    np.add.at(counts, (of_row, y), 1)
    return counts, of_row


def _kmeans(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), one_thread(True):
        # Fewer distinct rows than clusters leaves some empty, which the figures show.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(KMeans(k, n_init=1, random_state=seed).fit_predict(x))


def _silhouettes(x: np.ndarray, assignments: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
    """(seeds,) mean silhouettes, NaN where it is not defined, and of how many rows."""
    from sklearn.metrics import silhouette_score

    rows = np.arange(len(x))
    if len(x) > SILHOUETTE_ROWS:
        rows = np.sort(np.random.default_rng([seed, 3]).choice(len(x), SILHOUETTE_ROWS, replace=False))
    values = []
    for found in assignments[:, rows]:
        defined = 2 <= len(np.unique(found)) < len(rows)
        values.append(float(silhouette_score(x[rows], found)) if defined else np.nan)
    return np.array(values), len(rows)


def _over_seeds(name: str, values: np.ndarray, n: int, settings: dict[str, int], resamples: int, seed: int) -> Metric:
    """Mean over seeds, with the interval of resampled seeds; of one seed there is none."""
    if len(values) == 1 or not np.isfinite(values).all():
        return Metric(name, float(values.mean()), n, settings=dict(settings))
    low, high = interval(resample_draws(len(values), resamples, seed) @ values)
    return Metric(name, float(values.mean()), n, float(low), float(high), dict(settings))
