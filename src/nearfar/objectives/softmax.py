"""Softmax objectives: "which candidate is mine", a log-sum-exp over the candidates minus the score of the near one."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch.nn.functional import softplus

from ..contrast import Composition, Count, Dot, LearnedTemperature, LogSumExp, Mean, Scores, Similarity, entry
from ..contrast.objective import Terms


@entry
class InfoNCE(Composition):
    """Cross-entropy of finding each anchor's own candidate among all candidates, one way.

    Rows of view 1 are anchors, rows of view 2 candidates. Rows of the same id are known duplicates and ignored. Where
    an anchor has several near candidates (labels, a relation) their scores are averaged outside the logarithm.

    Shapes: two views (N, D). Value: >= 0 with one near candidate; at chance log N; MI bound I >= log N - value.
    Raises ValueError where rows do not match.

    >>> z = torch.eye(4)
    >>> round(float(InfoNCE(temperature=0.5)(z, z)), 6)                        # log(e^2 + 3) - 2
    0.340753
    """

    formula: ClassVar[str] = "mean_i [ log sum_(j near or far) exp(s_ij / t) - mean_(p near) s_ip / t ]"
    source: ClassVar[str] = "van den Oord et al. 2018, eq. 4"
    use: ClassVar[str] = "a query looks for its own candidate: two encoders, or a queue of far rows (`negatives=`)"
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = (
        "NPair with dot products at temperature 1; MoCo's where a relation ignores the other keys of the batch"
    )
    layout: ClassVar[str] = "cross"

    temperature: float | LearnedTemperature = 0.1

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction to the near candidates, repulsion from all."""
        every, near = scores.reduce(LogSumExp("any"), Mean("near"))
        return {"attract": -near, "repel": every}


@entry
class SymmetricInfoNCE(InfoNCE):
    """InfoNCE in both directions, averaged: view 1 looks for view 2 and the reverse, in one sweep over the scores.

    The objective of CLIP when the two views are image and text. Shapes and value as `InfoNCE`.

    >>> a, b = torch.eye(3), torch.eye(3)
    >>> loss = SymmetricInfoNCE(temperature=LearnedTemperature(0.07))
    >>> loss(a, b).requires_grad                                                # the temperature learns
    True
    """

    formula: ClassVar[str] = "(InfoNCE(view 1 -> view 2) + InfoNCE(view 2 -> view 1)) / 2"
    source: ClassVar[str] = "Radford et al. 2021, figure 3"
    use: ClassVar[str] = "two kinds of rows that must find each other, such as image and text"
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = "the mean of two one-way InfoNCE"

    @property
    def two_way(self) -> bool:
        """Both directions."""
        return True


@entry
class NTXent(Composition):
    """SimCLR's normalised temperature-scaled cross-entropy: every other row of all views is a candidate.

    For two views this is the published objective. For more, the scores of an item's other views are averaged outside
    the logarithm and all of them stand in the denominator (SupCon's "outside" reading with the item as the class).

    Shapes: two or more views (N, D), or one (R, D) with ids. Value: >= 0 with two views; at chance log(R - 1).
    SimCLR's own code returns the sum over both views, twice this mean.

    >>> z = torch.eye(4)
    >>> round(float(NTXent(temperature=0.5)(z, z)), 6)                         # log(e^2 + 6) - 2
    0.594438
    """

    formula: ClassVar[str] = "mean_i [ log sum_(j != i) exp(s_ij / t) - mean_(p near) s_ip / t ]"
    source: ClassVar[str] = "Chen et al. 2020 (SimCLR), eq. 1"
    use: ClassVar[str] = "the first choice without labels: two or more views of each item"
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "SupCon(average='outside') with ids for labels"

    temperature: float | LearnedTemperature = 0.1

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction to the near candidates, repulsion from all."""
        every, near = scores.reduce(LogSumExp("any"), Mean("near"))
        return {"attract": -near, "repel": every}


@entry
class SupCon(Composition):
    """Supervised contrast: every row of the same class is near.

    Three readings of "several near candidates" are in use, and all are here:

    - "outside": the mean of the near scores, everything in the denominator (the paper's L_out, its code);
    - "inside": the logarithm of the mean of their exponentials (L_in; never above "outside");
    - "exclusive": one softmax per near candidate whose denominator holds it and the far ones only.

    Shapes: views (N, D) with labels (N,), or (R, D) with labels (R,). At chance log(R - 1) for the first two. Anchors
    without a near candidate do not count. The official code multiplies the value by t / 0.07 and averages over all
    anchors.

    >>> z = torch.eye(4)
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> bool(SupCon(average="inside")(z, labels=y) <= SupCon()(z, labels=y))
    True
    """

    formula: ClassVar[str] = "mean_i [ log sum_(j != i) exp(s_ij / t) - mean_(p near) s_ip / t ]   (average='outside')"
    source: ClassVar[str] = "Khosla et al. 2020, eq. 2 (outside) and 3 (inside)"
    use: ClassVar[str] = "labels are known and classes should become tight groups"
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "NTXent when every item is its own class"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 0.1
    average: str = "outside"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average not in ("outside", "inside", "exclusive"):
            raise ValueError(f"average must be 'outside', 'inside' or 'exclusive', got {self.average!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """As the chosen reading says."""
        if self.average == "exclusive":
            (far,) = scores.reduce(LogSumExp("far"))
            (value,) = scores.reduce(Mean("near", of=lambda s, t: softplus(t - s), given=(far,)))
            return {"contrast": value}
        if self.average == "inside":
            every, near, weight = scores.reduce(LogSumExp("any"), LogSumExp("near"), Count("near"))
            return {"attract": torch.where(weight > 0, weight, 1).log() - near, "repel": every}
        every, near = scores.reduce(LogSumExp("any"), Mean("near"))
        return {"attract": -near, "repel": every}


@entry
class NPair(Composition):
    """Multi-class N-pair: each anchor against its own positive and the positives of all other pairs, by dot product.

    Shapes: two views (N, D) of N distinct classes; repeated classes are ignored when ids say so. At chance log N.

    Args:
        l2: weight of the mean squared norm of both rows of a pair, the paper's regulariser.

    >>> z = torch.eye(4)
    >>> bool(NPair()(z, z) == InfoNCE(similarity=Dot(), temperature=1.0)(z, z))
    True
    """

    formula: ClassVar[str] = "mean_i log(1 + sum_(j far) exp(f_i f_j+ - f_i f_i+))  [+ l2 (|f_i|^2 + |f_i+|^2)]"
    source: ClassVar[str] = "Sohn 2016, eq. 7"
    use: ClassVar[str] = "batches of one pair per class, raw dot products"
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = "InfoNCE with dot products at temperature 1 (l2 = 0)"
    layout: ClassVar[str] = "cross"

    similarity: Similarity = field(default_factory=Dot)
    l2: float = 0.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Softmax of raw products, and the norms where they are asked for."""
        every, near = scores.reduce(LogSumExp("any"), Mean("near"))
        terms: Terms = {"attract": -near, "repel": every}
        if self.l2:
            pairs = scores.near_pairs()
            if pairs is None:
                raise ValueError("NPair with l2 needs near pairs that can be listed: one class per pair")
            rows, columns, weights = pairs
            norms = scores.anchors[rows].square().sum(1) + scores.candidates[columns].square().sum(1)
            terms["norms"] = self.l2 * Mean("near").of_pairs(norms, weights, rows, len(scores.anchors))
        return terms
