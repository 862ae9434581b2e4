"""Contrast by kernels of distances other than the Gaussian, and by mixtures of two."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, ClassVar

from torch import Tensor

from ..contrast import (
    Composition,
    Inspection,
    LearnedTemperature,
    LogSumExp,
    Mean,
    NegativeEuclidean,
    NegativeSquaredEuclidean,
    Scores,
    Similarity,
    entry,
)
from ..contrast.objective import Terms
from ..contrast.similarity import unit


@entry
class KernelInfoNCE(Composition):
    """NT-Xent with the kernel exp(-d^gamma / t) in place of the Gaussian, or with a mixture of both.

    Contrast is spectral clustering of the graph of near pairs, with this kernel for the likelihood of an edge. gamma is
    the power of the similarity, 1 unless another is given: `similarity=NegativeEuclidean(power=0.5)`. Two mixtures of
    it with the Gaussian (gamma = 2) are here:

    - "sum": both kernels see whole rows, each in a softmax of its own; the two values are averaged;
    - "halves": the first kernel sees the first half of the columns of each unit row, the Gaussian the other half.

    Shapes: two or more views (N, D), or one (R, D) with ids. Value >= 0 for two views; at chance log(R - 1). The paper
    writes mixtures of kernels; these mixtures of values are those of its code ("halves" is "product" there).

    Args:
        mixture: "none", "sum" or "halves".
        share: weight of the first kernel's value in a mixture, from 0 to 1.

    >>> import torch
    >>> z = torch.eye(4)
    >>> gaussian = KernelInfoNCE(similarity=NegativeEuclidean(power=2.0), temperature=0.5)
    >>> round(float(gaussian(z, z)), 6)                             # log(e^4 + 6) - 4
    0.104264
    """

    formula: ClassVar[str] = "mean_i [ log sum_(j != i) exp(-d_ij^gamma / t) + mean_(p near) d_ip^gamma / t ]"
    source: ClassVar[str] = (
        "Tan et al. 2023, Contrastive Learning Is Spectral Clustering On Similarity Graph; "
        "yifanzhang-pro/Kernel-InfoNCE simclr_module.py"
    )
    use: ClassVar[str] = (
        "as `NTXent`, with a kernel of heavier tails than the Gaussian, so that rows far away keep a say; `mixture` is "
        '"none", "sum" or "halves"'
    )
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "NTXent at temperature t / 2 for gamma = 2 without mixture"

    similarity: Similarity = field(default_factory=NegativeEuclidean)
    temperature: float | LearnedTemperature = 0.5
    mixture: str = "none"
    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixture not in ("none", "sum", "halves"):
            raise ValueError(f"mixture must be 'none', 'sum' or 'halves', got {self.mixture!r}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is a weight in [0, 1], got {self.share}")
        if self.mixture == "halves" and not isinstance(self.similarity, NegativeEuclidean):
            raise ValueError(f"'halves' mixes powers of the distance, not {self.similarity}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction and repulsion, of one kernel or of two."""
        if self.mixture == "none":
            return {**_softmax(scores)}
        first, second = (_softmax(s) for s in self._mixed(scores))
        return {name: self.share * first[name] + (1 - self.share) * second[name] for name in first}

    def inspect(self, *views: Tensor, **how: Any) -> Inspection:
        """See `Composition.inspect`; what halves of unrelated rows score is not known, nor is the value at chance."""
        seen = super().inspect(*views, **how)
        return replace(seen, chance=None) if self.mixture == "halves" else seen

    def _mixed(self, scores: Scores) -> tuple[Scores, Scores]:
        """The scores of both kernels."""
        if self.mixture == "sum":
            return scores, scores.by(NegativeSquaredEuclidean())
        assert isinstance(self.similarity, NegativeEuclidean)
        return (
            scores.by(replace(self.similarity, normalize=False), lambda z: unit(z)[:, : z.shape[1] // 2]),
            scores.by(NegativeSquaredEuclidean(normalize=False), lambda z: unit(z)[:, z.shape[1] // 2 :]),
        )


def _softmax(scores: Scores) -> dict[str, Tensor]:
    every, near = scores.reduce(LogSumExp("any"), Mean("near"))
    return {"attract": -near, "repel": every}
