"""Objectives that remember something of every item: how crowded its surroundings are, and a temperature of its own.

What they remember are tables with a row for each item, in buffers and so in every checkpoint. A call only reads them;
`remember` writes what the last call found, once the step is done.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, Count, Inspection, LogSumExp, Mean, Scores, Strategy, Sum, entry
from ..contrast.arrange import Arrangement, check_views
from ..contrast.objective import Terms


@entry
class SogCLR(Composition):
    """Decoupled contrast whose denominator is that of all the data: each item keeps a running mean of its far rows.

    With g_i = mean_(j far) exp(s_ij / t) of this batch, u_i = (1 - gamma) u_item + gamma g_i, and far candidates weigh
    exp(s_ij / t) / u_i, taken as constant: small batches have the gradient of large ones. The value is that of this
    estimate, not of an objective that falls; its gradient is what counts. Afterwards `remember` sets u_item to the mean
    of u_i over the rows of the item. An item that was never seen has u_i = g_i.

    With `items` the objective holds a table of so many numbers (logarithms of u), and is called with `ids` from 0 to
    items - 1; -1 is unknown. Without, nothing is remembered.

    Shapes: two or more views (N, D), or one (R, D) with ids. At chance 0, and when all rows are equal. The official
    code adds up the views of an item, here they are averaged; its table holds their sum, here it is their mean.

    Args:
        temperature: a number; a learned one would have no gradient.
        items: rows of the table.
        gamma: weight of the newest batch, in (0, 1].

    Raises:
        ValueError: `items` is set and ids are missing, are not of the table, or labels or a relation stand in their
            place.

    >>> loss, z, ids = SogCLR(items=10), torch.randn(4, 8), torch.tensor([3, 5, 9, 0])
    >>> value = loss(z, z + 0.1, ids=ids)
    >>> loss.remember()
    >>> loss.log_far.isfinite().nonzero().flatten().tolist()
    [0, 3, 5, 9]
    """

    formula: ClassVar[str] = "mean_i [ mean_(j far) w_ij s_ij - mean_(p near) s_ip ],  w_ij = exp(s_ij / t) / u_i"
    source: ClassVar[str] = (
        "Yuan et al. 2022, Provable Stochastic Optimization for Global Contrastive Learning, algorithm 1; "
        "zhqiu/contrastive-learning-iSogCLR"
    )
    use: ClassVar[str] = "as `DCL`, for batches that are small beside the data; `items=` and `ids` from 0"
    at_chance: ClassVar[str] = "0"
    equal_to: ClassVar[str] = "t times DCL in its gradient, without `items` or for gamma = 1"
    needs: ClassVar[str] = "both"

    temperature: float = 0.1
    items: int = 0
    gamma: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.temperature, torch.nn.Module):
            raise ValueError(f"{type(self).__name__} takes a number for the temperature: a learned one has no gradient")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma is the weight of the newest batch, in (0, 1], got {self.gamma}")
        self.register_buffer("log_far", torch.full((self.items,), -math.inf))
        self._found: dict[str, tuple[Tensor, Tensor]] = {}

    def replace(self, **changes: Any) -> Any:
        """A copy with some arguments changed; it remembers the same, unless the tables are of another size."""
        made = super().replace(**changes)
        if made.items == self.items:
            made.load_state_dict(self.state_dict())
        return made

    def remember(self) -> None:
        """Write what the last call found into the tables; nothing where nothing is new."""
        for name, (items, values) in self._found.items():
            table = self.get_buffer(name)
            table[items] = values.to(table.dtype)
        self._found = {}

    def inspect(self, *views: Tensor, **near: Any) -> Inspection:
        """See `Composition.inspect`; what is found here is not remembered."""
        found = self._found
        seen = super().inspect(*views, **near)
        self._found = found
        return seen

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction, and repulsion by constant weights; scores are in units of the temperature."""
        items = self._items(scores)
        rate = self._rates(scores, items)
        near, far, weight = scores.reduce(
            Mean("near"), LogSumExp("far", of=lambda s, rate: s * rate, given=(rate,)), Count("far")
        )
        with torch.no_grad():
            log_m = torch.where(weight > 0, weight, 1).log()
            log_u = self._updated(far - log_m, items)
            shift = torch.where(log_u > -math.inf, log_u, 0) + log_m

        def weighted(s: Tensor, rate: Tensor, shift: Tensor) -> Tensor:
            # w / M is at most 1 / gamma for far pairs; others must not overflow before they are left out.
            return (s.detach() * rate - shift).clamp_max(30).exp() * s

        (pushed,) = scores.reduce(Sum("far", of=weighted, given=(rate, shift)))
        self._found = {} if items is None else self._learned(items, scores.far_count > 0, log_u, pushed.detach() * rate)
        return {"attract": -near * self.temperature, "repel": pushed * self.temperature}

    def _items(self, scores: Scores) -> Tensor | None:
        """The item of every anchor (R,), -1 for none; None without a table."""
        if not self.items:
            return None
        assert scores.relation.keys is not None
        return scores.relation.keys[0]

    def _rates(self, scores: Scores, items: Tensor | None) -> Tensor:
        """What the scores of every anchor are multiplied by, (R,) or a scalar."""
        return scores.u.new_ones(())

    def _updated(self, log_g: Tensor, items: Tensor | None) -> Tensor:
        """log u of every anchor."""
        if items is None:
            return log_g
        held = self.get_buffer("log_far").to(log_g.dtype)[items.clamp_min(0)]
        mixed = (
            torch.logaddexp(held + math.log1p(-self.gamma), log_g + math.log(self.gamma)) if self.gamma < 1 else log_g
        )
        return torch.where((items < 0) | (held == -math.inf), log_g, mixed)

    def _learned(self, items: Tensor, far: Tensor, log_u: Tensor, pushed: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """New rows of the tables, from the anchors that have far rows; `pushed` is the mean of w s / t."""
        seen = (items >= 0) & far
        chosen, row, count = torch.unique(items[seen], return_inverse=True, return_counts=True)
        mean = LogSumExp("any").of_pairs(log_u[seen], None, row, len(chosen)) - count.to(log_u.dtype).log()
        return {"log_far": (chosen, mean)}

    def _arrange(
        self,
        views: Any,
        ids: Any,
        labels: Any,
        relation: Any,
        negatives: Any,
        negative_ids: Any,
        strategy: str | Strategy | None = None,
    ) -> Arrangement:
        if self.items:
            name = type(self).__name__
            if ids is None or labels is not None or relation is not None:
                raise ValueError(f"{name} with items={self.items} is told by ids= alone which item a row is")
            rows = check_views(name, views)
            ids = torch.as_tensor(ids, device=rows[0].device).long()
            if len(ids) and not -1 <= int(ids.min()) <= int(ids.max()) < self.items:
                raise ValueError(
                    f"{name}: ids reach from {int(ids.min())} to {int(ids.max())}, the table has {self.items} rows; "
                    f"set items to more than the largest id (-1 is unknown)"
                )
            # In one tensor with ids the relation knows the item of every row, over several processes too.
            views, ids = [torch.cat(rows)], ids.repeat(len(rows))
        return super()._arrange(views, ids, labels, relation, negatives, negative_ids, strategy)


@entry
class ISogCLR(SogCLR):
    """SogCLR with a temperature for each item, found by robust optimisation: crowded items get a higher one.

    Far candidates of an item may shift towards the hard ones by at most rho (in Kullback-Leibler divergence); the
    temperature is the multiplier of that bound. Its gradient log u_i + rho - mean_j w_ij s_ij / t_item is averaged over
    the rows of the item, cut to [-3, 3] and smoothed, v = (1 - beta) v + beta gradient, and `remember` makes the step
    t_item - rate v, kept in [low, high].

    With `items` the objective holds three tables of so many numbers: log u, temperatures and v. Ids, shapes and value
    as `SogCLR`.

    Args:
        temperature: of every item at the start, in [low, high].
        rho: bound; a larger one makes temperatures smaller.
        beta: weight of the newest gradient, in (0, 1].
        rate: length of a step of the temperatures.
        low, high: their range.

    >>> loss, z, ids = ISogCLR(items=10), torch.randn(4, 8), torch.tensor([3, 5, 9, 0])
    >>> value = loss(z, z + 0.1, ids=ids)
    >>> loss.remember()
    >>> bool((loss.temperatures[ids] != 0.1).all()), bool((loss.temperatures[[1, 2, 4]] == 0.1).all())
    (True, True)
    """

    formula: ClassVar[str] = (
        "mean_i [ mean_(j far) w_ij s_ij - mean_(p near) s_ip ],  w_ij = exp(s_ij / t_i) / u_i,  t_i of the item"
    )
    source: ClassVar[str] = (
        "Qiu et al. 2023, Not All Semantics are Created Equal, algorithm 1; "
        "zhqiu/contrastive-learning-iSogCLR unimodal_exps/losses.py"
    )
    use: ClassVar[str] = "as `SogCLR`, for data in which some kinds of items are frequent and others rare"
    at_chance: ClassVar[str] = "0"
    equal_to: ClassVar[str] = "SogCLR without `items`, or for rate = 0"

    gamma: float = 0.8
    rho: float = 0.4
    beta: float = 0.5
    rate: float = 0.03
    low: float = 0.05
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.low <= self.temperature <= self.high:
            raise ValueError(f"the temperature must start inside [{self.low}, {self.high}], got {self.temperature}")
        if not 0 < self.beta <= 1:
            raise ValueError(f"beta is the weight of the newest gradient, in (0, 1], got {self.beta}")
        self.register_buffer("temperatures", torch.full((self.items,), float(self.temperature)))
        self.register_buffer("steps", torch.zeros(self.items))

    def _rates(self, scores: Scores, items: Tensor | None) -> Tensor:
        """The start over the item's own temperature."""
        if items is None:
            return super()._rates(scores, items)
        own = self.get_buffer("temperatures").to(scores.u.dtype)[items.clamp_min(0)]
        return torch.where(items >= 0, self.temperature / own, 1)

    def _learned(self, items: Tensor, far: Tensor, log_u: Tensor, pushed: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """See `SogCLR._learned`; the temperatures make a step."""
        found = super()._learned(items, far, log_u, pushed)
        seen = (items >= 0) & far
        chosen, row = torch.unique(items[seen], return_inverse=True)
        slope = Mean("any").of_pairs((log_u + self.rho - pushed)[seen], None, row, len(chosen)).clamp(-3, 3)
        step = (1 - self.beta) * self.get_buffer("steps")[chosen] + self.beta * slope
        moved = (self.get_buffer("temperatures")[chosen] - self.rate * step).clamp(self.low, self.high)
        return found | {"temperatures": (chosen, moved), "steps": (chosen, step)}
