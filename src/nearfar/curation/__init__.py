"""A store in better order: near duplicates, outliers and doubtful labels, clusters, labels from few."""

from __future__ import annotations

from .clusters import Cluster, Clusters, cluster
from .copies import Duplicates, Group, duplicates
from .shift import Shift, latent_shift
from .spreading import Found, spread_labels
from .unlike import Doubts, Outliers, doubtful_labels, outliers

__all__ = [
    "Cluster",
    "Clusters",
    "Doubts",
    "Duplicates",
    "Found",
    "Group",
    "Outliers",
    "Shift",
    "cluster",
    "doubtful_labels",
    "duplicates",
    "latent_shift",
    "outliers",
    "spread_labels",
]
