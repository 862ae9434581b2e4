"""Objectives that weigh anchors or candidates by what the softmax already says of them."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import Composition, LearnedTemperature, LogSumExp, Mean, Scores, current, entry
from ..contrast.objective import Terms

MILLION = 10**6


@entry
class MACL(Composition):
    """NT-Xent whose temperature follows how well the batch is aligned, with equal pull on all near rows.

    The temperature is t0 (1 + alpha (A - A0)), where A is the mean similarity of the near pairs of the batch: low while
    they disagree, so that hard far rows count most, and higher once they agree. Each anchor's value is divided by
    1 - p, p the share of its near candidate in the softmax; the gradient on its near score is then -1 / t for every
    anchor, where NT-Xent pulls less the smaller the batch is. A and the weights take no gradient.

    Shapes: as `NTXent`; of several near candidates the mean score stands for the pair. Value >= 1 with one far
    candidate or more; at chance log(2 N - 1) (2 N - 1) / (2 N - 2). Anchors count when they have near and far
    candidates.

    Args:
        temperature: t0, the temperature at A = A0.
        alpha: how much the temperature follows, in [0, 1 / (1 + A0)), so that it stays above 0.
        aligned: A0.

    >>> z = torch.eye(4)
    >>> loss = MACL(temperature=0.5, alpha=0.0)(z, z)
    >>> round(float(loss), 6)                                   # l / (1 - e^-l) with l = log(e^2 + 6) - 2
    1.326493
    """

    formula: ClassVar[str] = (
        "mean_i l_i / (1 - e^(-l_i)),  l_i = log sum_(j != i) exp((s_ij - s_ip) / t),  t = t_0 (1 + alpha (A - A_0))"
    )
    source: ClassVar[str] = "Huang et al. 2022, Model-Aware Contrastive Learning; chenhaoxing/MACL macl.py"
    use: ClassVar[str] = "as `NTXent`, when the best temperature is not known, or batches are small"
    at_chance: ClassVar[str] = "log(2 * N - 1) * (2 * N - 1) / (2 * N - 2)"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 0.1
    alpha: float = 0.5
    aligned: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.aligned > -1 and 0 <= self.alpha < 1 / (1 + self.aligned)):
            raise ValueError(
                f"alpha must be in [0, 1 / (1 + aligned)) and aligned above -1, or the temperature would reach 0; got "
                f"alpha {self.alpha} and aligned {self.aligned}"
            )

    def per_anchor(self, scores: Scores) -> Terms:
        """-log p over 1 - p, at the temperature of the batch."""
        (near,) = scores.reduce(Mean("near"))
        counted = (scores.near_count > 0) & (scores.far_count > 0)
        with torch.no_grad():
            similarity = torch.where(counted, near * current(self.temperature), 0).sum() / counted.sum().clamp_min(1)
            rate = 1 / (1 + self.alpha * (similarity - self.aligned))
        (far,) = scores.reduce(LogSumExp("far", of=lambda s, rate: s * rate, given=(rate,)))
        gap = far - near * rate  # -log p = softplus(gap), 1 - p = sigmoid(gap): exact for any p
        weight = 1 / gap.detach().sigmoid().clamp_min(1e-8)
        return {"contrast": weight * softplus(gap)}


@entry
class Encouraging(Composition):
    """NT-Xent with a bonus that keeps rewarding anchors which find their near row already.

    With p the share of the near candidate in the softmax, log(1 - p) is added to -log p: the gradient on the near score
    is then -1 / t, however large p is. Above `limit` the bonus goes on along its tangent, so that the value stays
    bounded.

    Shapes: as `NTXent`; of several near candidates the mean score stands for the pair. Value >= log(1 - limit) - 1 for
    limit < 1, unbounded below for limit = 1; at chance log(2 N - 2). Anchors count when they have near and far
    candidates.

    Args:
        limit: the share p up to which the bonus is log(1 - p), in (0, 1].

    >>> z = torch.eye(4)
    >>> round(float(Encouraging(temperature=0.5, limit=1.0)(z, z)), 6)         # DCL: log 6 - 2
    -0.208241
    """

    formula: ClassVar[str] = (
        "mean_i [ -log p_i + log(1 - p_i) ],  p_i = e^(s_i+ / t) / sum_(j != i) e^(s_ij / t); tangent for p > limit"
    )
    source: ClassVar[str] = (
        "Zhao et al. 2022, Well-classified Examples are Underestimated; lancopku/"
        "well-classified-examples-are-underestimated EncouragingLoss.py"
    )
    use: ClassVar[str] = "as `NTXent`, when anchors that are told apart already should still be pulled"
    at_chance: ClassVar[str] = "log(2 * N - 2)"
    equal_to: ClassVar[str] = "DCL for limit = 1"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 0.1
    limit: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.limit <= 1:
            raise ValueError(f"limit is a probability in (0, 1], got {self.limit}")

    def per_anchor(self, scores: Scores) -> Terms:
        """-log p plus the bonus."""
        far, near = scores.reduce(LogSumExp("far"), Mean("near"))
        gap = far - near  # -log p + log(1 - p)
        if self.limit == 1:
            return {"contrast": gap}
        room, p = 1 - self.limit, (-gap).sigmoid()
        tangent = softplus(gap) + math.log(room) - (p - self.limit) / room
        return {"contrast": torch.where(p <= self.limit, gap, tangent)}


@entry
class HardContrastive(Composition):
    """NT-Xent against the hardest far candidates of each anchor only.

    Hard are those of a similarity of at least `threshold`, or, without one, the nearest 1 - `quantile` of them: all but
    the floor(quantile x number) farthest. Candidates that tie with the last one are kept. A quantile asks for whole
    rows of scores, a threshold for one sweep. The choice itself has no gradient.

    Shapes: as `NTXent`; of several near candidates the mean score stands for the pair. Value >= 0; an anchor whose far
    candidates are all below the threshold has the value 0; at chance all tie, so log(2 N - 1).

    Args:
        quantile: in [0, 1); the share of the far candidates that is left out.
        threshold: similarity, before the temperature, from which far candidates count; in place of the quantile.

    >>> z = torch.eye(4)
    >>> round(float(HardContrastive(temperature=0.5)(z, z)), 6)                # all tie: log(e^2 + 6) - 2
    0.594438
    >>> float(HardContrastive(threshold=0.5)(z, z))                            # nobody is hard
    0.0
    """

    formula: ClassVar[str] = "mean_i log(1 + sum_(j far and hard) exp((s_ij - s_i+) / t))"
    source: ClassVar[str] = "Wang & Liu 2021, Understanding the Behaviour of Contrastive Loss, section 3.3"
    use: ClassVar[str] = "as `NTXent`, to spread hard far rows at a temperature that tolerates the others"
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "NTXent for quantile = 0, for two views"
    needs: ClassVar[str] = "both"

    temperature: float | LearnedTemperature = 0.3
    quantile: float = 0.9
    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantile < 1:
            raise ValueError(f"quantile is a share in [0, 1), got {self.quantile}")

    def per_anchor(self, scores: Scores) -> Terms:
        """softplus(log-sum-exp of the hard ones - near)."""
        if self.threshold is None:
            (near,) = scores.reduce(Mean("near"))
            (far,) = scores.rows(self._hardest)
            return {"contrast": softplus(far - near)}
        limit = torch.as_tensor(self.threshold / current(self.temperature)).detach().to(scores.u)

        def hard(s: Tensor, limit: Tensor) -> Tensor:
            return s.masked_fill(s < limit, -math.inf)

        near, far = scores.reduce(Mean("near"), LogSumExp("far", of=hard, given=(limit,)))
        return {"contrast": softplus(far - near)}

    def _hardest(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor]:
        """Log-sum-exp over the far candidates from the quantile on."""
        number = (far > 0).sum(1, keepdim=True)
        kept = number - number * round(self.quantile * MILLION) // MILLION  # whole numbers: 0.7 of 10 is 7
        ordered = torch.where(far > 0, s.detach(), -math.inf).sort(1, descending=True).values
        limit = ordered.gather(1, (kept - 1).clamp_min(0))
        # Equal similarities are equal up to rounding only.
        left_out = (far == 0) | (s.detach() < limit - 8 * torch.finfo(s.dtype).eps * limit.abs().clamp_min(1))
        return ((s + far.log()).masked_fill(left_out, -math.inf).logsumexp(1),)


@entry
class EasySupCon(Composition):
    """Supervised contrast that believes what is easy: the gradient of a near pair of probability p counts q p^q.

    An encoder trained by it keeps to features that come early, such as a colour that goes with nearly every class: its
    vectors show which items contradict them (see `nearfar.models.contradicting`). As q falls, the value divided by q
    tends to that of `SupCon`. The published code has -q p^q log p with the weight detached: another value with the same
    gradients.

    Shapes: views (N, D) with labels (N,), or (R, D) with labels (R,). Value in [0, 1]; at chance 1 - (R - 1)^-q.
    Anchors without a near candidate do not count.

    Args:
        q: how much easy pairs are preferred, above 0; at 1 the value is 1 - p.

    >>> z, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> round(float(EasySupCon()(z, labels=y)), 6)              # every pair has the probability 1/3
    0.536531
    """

    formula: ClassVar[str] = "mean_i mean_(p near) [ 1 - (exp(s_ip / t) / sum_(j != i) exp(s_ij / t))^q ]"
    source: ClassVar[str] = "Hwang et al. 2022 (SelecMix), section 3.3; bluemoon010/SelecMix module/loss.py"
    use: ClassVar[str] = "labels, and a biased encoder is wanted that shows which items contradict a shortcut"
    at_chance: ClassVar[str] = "1 - (2 * N - 1) ** -0.7"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 0.2
    q: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.q <= 0:
            raise ValueError(f"q must be above 0, got {self.q}; as it falls the gradients become those of SupCon")

    def per_anchor(self, scores: Scores) -> Terms:
        """1 - p^q, whose slope in log p is -q p^q."""
        (every,) = scores.reduce(LogSumExp("any"))
        # No near pair scores above all together, but for rounding; what does is no candidate.
        (value,) = scores.reduce(Mean("near", of=lambda s, t: -(self.q * (s - t).clamp(max=1)).expm1(), given=(every,)))
        return {"contrast": value}
