"""One measured number: what it is, how many rows it stands on, and how far it can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Metric:
    """A value with its 95 % interval and the settings it was measured under.

    name: what a reader sees ("kNN accuracy"). n: number of items the value is a mean over. low, high: ends of the
    interval, NaN when no interval is defined (a statistic of all pairs, such as the effective rank).

    >>> print(Metric("kNN accuracy", 0.8431, 5000, 0.833, 0.8534))
    kNN accuracy 0.843 [0.833, 0.853] n=5000
    >>> print(Metric("effective rank", 41.2, 5000))
    effective rank 41.200 n=5000
    """

    name: str
    value: float
    n: int
    low: float = math.nan
    high: float = math.nan
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def short(self) -> str:
        """Value and interval alone, as a table cell: "0.843 [0.833, 0.853]"."""
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if self.has_interval else ""
        return f"{self.value:.3f}{interval}"

    def __str__(self) -> str:
        return f"{self.name} {self.short()} n={self.n}"

    def to_json(self) -> dict[str, Any]:
        """Plain dict that `json.dumps` accepts; a number that is not finite becomes None."""
        return {
            "name": self.name,
            "value": plain(self.value),
            "n": int(self.n),
            "low": plain(self.low),
            "high": plain(self.high),
            "settings": plain(self.settings),
        }


def plain(value: Any) -> Any:
    """The same value in types JSON knows: numpy scalars and arrays unpacked, NaN and infinity as None.

    >>> plain({"k": np.int64(3), "low": float("nan"), "grid": np.array([1.0, 2.0])})
    {'k': 3, 'low': None, 'grid': [1.0, 2.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
