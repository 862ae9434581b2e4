"""Candidates by how hard they are, and classes by how much they are to be told apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, LearnedTemperature, LogSumExp, Mean, Scores, WeightRelation, current, entry
from ..contrast.objective import Terms


def by_class_pairs(labels: Tensor, weights: Tensor) -> WeightRelation:
    """Rows of one class are near; rows of another are far with the weight of the two classes.

    Classes that mean almost the same, such as two labels that occur together, are pushed apart less: with `SupCon` the
    contrast of InfoDCL, whose weights are 1 - max(0, nPMI) of two labels' occurrence. A weight of 0 leaves the pair out
    of the denominator.

    Args:
        labels: (R,) classes from 0; -1 is unknown.
        weights: (C, C) >= 0, how much a row of class i is pushed from one of class j; the diagonal is not looked at.

    Source: Zhang et al. 2022 (InfoDCL); UBC-NLP/infodcl simcse/loss.py.

    >>> relation = by_class_pairs(torch.tensor([0, 0, 1, 2]), torch.tensor([[1.0, 0.0, 1.0], [0, 1, 1], [1, 1, 1]]))
    >>> relation.counts().near.tolist(), relation.counts().far.tolist()
    ([1, 1, 0, 0], [1, 1, 1, 3])
    """
    if bool((weights < 0).any()) or weights.shape != (len(weights), len(weights)):
        raise ValueError(f"weights of classes are a square of numbers of 0 or more, got {tuple(weights.shape)}")
    if len(labels) and int(labels.max()) >= len(weights):
        raise ValueError(f"there are weights of {len(weights)} classes, and a label {int(labels.max())}")

    def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        known, same = (a[:, None] >= 0) & (c >= 0), a[:, None] == c
        far = weights[a.clamp_min(0)][:, c.clamp_min(0)]
        return (known & same).to(far.dtype), torch.where(known & ~same, far, 0)

    return WeightRelation(weight, labels, symmetric=torch.equal(weights, weights.T))


@entry
class HardestSupCon(Composition):
    """Supervised contrast of the K least similar near candidates against the K most similar far ones.

    For a bank of all items, most of which say nothing: `loss(queries, bank, relation=same_key(y, y_bank))`, or further
    rows as `negatives=` with their labels as `negative_ids=`. The sum over near candidates is inside the logarithm.
    Weights of a relation are not used; the choice has no gradient.

    Shapes: (R, D) with labels, ids or a relation, or views (N, D). Value >= 0; log 2 where as many near as far ones
    score the same. With the K of all it is SupCon(average="inside"), less the logarithm of the number of near rows.

    Args:
        nearest: K, of either kind.

    >>> z, y = torch.ones(4, 2), torch.tensor([0, 0, 1, 1])
    >>> round(float(HardestSupCon(nearest=1)(z, labels=y)), 4)
    0.6931
    """

    formula: ClassVar[str] = (
        "mean_i log(1 + sum_(j far, K highest) exp(s_ij / t) / sum_(p near, K lowest) exp(s_ip / t))"
    )
    source: ClassVar[str] = "Liu et al. 2023 (CoCo); YichenZW/Coh-MGT-Detection modeling_roberta.py"
    use: ClassVar[str] = "labels, and a bank with rows of all items: only the hardest of either kind should speak"
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    needs: ClassVar[str] = "both"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 0.2
    nearest: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nearest < 1:
            raise ValueError(f"nearest is how many candidates of either kind count, at least 1, got {self.nearest}")

    def per_anchor(self, scores: Scores) -> Terms:
        """The share of the hardest near ones."""
        near, far = scores.rows(self._hardest)
        return {"contrast": torch.logaddexp(near, far) - near}

    def _hardest(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        for sign, side in ((-1, near), (1, far)):
            best = torch.where(side > 0, sign * s, -torch.inf).topk(min(self.nearest, s.shape[1]), 1).values
            found.append(torch.where(best > -torch.inf, sign * best, best).logsumexp(1))
        return found[0], found[1]


@entry
class HardnessInfoNCE(Composition):
    """Symmetric InfoNCE whose far candidates weigh e^(alpha s), s their similarity as it is now, taken as a constant.

    Hard far candidates push more, while every slope stays that of the temperature: it is not a lower temperature.

    Shapes: two views (N, D), as `SymmetricInfoNCE`. Value >= 0; at chance log N.

    Args:
        alpha: how much hardness matters; 0.5 in the released code, 9 in the paper's main runs.

    >>> z = torch.eye(4)
    >>> round(float(HardnessInfoNCE(temperature=0.5)(z, z)), 6)                # far ones score 0: log(e^2 + 3) - 2
    0.340753
    """

    formula: ClassVar[str] = "mean_i [ log( e^(s_ip / t) + sum_(j far) e^(alpha sg(s_ij)) e^(s_ij / t) ) - s_ip / t ]"
    source: ClassVar[str] = "Lan et al. 2025 (LLaVE); DeepLearnXMU/LLaVE llava/model/language_model/loss.py"
    use: ClassVar[str] = "pairs of two kinds, when most far rows of a batch are too easy to teach anything"
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = "SymmetricInfoNCE for alpha = 0"
    layout: ClassVar[str] = "cross"

    temperature: float | LearnedTemperature = 0.02
    alpha: float = 0.5

    @property
    def two_way(self) -> bool:
        """Both directions."""
        return True

    def per_anchor(self, scores: Scores) -> Terms:
        """The log-sum-exp of weighted far candidates and the near one."""
        rate = torch.as_tensor(self.alpha * current(self.temperature)).detach().to(scores.u)
        far, near = scores.reduce(
            LogSumExp("far", of=lambda s, rate: s + rate * s.detach(), given=(rate,)), Mean("near")
        )
        return {"attract": -near, "repel": torch.logaddexp(far, near)}
