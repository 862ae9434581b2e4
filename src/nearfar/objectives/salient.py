"""Two groups of items: what all have in common, apart from what is salient in one of them."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import Strategy
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, entry
from ..contrast.similarity import unit
from .sphere import energies, uniformity


@entry
class SepCLR(Objective):
    """Common and salient parts of a row: both agree between views and spread, and say nothing of each other.

    Items are targets (patients, digits on a texture) or background (healthy, the texture alone). The first columns of
    a row are its common part c, of unit length; the others its salient part s, of any length, which is to be 0 for the
    background and is taken as 0 there when parts are spread. With
    align(u, v) = mean |u - v|^2 / (2 tau), unif(u) = log mean_(i<j) exp(-|u_i - u_j|^2 / (2 tau)) and
    joint(c, s) = mean_i log mean_j exp(-(|c_i - c_j|^2 + |s_i - s_j|^2) / (2 tau)), j = i among them,
    the value is the sum of

    - align and unif of c, over both views;
    - `salient` times align of s over targets, and unif of s over both views;
    - `background` times the mean align of s with 0 over the background;
    - `independence` times the mean of joint(c, s), whose minimum is the largest joint entropy: c and s share nothing.

    Args:
        common: columns of the common part; half of them when None.
        tau: width of the kernels.
        salient: weight of the salient part; 1000 in the paper for digits on photographs, with 32 columns for each part.
        background: weight of its being 0 for the background; 1000 there.
        independence: weight of the joint term; 10 there.
        information: take the same of c and of s alone off the joint term, which is the information they share then; the
            published term leaves that out. No weight of joint(c, s) alone makes it cost anything that c knows what s
            does: it is no higher when c tells apart what s tells apart already, and unif(c) is lower.

    Shapes: two views (N, D) and `target` (N,), true for targets; all are targets when it is left out. Unbounded below,
    as s is; all rows equal give 0 without background.

    >>> z = torch.eye(4)
    >>> round(float(SepCLR(common=4, salient=0.0, background=0.0, independence=0.0)(z, z)), 4)  # twice -2 / (2 tau)
    -4.0
    """

    formula: ClassVar[str] = (
        "align(c, c') + unif(c) + unif(c') + w_s [align(s, s') + unif(s) + unif(s')] + w_b mean_(background) |s|^2 / "
        "(2 tau) + w_i mean_i log mean_j exp(-(|c_i - c_j|^2 + |s_i - s_j|^2) / (2 tau))"
    )
    source: ClassVar[str] = (
        "Louiset et al. 2024, Separating common from salient patterns (k-JEM); "
        "neurospin-projects/2024_rlouiset_sep_clr losses.py"
    )
    use: ClassVar[str] = (
        "items with something of interest and items without (`target=`): what is of interest gets columns of its own"
    )
    compares: ClassVar[str] = "squared distance of unit rows, part by part"
    near: ClassVar[str] = "the item's row in the other view, part by part; 0 for the salient part of the background"
    far: ClassVar[str] = "all rows of the same view, part by part"
    at_chance: ClassVar[str] = ""
    cost: ClassVar[str] = "all pairs of each view three times, by tiles"

    common: int | None = None
    tau: float = 0.5
    salient: float = 1.0
    background: float = 1.0
    independence: float = 1.0
    information: bool = False

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise ValueError(f"tau is the width of a kernel and above 0, got {self.tau}")
        if self.common is not None and self.common < 1:
            raise ValueError(f"the common part has at least one column, got {self.common}")

    def terms(
        self, *views: Tensor, target: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> dict[str, Tensor]:
        """Named scalar parts that add up to the value, with gradients; arguments as of a call."""
        rows = check_views("SepCLR", views)
        if len(rows) != 2 or len(rows[0]) != len(rows[1]):
            raise ValueError(f"SepCLR needs two views of the same rows, got {[len(r) for r in rows]} rows")
        width = rows[0].shape[1] // 2 if self.common is None else self.common
        if not 1 <= width <= rows[0].shape[1]:
            raise ValueError(f"SepCLR: {width} common columns of rows of width {rows[0].shape[1]}; set common")
        n = len(rows[0])
        mask = torch.ones(n, dtype=torch.bool) if target is None else torch.as_tensor(target)
        if mask.shape != (n,):
            raise ValueError(f"SepCLR: target must be one per row, got {tuple(mask.shape)} for {n} rows")
        with torch.autocast(rows[0].device.type, enabled=False):
            return self._terms(rows, width, mask.to(rows[0].device).to(rows[0].dtype), self.chosen(strategy))

    def _terms(self, rows: list[Tensor], width: int, mask: Tensor, strategy: Strategy) -> dict[str, Tensor]:
        common, salient = [unit(r[:, :width]) for r in rows], [r[:, width:] for r in rows]
        shown = [s * mask[:, None] for s in salient]
        target = self.together(mask, strategy)
        n, rate = len(target), 1 / (2 * self.tau)
        if n < 2:
            raise ValueError(f"SepCLR needs at least 2 rows, to compare a row with another, got {n}")

        def align(u: Tensor, v: Tensor | float, weight: Tensor) -> Tensor:
            distance = self.together((u - v).square().sum(1), strategy)
            return rate * (distance * weight).sum() / weight.sum().clamp_min(1)

        def spread(parts: list[Tensor]) -> Tensor:
            return torch.stack([uniformity(part, n, rate, strategy) for part in parts]).sum()

        every, apart = torch.ones_like(target), 1 - target
        rest = torch.stack([align(s, 0.0, apart) for s in salient]).mean()

        def met(part: Tensor) -> Tensor:
            return softplus(energies(part, n, rate, strategy)).mean() - math.log(n)  # softplus: j = i counts

        joint = [met(torch.cat([c, s], 1)) for c, s in zip(common, shown, strict=True)]
        if self.information:
            joint = [both - met(c) - met(s) for both, c, s in zip(joint, common, shown, strict=True)]
        return {
            "common": align(common[0], common[1], every) + spread(common),
            "salient": self.salient * (align(salient[0], salient[1], target) + spread(shown)),
            "background": self.background * rest,
            "independence": self.independence * torch.stack(joint).mean(),
        }

    def forward(self, *views: Tensor, target: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of two views."""
        return torch.stack(list(self.terms(*views, target=target, strategy=strategy).values())).sum()

    def inspect(
        self, *views: Tensor, target: Tensor | None = None, strategy: str | Strategy | None = None
    ) -> Inspection:
        """The value with its four terms, and without background that at collapse."""
        terms = self.terms(*views, target=target, strategy=strategy)
        total = torch.stack(list(terms.values())).sum()
        return Inspection(total, terms, collapsed=0.0 if target is None else None)
