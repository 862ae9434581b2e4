"""Few-shot objectives: rows are judged by class means or by neighbours among the rows of known classes."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import (
    Composition,
    LearnedTemperature,
    LogSumExp,
    Max,
    Mean,
    NegativeEuclidean,
    Scores,
    Similarity,
    entry,
)
from ..contrast.objective import Terms


def class_means(rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Prototypes (classes, D): the mean of the rows (N, D) of each class, with gradient; 0 for a class without rows.

    Rows of label -1 do not count. Source: Snell et al. 2017, eq. 1.

    Raises:
        ValueError: a label is not below `classes`.

    >>> class_means(torch.tensor([[1.0, 0], [3, 0], [0, 5]]), torch.tensor([0, 0, 1]), 2)
    tensor([[2., 0.],
            [0., 5.]])
    """
    if len(labels) and int(labels.max()) >= classes:
        raise ValueError(f"label {int(labels.max())} is not among {classes} classes, which are counted from 0")
    known = labels >= 0
    sums = rows.new_zeros(classes, rows.shape[1]).index_add(0, labels[known], rows[known])
    return sums / torch.bincount(labels[known], minlength=classes).clamp_min(1)[:, None]


@entry
class ProtoTriplet(Composition):
    """A query must be nearer to the prototype of its class than to any other prototype, by a margin.

    Rows of view 1 are the queries, rows of view 2 the prototypes, such as the `class_means` of a support set; the
    distance is Euclidean between rows as they are.

    Shapes: (N, D) and (C, D) with `relation=to_proxies(labels, C)`. Value >= 0; the margin when all rows are equal.

    >>> from nearfar.objectives import to_proxies
    >>> prototypes, query = torch.tensor([[0.0, 0], [3, 0]]), torch.tensor([[1.4, 0]])
    >>> round(float(ProtoTriplet()(query, prototypes, relation=to_proxies(torch.tensor([0]), 2))), 4)  # 1.4 - 1.6 + 0.5
    0.3
    """

    formula: ClassVar[str] = "mean_i [ |z_i - c_own| - min_(c other) |z_i - c| + margin ]_+"
    source: ClassVar[str] = "Mendez-Ruiz et al. 2023; maumruiz/FSL-Loss algorithms/icnn_loss.py"
    use: ClassVar[str] = "few-shot episodes: queries against class means, only the nearest wrong class counts"
    at_chance: ClassVar[str] = ""
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=lambda: NegativeEuclidean(normalize=False))
    margin: float = 0.5

    def per_anchor(self, scores: Scores) -> Terms:
        """Own prototype against the nearest other one."""
        near, far = scores.reduce(Mean("near"), Max("far"))
        return {"triplets": (far - near + self.margin).relu()}


@entry
class ICNN(Composition):
    """Minus the logarithm of how well the k nearest neighbours of all rows speak for their classes (ICNN score).

    Among the k nearest candidates of each row: those of its class should be much nearer than the nearest one of another
    class (same, from the distances as shares of that one), those of other classes far away (other, as shares of the
    largest such distance in the batch; 1 when there are none), and most should be of its class (purity, which has no
    gradient). Each of the first two is a mean over neighbours, then over the rows that have such neighbours.

    The code this follows looks for the nearest row of another class among a limited number of neighbours, and counts a
    small batch as pure; here it is looked for among all rows, and purity is always measured. Of equally
    distant candidates those of other classes come first.

    Args:
        k: neighbours; all candidates where there are fewer.

    Shapes: (R, D) with labels, or views. Value >= 0: 0 when classes are points apart, log 4 when all rows are equal.

    >>> z, y = torch.tensor([[0.0], [0.0], [9.0], [9.0]]), torch.tensor([0, 0, 1, 1])
    >>> abs(float(ICNN(k=1)(z, labels=y))) < 1e-6
    True
    """

    formula: ClassVar[str] = "-log( ((same + other) / 2 + purity) / 2 ) over the k nearest neighbours"
    source: ClassVar[str] = "Mendez-Ruiz et al. 2023; maumruiz/FSL-Loss algorithms/icnn_loss.py, modified_score"
    use: ClassVar[str] = "beside another objective, to keep small neighbourhoods of labelled rows pure"
    reconstructed: ClassVar[str] = "from the authors' code, the paper was not at hand"
    at_chance: ClassVar[str] = ""
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=lambda: NegativeEuclidean(normalize=False))
    k: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"k is a number of neighbours, at least 1, got {self.k}")

    def per_anchor(self, scores: Scores) -> Terms:
        """One score of the whole batch."""
        same, nears, other, fars, largest, purity = scores.rows(self._neighbours)
        counted = (scores.near_count > 0) & (scores.far_count > 0)
        some_same, some_other = counted & (nears > 0), counted & (fars > 0)

        def over(values: Tensor, which: Tensor) -> Tensor:
            return torch.where(which, values, 0).sum() / which.sum().clamp_min(1)

        top = torch.cat([largest.new_zeros(1), largest[some_other]]).max()
        away = over(other, some_other) / torch.where(top == 0, 1, top)
        away = torch.where(some_other.any(), away, 1)
        score = ((1 - over(same, some_same) + away) / 2 + over(purity, counted)) / 2
        return {"score": -score.log().expand_as(same)}

    def _neighbours(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, ...]:
        """Per row, of the k nearest: mean share of the near ones, mean and largest distance of the far ones, purity."""
        near, far = near > 0, far > 0
        d = torch.where(near | far, -s, torch.inf)
        far_first = far.to(torch.int8).sort(dim=1, descending=True, stable=True).indices
        chosen = far_first.gather(1, d.gather(1, far_first).sort(dim=1, stable=True).indices[:, : self.k])
        near_k, far_k = near.gather(1, chosen), far.gather(1, chosen)
        d_k = torch.where(near_k | far_k, d.gather(1, chosen), 0)
        limit = torch.where(far, d, torch.inf).amin(1, keepdim=True)
        # A row equal to one of another class has no scale of its own: what is not equal to it too is far beyond.
        share = torch.where(limit == 0, (d_k > 0).to(d.dtype), d_k / torch.where(limit == 0, 1, limit))
        share = share / share.amax(1, keepdim=True).clamp_min(1)
        nears, fars = (t.sum(1).to(d.dtype) for t in (near_k, far_k))
        lost = torch.where(limit.isnan(), limit, 0).squeeze(1)  # not a number, which sorting would hide
        return (
            torch.where(near_k, share, 0).sum(1) / nears.clamp_min(1),
            nears,
            torch.where(far_k, d_k, 0).sum(1) / fars.clamp_min(1),
            fars,
            torch.where(far_k, d_k, 0).amax(1),
            nears / (nears + fars).clamp_min(1) + lost,
        )


@entry
class NadarayaWatson(Composition):
    """The class of a row is the kernel-weighted vote of a support set; minus the logarithm of the true class's share.

    Rows of view 1 are queries, rows of view 2 the support, with their labels by `labels` (matching rows) or
    `relation=same_key(query_labels, support_labels)`. A support drawn from one environment at a time asks for features
    that hold in each of them. A query whose class has no support does not count; the official code gives it -log 1e-12.

    Shapes: (N, D) and (S, D). Value >= 0; with S support rows that all score alike log(S / rows of the class).

    >>> from nearfar.contrast import same_key
    >>> support, query = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0]])
    >>> relation = same_key(torch.tensor([0]), torch.tensor([0, 1]))
    >>> round(float(NadarayaWatson()(query, support, relation=relation)), 6)   # log 2: as near to one as to the other
    0.693147
    """

    formula: ClassVar[str] = "mean_i -log [ sum_(p near) exp(-d_ip / t) / sum_(j near or far) exp(-d_ij / t) ]"
    source: ClassVar[str] = "Wang & Sabuncu 2023; alanqrwang/nwhead nwhead/nw.py, kernel.py"
    use: ClassVar[str] = "labels, and a prediction that names the training rows it rests on"
    at_chance: ClassVar[str] = ""
    equal_to: ClassVar[str] = "SupCon(average='inside') of queries and support, without its log of the near count"
    layout: ClassVar[str] = "cross"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=lambda: NegativeEuclidean(normalize=False))
    temperature: float | LearnedTemperature = 1.0

    def per_anchor(self, scores: Scores) -> Terms:
        """The share of the near candidates in the sum of all."""
        every, near = scores.reduce(LogSumExp("any"), LogSumExp("near"))
        return {"attract": -near, "repel": every}
