"""Group ordering: near candidates should rank above far ones, as groups, by a sorting network with a slope."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, LearnedTemperature, Scores, entry
from ..contrast.arrange import Arrangement
from ..contrast.objective import Terms


def kept_in_place(x: Tensor, low: int) -> Tensor:
    """Probability that each of the values x (B, L), softly sorted, ends on its own side, (B, L).

    The first `low` of a row belong among the `low` smallest, the others above them. Sorted by an odd-even network of L
    layers, in which neighbours a, b change places with probability 1/2 - atan(b - a) / pi: a network of swaps that have
    a slope everywhere. No permutation matrix is built: the ends are walked back through the network to the values.

    >>> kept_in_place(torch.tensor([[0.0, 1.0]]), 1)                           # 1/2 + atan(1) / pi
    tensor([[0.7500, 0.7500]])
    """
    length, layers = x.shape[1], []
    for layer in range(length):
        start = layer % 2
        kept = 0.5 + torch.atan(x[:, start + 1 :: 2] - x[:, start : length - 1 : 2]) / math.pi
        layers.append((start, kept))
        x = _crossed(x, start, kept)
    is_low = (torch.arange(length, device=x.device) < low).expand_as(x)
    below = is_low.to(x.dtype)
    above = 1 - below
    for start, kept in reversed(layers):
        below, above = _crossed(below, start, kept), _crossed(above, start, kept)
    return torch.where(is_low, below, above)


def _crossed(x: Tensor, start: int, kept: Tensor) -> Tensor:
    """Neighbours from `start` on, mixed: each keeps its place with probability `kept`."""
    first, second = x[:, start : x.shape[1] - 1 : 2], x[:, start + 1 :: 2]
    mixed = x.clone()
    mixed[:, start : x.shape[1] - 1 : 2] = kept * first + (1 - kept) * second
    mixed[:, start + 1 :: 2] = (1 - kept) * first + kept * second
    return mixed


@entry
class GroupOrdering(Composition):
    """All near candidates of an anchor should rank above its K nearest far ones; how many do not is counted softly.

    The K largest far scores and all near scores of an anchor are sorted by a network of soft swaps, and q, the
    probability that a score ends on its side of the border, is taken to a cross-entropy. Far candidates beyond the K
    nearest say nothing, and nothing is divided but the steepness of a swap, which is 1 / temperature. Views are kept
    apart: far are the other items in the anchor's own view. Weights of a relation are not used.

    Shapes: two or more views (N, D), N >= 2, or one (R, D) with ids. Value >= 0. At chance 0.201983 for two views and
    K = 10 far candidates.

    Args:
        nearest: K, how many far candidates are sorted.
        detach: only the anchor takes a gradient, as published.

    >>> z, loss = torch.eye(3), GroupOrdering(nearest=1)
    >>> round(float(loss(z, z)), 4), round(float(loss(z, -z)), 4)              # -log 3/4 and -log 1/4
    (0.2877, 1.3863)
    """

    formula: ClassVar[str] = "mean_i mean_e -log q_ie,  e over the near and the K nearest far candidates"
    source: ClassVar[str] = "Shvetsova et al. 2023 (GroCo); ninatu/learning_by_sorting, Felix-Petersen/diffsort"
    use: ClassVar[str] = "the order of candidates matters more than their distance, and no temperature should be tuned"
    at_chance: ClassVar[str] = "0.2019829"
    layout: ClassVar[str] = "apart"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 1.0
    nearest: int = 10
    detach: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nearest < 1:
            raise ValueError(f"nearest is how many far candidates are sorted, at least 1, got {self.nearest}")

    def _arrange(self, *how: Any) -> Arrangement:
        made = super()._arrange(*how)
        return made.held() if self.detach else made

    def per_anchor(self, scores: Scores) -> Terms:
        """The cross-entropy of every anchor."""
        return {"ordering": scores.rows(self._rows)[0]}

    def _rows(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor]:
        near, far = near > 0, far > 0
        sizes = torch.stack([far.sum(1).clamp_max(self.nearest), near.sum(1)], 1)
        kinds = torch.unique(sizes, dim=0).tolist()  # anchors of one kind, as all are in most batches, go together
        most = [max((kind[side] for kind in kinds), default=0) for side in (0, 1)]
        # The largest first, and behind them what stands for no candidate.
        hardest, ranked = (
            torch.where(side, s, -torch.inf).topk(k, 1).values for side, k in zip((far, near), most, strict=True)
        )
        value = s.new_zeros(len(s))
        for low, high in kinds:
            if low and high:
                alike = (sizes == sizes.new_tensor([low, high])).all(1).nonzero().squeeze(1)
                x = torch.cat([hardest[alike, :low].flip(1), ranked[alike, :high].flip(1)], 1)
                kept = kept_in_place(x, low).clamp_min(torch.finfo(x.dtype).tiny)
                value = value.index_add(0, alike, -kept.log().mean(1))
        return (value,)
