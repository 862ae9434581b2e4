"""Figures with the scores of each item behind them, so that two systems can be compared item by item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.errors import DataError

from .bootstrap import Difference, bootstrap_means, paired_difference
from .metric import Metric


@dataclass(frozen=True)
class Quality:
    """Metrics by key, and of what items.

    metrics: key -> Metric. scores: key -> (kept,) score of each item; its mean is the metric. kept: (kept,) numbers of
    the items that were scored. notes: what was left out or is not defined.
    """

    metrics: dict[str, Metric]
    scores: dict[str, np.ndarray]
    kept: np.ndarray
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.metrics.values()), *(f"Note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain dict for JSON, without the scores of items."""
        return {"metrics": {key: metric.to_json() for key, metric in self.metrics.items()}, "notes": list(self.notes)}


def of_means(
    scores: Mapping[str, np.ndarray],
    kept: np.ndarray,
    settings: dict[str, Any],
    notes: list[str],
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Quality whose metrics are the means of scores, with intervals over the same resamples of the items."""
    return Quality(bootstrap_means(scores, settings, resamples, seed), dict(scores), kept, notes)


def compare_quality(a: Quality, b: Quality, resamples: int = 1000, seed: int = 0) -> dict[str, Difference]:
    """Paired difference a - b of every metric that both hold, over the same items.

    Raises DataError when they scored different items.

    >>> one = of_means({"hit@1": np.ones(30)}, np.arange(30), {}, [])
    >>> two = of_means({"hit@1": np.zeros(30)}, np.arange(30), {}, [])
    >>> print(compare_quality(one, two)["hit@1"])
    +1.000 [+1.000, +1.000] p=0.000999 n=30
    """
    if not np.array_equal(a.kept, b.kept):
        raise DataError(
            f"the two scored different items ({len(a.kept)} and {len(b.kept)}); score both against the same relevance"
        )
    shared = [key for key in a.scores if key in b.scores]
    return {key: paired_difference(a.scores[key], b.scores[key], resamples, seed) for key in shared}
