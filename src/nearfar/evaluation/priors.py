"""What vectors keep of the usual wishes for a representation: smooth, sparse, disentangled, in clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nearfar.errors import DataError

from .bootstrap import bootstrap_mean
from .checks import Labels, Vectors, as_labels, as_vectors
from .clustering import clustering
from .diagnostics import anisotropy, hubness
from .geometry import geometry
from .metric import Metric
from .neighbours import nearest
from .structure import class_consistency, feature_correlation, sparsity


@dataclass(frozen=True)
class Priors:
    """What `priors` found: metrics by the wish they are of, and a verdict on the cloud as a whole."""

    metrics: dict[str, list[Metric]]
    verdict: str

    def __str__(self) -> str:
        lines = [f"{wish}\n" + "\n".join(f"  {metric}" for metric in found) for wish, found in self.metrics.items()]
        return "\n".join([*lines, self.verdict])


def priors(vectors: Vectors, labels: Labels | None = None, k: int = 10, resamples: int = 1000, seed: int = 0) -> Priors:
    """Figures of a cloud of vectors (N, D) for the wishes of Bengio et al. 2013 that vectors alone can show.

    - spread: effective rank, uniformity and the others of `geometry`, mean cosine of two rows, hubness.
    - sparsity: share of numbers that are 0, or nearly.
    - disentanglement: mean |correlation| of two features; with labels the class consistency of features.
    - smoothness, with labels: share of the k nearest rows that are of the row's own class.
    - clusters, with labels: how k-means agrees with the classes.

    labels (N,), -1 = unknown: such rows count for spread, sparsity and correlation alone. k: neighbours, cut to N - 1.

    Raises:
        DataError: fewer than two rows.

    Source: Bengio, Courville & Vincent 2013, Representation Learning: A Review and New Perspectives, section 3; which
    figure stands for which wish is our choice.

    >>> found = priors(np.eye(3).repeat(4, axis=0), np.arange(12) // 4, k=3)
    >>> [f"{metric.name} {metric.value:.2f}" for metric in found.metrics["smoothness"]]
    ['neighbours of the same class 1.00']
    """
    x = as_vectors(vectors)
    n = len(x)
    if n < 2:
        raise DataError("one row has no neighbour and no spread: give at least two")
    k = min(k, n - 1)
    cloud = geometry(x, labels)
    found = {
        "spread": [
            *cloud.metrics.values(),
            Metric("mean cosine of two rows", anisotropy(x), n),
            Metric("hubness", hubness(x, k), n, settings={"k": k}),
        ],
        "sparsity": [Metric("share of zeros", sparsity(x), n)],
        "disentanglement": [Metric("mean correlation of two features", feature_correlation(x), n)],
    }
    if labels is not None:
        y = as_labels(labels, n, unknown=True)
        known = x[y >= 0], y[y >= 0]
        if len(np.unique(known[1])) > 1:
            found["disentanglement"].append(Metric("class consistency", class_consistency(*known), len(known[1])))
            found |= dict(_of_classes(*known, k, resamples, seed))
    return Priors(found, cloud.verdict)


def _of_classes(x: np.ndarray, y: np.ndarray, k: int, resamples: int, seed: int) -> Iterator[tuple[str, list[Metric]]]:
    k = min(k, len(x) - 1)
    near = y[nearest(x, x, k, exclude=np.arange(len(x))).index] == y[:, None]
    yield "smoothness", [bootstrap_mean("neighbours of the same class", near.mean(1), {"k": k}, resamples, seed)]
    groups = clustering(x, y, resamples=resamples, seed=seed).metrics
    yield "clusters", [groups[name] for name in ("accuracy", "nmi", "silhouette")]
