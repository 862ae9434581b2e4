"""Several methods on equal terms: the same encoder, data, views and budget, then the same probes on the same rows."""

from __future__ import annotations

from .comparison import Comparison, Line
from .plan import Budget, Contender, Plan, budget
from .running import compare

__all__ = ["Budget", "Comparison", "Contender", "Line", "Plan", "budget", "compare"]
