"""Several projections of a row at once, each pair of rows with a temperature of its own in each of them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..contrast import Relation, Strategy, entry, matching, same_key
from ..contrast.arrange import check_views
from ..contrast.blocks import slices
from ..contrast.objective import Inspection, Objective
from ..contrast.similarity import unit


@entry
class AdaptiveMultiHead(Objective):
    """NT-Xent over several heads in one likelihood, with a temperature for each head and pair of rows (AMCL).

    A row holds the projections z^c of all heads, then the codes k^c of all heads, of which the temperatures are made:
    t^c_ij = low + (high - low) sigmoid(k^c_i k^c_j), where the likelihood is flat for pairs that may not be told. The
    logit of a pair is the sum over heads of cos(z^c_i, z^c_j) / t^c_ij. Without a price all temperatures would go to an
    end of the range; log(t) D / 2 + 1 / t has its least value at t = 2 / D. `nearfar.models.AdaptiveHeads` makes such
    rows.

    Shapes: two or more views (N, heads (D + codes)), with ids where items repeat. Scores are worked out in panels of
    rows, twice where they do not fit the budget. The value at chance depends on the temperatures.

    Args:
        heads: how many; codes: numbers of each head that temperatures are made of, at least one.
        low, high: range of the temperatures.
        price: beta, weight of the mean price of all temperatures.

    >>> import torch
    >>> z = torch.cat([torch.eye(4), torch.zeros(4, 1)], 1)                    # one head, codes of 0
    >>> loss = AdaptiveMultiHead(heads=1, codes=1, low=0.1, high=0.9, price=0.0)
    >>> round(float(loss(z, z)), 6)                                            # NT-Xent at t = 1/2
    0.594438
    """

    formula: ClassVar[str] = (
        "mean_i [ log sum_(j != i) exp(l_ij) - mean_(p near) l_ip ] + beta mean_(c, i, j != i) [ log(t_cij) D / 2 + "
        "1 / t_cij ],  l_ij = sum_c s_cij / t_cij"
    )
    source: ClassVar[str] = "Wang et al. 2023, Adaptive Multi-head Contrastive Learning"
    use: ClassVar[str] = "views that differ in several ways at once; rows hold projections of several heads, and codes"
    compares: ClassVar[str] = "cosine, head by head"
    near: ClassVar[str] = "other views of the item"
    far: ClassVar[str] = "all views of other items"
    at_chance: ClassVar[str] = ""
    equal_to: ClassVar[str] = "NTXent for one head and equal codes, up to a constant"
    reconstructed: ClassVar[str] = "temperatures and their price are written from a description"
    cost: ClassVar[str] = "two products of all pairs for each head, in panels of rows"

    heads: int = 3
    codes: int = 1
    low: float = 0.05
    high: float = 2.0
    price: float = 0.1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.codes < 1:
            raise ValueError(f"heads and codes are at least 1, got {self.heads} and {self.codes}")
        if not 0 < self.low <= self.high:
            raise ValueError(f"temperatures lie in [low, high] above 0, got [{self.low}, {self.high}]")

    def forward(self, *views: Tensor, ids: Tensor | None = None, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value.

        Raises:
            ValueError: fewer than two views, rows that do not match, or a width that is not heads (D + codes).
        """
        return torch.stack(list(self._terms(views, ids, strategy).values())).sum()

    def inspect(self, *views: Tensor, **how: Any) -> Inspection:
        """The value with its terms."""
        terms = self._terms(views, how.get("ids"), how.get("strategy"))
        return Inspection(torch.stack(list(terms.values())).sum(), terms)

    def temperatures(self, codes: Tensor, others: Tensor) -> Tensor:
        """(heads, R, C) of the pairs of rows with these codes (R, heads codes) and (C, heads codes).

        >>> AdaptiveMultiHead(heads=1, low=0.1, high=0.9).temperatures(torch.zeros(1, 1), torch.zeros(1, 1)).item()
        0.5
        """
        own, every = (part.unflatten(1, (self.heads, self.codes)).transpose(0, 1) for part in (codes, others))
        return self.low + (self.high - self.low) * (own @ every.mT).sigmoid()

    def _terms(
        self, views: tuple[Tensor, ...], ids: Tensor | None, strategy: str | Strategy | None
    ) -> dict[str, Tensor]:
        rows = check_views("AdaptiveMultiHead", views)
        n, width = len(rows[0]), rows[0].shape[1] // self.heads - self.codes
        if len(rows) < 2 or any(len(view) != n for view in rows):
            raise ValueError(
                f"AdaptiveMultiHead needs two or more views of the same rows, not {[len(r) for r in rows]}"
            )
        if rows[0].shape[1] % self.heads or width < 1:
            raise ValueError(
                f"rows hold {self.heads} heads of D numbers and {self.codes} codes, which does not make "
                f"{rows[0].shape[1]} columns"
            )
        together = [self.together(view, strategy) for view in rows]
        if ids is None:
            relation = matching(len(together[0]), len(rows), rows[0].device)
        else:
            relation = same_key(self.together(ids.to(rows[0].device), strategy).long().repeat(len(rows)))
        z = torch.cat(together)
        with torch.autocast(z.device.type, enabled=False):
            projections, codes = z[:, : self.heads * width], z[:, self.heads * width :]
            parts = [unit(part) for part in projections.split(width, 1)]
            prepared = torch.cat([*parts, codes], 1)
            return self._swept(prepared, relation, width, self.chosen(strategy))

    def _swept(self, z: Tensor, relation: Relation, width: int, chosen: Strategy) -> dict[str, Tensor]:
        """Means over the anchors that have a near row, panel by panel."""

        def panel(own: Tensor, every: Tensor, start: int) -> tuple[Tensor, Tensor]:
            where = slice(start, start + len(own)), slice(0, len(every))
            like = own.new_empty(len(own), len(every))
            near, far = (relation.weights(over, *where).full(like) for over in ("near", "far"))
            return self._of_rows(own, every, near, far, width)

        if chosen.dense or (chosen.kind == "auto" and chosen.keeps(4 * self.heads * len(z) ** 2, z)):
            value, price = panel(z, z, 0)
        else:
            height = max(1, chosen.side((len(z), len(z)), z) ** 2 // max(1, len(z)))
            found = [checkpoint(panel, z[rows], z, rows.start, use_reentrant=False) for rows in slices(len(z), height)]
            value, price = (torch.cat(part) for part in zip(*found, strict=True)) if found else (z[:, 0], z[:, 0])
        counted = (relation.counts().near > 0).to(z.dtype)
        total = counted.sum().clamp_min(1)
        return {
            "contrast": torch.where(counted > 0, value, 0).sum() / total,
            "temperatures": self.price * torch.where(counted > 0, price, 0).sum() / total,
        }

    def _of_rows(self, own: Tensor, every: Tensor, near: Tensor, far: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """The softmax of some anchors and the mean price of their temperatures, (B,) each."""
        logits = price = own.new_zeros(())
        end = self.heads * width
        for c in range(self.heads):
            dims, code = slice(c * width, (c + 1) * width), slice(end + c * self.codes, end + (c + 1) * self.codes)
            t = self.low + (self.high - self.low) * (own[:, code] @ every[:, code].T).sigmoid()
            logits = logits + own[:, dims] @ every[:, dims].T / t
            price = price + (t.log() * width / 2 + 1 / t)
        met = (near > 0) | (far > 0)
        count, weight = met.sum(1).clamp_min(1), near.sum(1)
        attract = (logits * near).sum(1) / torch.where(weight > 0, weight, 1)
        value = logits.masked_fill(~met, -torch.inf).logsumexp(1) - attract
        return value, (price * met).sum(1) / (count * self.heads)
