"""Bounds on mutual information as objectives: the score is a critic f, near pairs are drawn jointly, far ones apart.

The value is minus the bound, so that a smaller one says more. The critic is whatever made the rows: with `Dot` (the
default) two encoders are a separable critic, and a linear map on one side a bilinear one. `InfoNCE` is the fourth of
the family: I >= log N - its value. Bounds that say more did not give better embeddings (Tschannen et al. 2020).
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch

from ..contrast import Composition, Count, Dot, LearnedTemperature, LogSumExp, Mean, Scores, Similarity, Softplus, entry
from ..contrast.objective import Terms


@entry
class NWJ(Composition):
    """Minus the bound of Nguyen, Wainwright and Jordan: linear in the near scores, exponential in the far ones.

    Without bias, and with a variance that grows as exp(2 I). The best critic is 1 + log p(x, y) / (p(x) p(y)).

    Shapes: two views (N, D). I >= -value, in nats. At chance (scores 0) 1 / e.

    >>> z = torch.eye(4)
    >>> round(float(NWJ()(z, z)), 6)                                           # -1 + e^-1
    -0.632121
    """

    formula: ClassVar[str] = "-mean_i f_i+ + mean_(i, j far) exp(f_ij - 1)"
    source: ClassVar[str] = "Nguyen et al. 2010; Poole et al. 2019, eq. 5 and 6"
    use: ClassVar[str] = "an unbiased bound on mutual information is wanted, above the log N at which `InfoNCE` stops"
    at_chance: ClassVar[str] = "exp(-1)"
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "both"

    similarity: Similarity = field(default_factory=Dot)
    temperature: float | LearnedTemperature = 1.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Mean near score, and mean exponential of the far ones."""
        near, far, weight = scores.reduce(Mean("near"), LogSumExp("far"), Count("far"))
        return {"attract": -near, "repel": (far - torch.where(weight > 0, weight, 1).log() - 1).exp()}


@entry
class DonskerVaradhan(Composition):
    """Minus the bound of Donsker and Varadhan: the logarithm of one mean exponential over all far pairs.

    Never looser than `NWJ` on the same scores, but biased in a batch: the mean stands inside the logarithm. Unchanged
    when a number is added to all scores.

    Shapes: two views (N, D). I >= -value, in nats. At chance 0.

    >>> z = torch.eye(4)
    >>> float(DonskerVaradhan()(z, z))                                         # -1 + log 1
    -1.0
    """

    formula: ClassVar[str] = "-mean_i f_i+ + log mean_(i, j far) exp(f_ij)"
    source: ClassVar[str] = "Donsker & Varadhan 1983; Belghazi et al. 2018 (MINE), eq. 10"
    use: ClassVar[str] = "as `NWJ`, with less variance and some bias"
    at_chance: ClassVar[str] = "0"
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "both"

    similarity: Similarity = field(default_factory=Dot)
    temperature: float | LearnedTemperature = 1.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Mean near score per anchor; the far pairs of all anchors that count share one logarithm."""
        near, far, weight = scores.reduce(Mean("near"), LogSumExp("far"), Count("far"))
        counted = (scores.near_count > 0) & (scores.far_count > 0)
        pairs = torch.where(counted, weight, 0).sum()
        every = torch.where(counted, far, -torch.inf).logsumexp(0) - torch.where(pairs > 0, pairs, 1).log()
        return {"attract": -near, "repel": every.expand_as(near)}


@entry
class JensenShannon(Composition):
    """The logistic objective whose bound is the Jensen-Shannon divergence between near and far pairs.

    -value + 2 log 2 is at most twice that divergence. The best critic is log p(x, y) / (p(x) p(y)), found with far less
    variance than by `NWJ`; the information is then read from it with `NWJ`.

    Shapes: two views (N, D). Value >= 0. At chance 2 log 2.

    >>> z = torch.eye(2)
    >>> round(float(JensenShannon()(z, z)), 6)                                 # log(1 + 1/e) + log 2
    1.006409
    """

    formula: ClassVar[str] = "mean_i softplus(-f_i+) + mean_(i, j far) softplus(f_ij)"
    source: ClassVar[str] = "Hjelm et al. 2019 (Deep InfoMax), eq. 4; Nowozin et al. 2016"
    use: ClassVar[str] = "a steady estimate of how much more likely a pair is than chance; stands for information"
    at_chance: ClassVar[str] = "2 * log(2)"
    equal_to: ClassVar[str] = "Logistic with the far pairs averaged in place of summed"
    layout: ClassVar[str] = "cross"
    needs: ClassVar[str] = "both"

    similarity: Similarity = field(default_factory=Dot)
    temperature: float | LearnedTemperature = 1.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Logistic loss of near and far pairs."""
        near, far = scores.reduce(Mean("near", of=Softplus(-1.0)), Mean("far", of=Softplus()))
        return {"attract": near, "repel": far}
