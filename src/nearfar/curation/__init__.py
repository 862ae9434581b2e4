"""A store in better order: near duplicates, outliers and doubtful labels, clusters, labels from few."""

from __future__ import annotations

from .clusters import Cluster, Clusters, cluster
from .copies import Duplicates, Group, duplicates
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
    "cluster",
    "doubtful_labels",
    "duplicates",
    "outliers",
    "spread_labels",
]
