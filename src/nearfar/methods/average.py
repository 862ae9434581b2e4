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


def weighed(parts: Sequence[tuple[str, Contrast, float]]) -> Contrast:
    """The sum of what several objectives say, each (name before its terms, what it says, weight)."""

    def at_chance() -> float | None:
        values = [weight * said.chance for _, said, weight in parts if said.chance is not None]
        return sum(values) if len(values) == len(parts) else None

    terms = {f"{kind}{name}": weight * value for kind, said, weight in parts for name, value in said.terms.items()}
    return Contrast(torch.stack([weight * said.loss for _, said, weight in parts]).sum(), terms, at_chance)


def told(seen: Inspection) -> Contrast:
    """An inspection as a contrast."""
    return Contrast(seen.total, seen.terms, lambda: seen.chance)
