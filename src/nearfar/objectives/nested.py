"""Nested rows: any objective over prefixes of the rows, so that their first columns are rows of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contrast import Strategy
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry
from .given import MultipleNegatives

HALVES = 5


@entry
class Matryoshka(Objective):
    """Any objective over the first columns of the rows, for several widths: the sum of its values, each with a weight.

    Afterwards rows may be cut to any of the widths, and still compare. A cut comes before everything else: an objective
    of cosines brings each prefix to unit length by itself. Every argument goes to the objective as it is, but for
    `negatives` (M, D), which are cut as the views are.

    Shapes: those of the objective, with rows of at least the largest width. Value and range: those of the objective,
    times the sum of the weights.

    Args:
        of: the objective that is asked of every prefix.
        widths: how many columns; the whole width, its half and so on to a sixteenth where left out.
        weights: one for each width; 1 where left out.

    Raises:
        ValueError: rows are narrower than a width, or weights are of another number.

    >>> from nearfar.objectives import NTXent
    >>> z = torch.eye(4)
    >>> loss = Matryoshka(of=NTXent(temperature=0.5), widths=(4,), weights=(2.0,))
    >>> round(float(loss(z, z)), 6)                                            # 2 (log(e^2 + 6) - 2)
    1.188875
    """

    formula: ClassVar[str] = "sum_m w_m L(z_(1..m))"
    source: ClassVar[str] = "Kusupati et al. 2022 (Matryoshka); UKPLab/sentence-transformers losses/MatryoshkaLoss.py"
    use: ClassVar[str] = "rows should be cut short later, to search faster or to store less"
    compares: ClassVar[str] = "as the objective says"
    near: ClassVar[str] = "as the objective says"
    far: ClassVar[str] = "as the objective says"
    at_chance: ClassVar[str] = "that of the objective, times the sum of the weights"
    cost: ClassVar[str] = "that of the objective, once for each width"
    equal_to: ClassVar[str] = "the objective, for the whole width alone"

    of: Objective = field(default_factory=MultipleNegatives)
    widths: Sequence[int] = ()
    weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.widths):
            raise ValueError(f"a width is at least 1, got {self.widths}")
        if self.weights and len(self.weights) != len(self.widths):
            raise ValueError(f"weights are one for each width, got {len(self.weights)} for {len(self.widths)} widths")

    def forward(self, *views: Tensor, strategy: str | Strategy | None = None, **how: Any) -> Tensor:
        """The scalar value; keyword arguments are those of the objective."""
        return torch.stack(list(self.terms(*views, strategy=strategy, **how).values())).sum()

    def terms(self, *views: Tensor, strategy: str | Strategy | None = None, **how: Any) -> dict[str, Tensor]:
        """The value of every width, times its weight."""
        return {
            f"{width} columns": weight * self.of(*cut, **more)
            for width, weight, cut, more in self._parts(views, strategy, how)
        }

    def inspect(self, *views: Tensor, strategy: str | Strategy | None = None, **how: Any) -> Inspection:
        """The value with its terms; at chance and at collapse where the objective knows it."""
        terms, chance, collapsed = {}, [], []
        for width, weight, cut, more in self._parts(views, strategy, how):
            seen = self.of.inspect(*cut, **more)
            terms[f"{width} columns"] = weight * seen.total
            chance.append(None if seen.chance is None else weight * seen.chance)
            collapsed.append(None if seen.collapsed is None else weight * seen.collapsed)
        total = torch.stack(list(terms.values())).sum()
        return Inspection(total, terms, chance=_sum(chance), collapsed=_sum(collapsed))

    def _parts(
        self, views: tuple[Tensor, ...], strategy: str | Strategy | None, how: dict[str, Any]
    ) -> list[tuple[int, float, list[Tensor], dict[str, Any]]]:
        """Width, weight, rows and arguments of every part."""
        rows = check_views("Matryoshka", views)
        whole = rows[0].shape[1]
        widths = self.widths or sorted({max(1, whole >> k) for k in range(HALVES)}, reverse=True)
        if max(widths) > whole:
            raise ValueError(f"Matryoshka: rows have {whole} columns, and {max(widths)} are asked for")
        # The objective's own strategy holds unless another one was asked for.
        asked = strategy or (None if self.strategy == "auto" else self.strategy)
        parts = []
        for width, weight in zip(widths, self.weights or [1.0] * len(widths), strict=True):
            more = {**how, "strategy": asked}
            if isinstance(how.get("negatives"), Tensor):
                more["negatives"] = how["negatives"][:, :width]
            parts.append((width, weight, [row[:, :width] for row in rows], more))
        return parts


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
