"""Corrections of the softmax objectives: what stands in the denominator, and how far candidates are weighted."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import Composition, Count, LearnedTemperature, LogSumExp, Mean, Scores, current, entry
from ..contrast.objective import Terms


def _log(weight: Tensor) -> Tensor:
    """The logarithm of a sum of weights; 0 over nothing."""
    return torch.where(weight > 0, weight, 1).log()


@entry
class DCL(Composition):
    """Decoupled contrast: the near candidate is left out of the denominator, which helps small batches.

    Shapes: as `NTXent`. Unbounded below; at chance log(far candidates). Anchors count when they have near and far
    candidates.

    >>> z = torch.eye(4)
    >>> round(float(DCL(temperature=0.5)(z, z)), 6)                            # log 6 - 2
    -0.208241
    """

    formula: ClassVar[str] = "mean_i [ log sum_(j far) exp(s_ij / t) - mean_(p near) s_ip / t ]"
    source: ClassVar[str] = "Yeh et al. 2021, eq. 6"
    use: ClassVar[str] = "as `NTXent`, for small batches: the near row does not stand in the denominator"
    at_chance: ClassVar[str] = "log(2 * N - 2)"
    equal_to: ClassVar[str] = "NTXent is softplus(DCL) per anchor, for two views"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 0.1

    def weights(self, near: Tensor, counted: Tensor) -> Tensor | float:
        """Weight of the attraction of every anchor, from its near similarity and whether it counts."""
        return 1.0

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction to the near candidates, repulsion from the far ones only."""
        far, near = scores.reduce(LogSumExp("far"), Mean("near"))
        counted = (scores.near_count > 0) & (scores.far_count > 0)
        return {"attract": -self.weights(near * current(self.temperature), counted) * near, "repel": far}


@entry
class DCLW(DCL):
    """Decoupled contrast with weights: pairs that already agree attract less.

    w_i = 2 - N softmax_i(s_ii+ / sigma) over the N anchors that count, of mean 1. The reference code lets the gradient
    through the weights, lightly detaches them; `detach` chooses. Shapes and value at chance as `DCL`.

    Args:
        sigma: width of the weights, on the scale of the similarity.
        detach: take the weights as constants.

    >>> z = torch.eye(4)
    >>> bool(torch.isclose(DCLW()(z, z), DCL()(z, z)))                         # equal agreement, equal weights
    True
    """

    formula: ClassVar[str] = "mean_i [ log sum_(j far) exp(s_ij / t) - w_i mean_(p near) s_ip / t ]"
    source: ClassVar[str] = "Yeh et al. 2021, eq. 8; raminnakhli/Decoupled-Contrastive-Learning"
    use: ClassVar[str] = "as `DCL`, with less pull on pairs that agree already"
    at_chance: ClassVar[str] = "log(2 * N - 2)"
    equal_to: ClassVar[str] = "DCL when all near pairs score the same"

    sigma: float = 0.5
    detach: bool = False

    def weights(self, near: Tensor, counted: Tensor) -> Tensor:
        """2 - N softmax(s / sigma)."""
        logits = (near / self.sigma).masked_fill(~counted, torch.finfo(near.dtype).min)
        weights = 2 - counted.sum() * torch.softmax(logits, 0)
        return weights.detach() if self.detach else weights


@entry
class Debiased(Composition):
    """NT-Xent with the far term corrected for far candidates that are of the anchor's own class.

    With M far candidates, p = exp(s_i+ / t) and S = sum_far exp(s / t):
    Ng = max((S - tau M p) / (1 - tau), M exp(-1 / t)), and the value is -log(p / (p + Ng)). Of several near candidates
    Ng takes the mean exponential, as in the paper, and the ratio the exponential of the mean score, as in `NTXent`.

    Args:
        tau: the probability that a far candidate is of the anchor's class, in [0, 1).

    Shapes: as `NTXent`. At chance log(1 + M); the floor M exp(-1/t) is that of the cosine.

    >>> z = torch.eye(4)
    >>> bool(torch.isclose(Debiased(tau=0.0, temperature=0.5)(z, z), torch.tensor(0.594438)))
    True
    """

    formula: ClassVar[str] = "mean_i [ log(p_i + Ng_i) - s_i+ / t ],  Ng = max((S - tau M p) / (1 - tau), M e^(-1/t))"
    source: ClassVar[str] = "Chuang et al. 2020, eq. 8; chingyaoc/DCL main.py"
    use: ClassVar[str] = "few classes, so that many far rows are of the anchor's own class; `tau` is how many"
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "NTXent for tau = 0"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 0.5
    tau: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tau < 1:
            raise ValueError(f"tau is a probability in [0, 1), got {self.tau}")

    def far_sums(self) -> tuple[LogSumExp, ...]:
        """The statistics of the far candidates."""
        return (LogSumExp("far"),)

    def log_far(self, sums: list[Tensor], log_m: Tensor) -> Tensor:
        """log S from these statistics; -inf without far candidates."""
        return sums[0]

    def per_anchor(self, scores: Scores) -> Terms:
        """softplus(log Ng - s_i+ / t)."""
        log_near, near, near_weight, far_weight, *sums = scores.reduce(
            LogSumExp("near"), Mean("near"), Count("near"), Count("far"), *self.far_sums()
        )
        log_m, log_p = _log(far_weight), log_near - _log(near_weight)
        far = self.log_far(sums, log_m)
        # (S - tau M p) / (1 - tau) = S (1 - tau e^(log M + log p - log S)) / (1 - tau); the exponent is cut where the
        # bracket is negative anyway, and the logarithm is only taken where the bracket is positive.
        exponent = torch.where(far == -math.inf, -math.inf, log_m + log_p - far)
        bracket = 1 - self.tau * exponent.clamp_max(30).exp() if self.tau else torch.ones_like(far)
        positive = ~(bracket <= 0)  # not a number passes, to be seen in the value
        log_ng = far + torch.where(positive, bracket, 1).log() - math.log1p(-self.tau)
        floor = log_m - 1 / torch.as_tensor(current(self.temperature), dtype=far.dtype, device=far.device)
        log_ng = torch.maximum(torch.where(positive, log_ng, -math.inf), floor)
        return {"contrast": softplus(log_ng - near)}


@entry
class HardNegative(Debiased):
    """Debiased contrast whose far candidates are weighted by their hardness (HCL).

    S = M sum_far exp((1 + beta) s / t) / sum_far exp(beta s / t): far candidates count in proportion to exp(beta s /
    t). The weights are not detached, as in the official code, where beta multiplies s / t.

    Args:
        beta: how much harder candidates count more; 0 gives `Debiased`.
        tau: as in `Debiased`.

    Shapes and value at chance as `Debiased`.

    >>> z = torch.eye(4)
    >>> bool(torch.isclose(HardNegative(beta=0.0)(z, z), Debiased()(z, z)))
    True
    """

    formula: ClassVar[str] = "Debiased with S = M sum_far e^((1+beta) s/t) / sum_far e^(beta s/t)"
    source: ClassVar[str] = "Robinson et al. 2021, eq. 4; joshr17/HCL main.py"
    use: ClassVar[str] = "as `Debiased`, with more weight on far rows that look near"
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "Debiased for beta = 0; NTXent for beta = tau = 0"

    beta: float = 1.0

    def far_sums(self) -> tuple[LogSumExp, ...]:
        """Numerator and denominator of the weighted mean."""
        return LogSumExp("far", scale=1 + self.beta), LogSumExp("far", scale=self.beta)

    def log_far(self, sums: list[Tensor], log_m: Tensor) -> Tensor:
        """log S reweighted."""
        hard, plain = sums
        return torch.where(plain == -math.inf, -math.inf, hard - plain) + log_m
