"""A store in better order: near duplicates, outliers and doubtful labels, clusters, labels from few, pairs to ask."""

from __future__ import annotations

from .copies import Duplicates, Group, duplicates

__all__ = ["Duplicates", "Group", "duplicates"]
