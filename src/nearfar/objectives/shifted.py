"""Contrast about the mean of the data in place of the origin, for features that know something already."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from ..contrast import LearnedTemperature, Scores, ShiftedCosine, Similarity, entry
from ..contrast.objective import Terms
from .softmax import NTXent


@entry
class MeanShifted(NTXent):
    """NT-Xent of the angles at the mean of all items, so that features of one kind stay together (for anomalies).

    Items of a single kind have pretrained features close to each other; NT-Xent would spread them over the sphere, and
    what is unlike them would stand out less. The centre is fixed: `similarity=ShiftedCosine.around(embeddings)` has the
    mean of the unit embeddings of all normal items, before training. It is to be called with embeddings, not
    with projections of a head; unlike items are then found by `nearfar.evaluation.anomaly_scores` of embeddings.

    Shapes: as `NTXent`. From the origin at chance log(R - 1); from another centre that is not known.

    Args:
        similarity: with the centre; from the origin unless one is given.
        pull: weight of the mean squared distance of unit rows from the centre, which keeps them in place; the official
            code's angular loss adds it for each of the two views, which is a weight of 2, and a centre of unit length.

    >>> import torch
    >>> z = torch.eye(3)
    >>> loss = MeanShifted(similarity=ShiftedCosine.around(z))
    >>> round(float(loss(z, z)), 6)                             # from there all others are at 120 degrees
    0.009866
    """

    formula: ClassVar[str] = (
        "mean_i [ log sum_(j != i) exp(s_ij / t) - mean_(p near) s_ip / t ],  s_ij = cos(z_i - c, z_j - c)"
    )
    source: ClassVar[str] = (
        "Reiss & Hoshen 2021, Mean-Shifted Contrastive Loss for Anomaly Detection, eq. 5; "
        "talreiss/Mean-Shifted-Anomaly-Detection main.py"
    )
    use: ClassVar[str] = (
        "fine-tuning a pretrained encoder on items of one kind, to find what is unlike them "
        "(`similarity=ShiftedCosine.around(embeddings)`)"
    )
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "NTXent from the origin"

    similarity: Similarity = field(default_factory=ShiftedCosine)
    temperature: float | LearnedTemperature = 0.25
    pull: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.similarity, ShiftedCosine):
            raise ValueError(f"MeanShifted needs a ShiftedCosine for its similarity, not {self.similarity}")

    def per_anchor(self, scores: Scores) -> Terms:
        """NT-Xent, and the distance from the centre where it is asked for."""
        terms = super().per_anchor(scores)
        if self.pull:
            assert isinstance(self.similarity, ShiftedCosine)
            terms["centre"] = self.pull * self.similarity.shifted(scores.anchors).square().sum(1)
        return terms
