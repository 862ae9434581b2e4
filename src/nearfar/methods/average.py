"""What several pairs of views say, in one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..contrast import Inspection
from .method import Contrast


def averaged(parts: Sequence[Contrast]) -> Contrast:
    """The mean of what an objective says of several pairs of views: loss, terms and value at chance."""

    def at_chance() -> float | None:
        values = [part.chance for part in parts]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    terms = {name: torch.stack([part.terms[name] for part in parts]).mean() for name in parts[0].terms}
    return Contrast(torch.stack([part.loss for part in parts]).mean(), terms, at_chance)


def told(seen: Inspection) -> Contrast:
    """An inspection as a contrast."""
    return Contrast(seen.total, seen.terms, lambda: seen.chance)
