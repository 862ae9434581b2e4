"""Softmax over classes on the sphere: rows against one learned weight per class, with a margin for the own class.

The weights are handed over like a view, as proxies are: `loss(rows, weights, relation=to_proxies(labels, C))`. Rows of
items take the place of classes too: with several near candidates, each is told from the far ones by itself.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrast import Composition, LearnedTemperature, LogSumExp, Mean, Projection, Scores, Similarity, current, entry
from ..contrast.objective import Terms
from .metric import EXACT
from .ranking import turned


@entry
class NormalizedSoftmax(Composition):
    """Cross-entropy over classes of the cosines between a row and the weights of the classes.

    Rows of view 1 are the items, rows of view 2 the weights. Shapes: (N, D) and (C, D) with
    `relation=to_proxies(labels, C)`. Value >= 0; log C at chance and when all rows are equal.

    Args:
        norm: weight of the mean of (|z_i| - 1)^2, which keeps the rows themselves near the unit sphere. For classes
            that come later, enrolled by the mean of a few unit rows of each (`nearfar.evaluation.enrol`).

    >>> from nearfar.objectives import to_proxies
    >>> items, weights = torch.eye(4)[[0, 1, 1]], torch.eye(4)[:2]
    >>> loss = NormalizedSoftmax(temperature=0.5)(items, weights, relation=to_proxies(torch.tensor([0, 1, 1]), 2))
    >>> round(float(loss), 6)                                                  # log(1 + e^-2)
    0.126928
    """

    formula: ClassVar[str] = "mean_i [ log sum_c exp(s_ic / t) - s_ip / t ]  [+ norm mean_i (|z_i| - 1)^2]"
    source: ClassVar[str] = "Zhai & Wu 2019 (classification is a strong baseline); Wang et al. 2017 (NormFace)"
    use: ClassVar[str] = (
        "labels: the first choice with a weight per class, a classifier whose rows are compared by cosine"
    )
    at_chance: ClassVar[str] = "log(N)"
    equal_to: ClassVar[str] = "InfoNCE of rows and weights; ProxyNCA at twice the temperature"
    reconstructed: ClassVar[str] = "norm: it stands for a constraint on latent vectors (2021) that was not at hand"
    layout: ClassVar[str] = "cross"
    supervised: ClassVar[bool] = True

    temperature: float | LearnedTemperature = 0.05
    norm: float = 0.0

    def target(self, cosine: Tensor) -> Tensor:
        """What stands for the cosine with the own class."""
        return cosine

    def per_anchor(self, scores: Scores) -> Terms:
        """Softplus of what the other classes have ahead of the own one."""
        t = torch.as_tensor(current(self.temperature), dtype=scores.u.dtype, device=scores.u.device)
        (far,) = scores.reduce(LogSumExp("far"))

        def lost(s: Tensor, far: Tensor, t: Tensor) -> Tensor:
            return softplus(far - self.target(s * t) / t, threshold=EXACT)

        (value,) = scores.reduce(Mean("near", of=lost, given=(far, t)))
        return {"contrast": value, **self.norms(scores)}

    def norms(self, scores: Scores) -> Terms:
        """The term of the norms, where it is asked for."""
        if not self.norm:
            return {}
        return {"norms": self.norm * scores.of_anchors(lambda z: (z.norm(dim=1) - 1).square())}


@entry
class CosFace(NormalizedSoftmax):
    """Softmax over classes in which the own class must win by a margin in cosine.

    Args:
        margin: m, taken from the cosine with the own class.
        temperature: 1 / scale.

    Shapes as `NormalizedSoftmax`. Value >= 0; log(1 + (C - 1) exp(m / t)) at chance and when all rows are equal.

    >>> from nearfar.objectives import to_proxies
    >>> items, weights = torch.eye(4)[[0, 1, 1]], torch.eye(4)[:2]
    >>> loss = CosFace(temperature=0.5, margin=1.0)(items, weights, relation=to_proxies(torch.tensor([0, 1, 1]), 2))
    >>> round(float(loss), 6)                                                  # log 2: the lead is as the margin
    0.693147
    """

    formula: ClassVar[str] = "mean_i log(1 + sum_(c far) e^((s_ic - s_ip + m) / t))"
    source: ClassVar[str] = "Wang et al. 2018 (CosFace), eq. 4; pytorch-metric-learning CosFaceLoss"
    use: ClassVar[str] = "labels: faces and the like, many classes, verification by a threshold on the cosine"
    at_chance: ClassVar[str] = "log(1 + (N - 1) * exp(22.4))"
    equal_to: ClassVar[str] = "NormalizedSoftmax for margin 0"

    temperature: float | LearnedTemperature = 1 / 64
    margin: float = 0.35

    def target(self, cosine: Tensor) -> Tensor:
        """The cosine less the margin."""
        return cosine - self.margin


@entry
class ArcFace(CosFace):
    """Softmax over classes in which the own class must win by a margin in angle.

    The own cosine cos(theta) becomes cos(theta + margin), and cos(theta) - margin sin(margin) where theta + margin
    would pass pi.

    Args:
        margin: m in radians; 0.5 is 28.6 degrees.
        temperature: 1 / scale.

    Shapes as `NormalizedSoftmax`. Value >= 0.

    >>> from nearfar.objectives import to_proxies
    >>> items, weights = torch.eye(4)[[0, 1, 1]], torch.eye(4)[:2]
    >>> loss = ArcFace(temperature=0.5)(items, weights, relation=to_proxies(torch.tensor([0, 1, 1]), 2))
    >>> round(float(loss), 6)                                                  # log(1 + e^(-2 cos 0.5))
    0.159461
    """

    formula: ClassVar[str] = "mean_i log(1 + sum_(c far) e^((cos theta_ic - cos(theta_ip + m)) / t))"
    source: ClassVar[str] = "Deng et al. 2019 (ArcFace), eq. 3; pytorch-metric-learning ArcFaceLoss"
    use: ClassVar[str] = "as `CosFace`, with the same margin in angle for easy and for hard rows"
    at_chance: ClassVar[str] = "log(1 + (N - 1) * exp(30.683234))"
    equal_to: ClassVar[str] = "NormalizedSoftmax for margin 0"

    margin: float = 0.5

    def target(self, cosine: Tensor) -> Tensor:
        """The cosine of the angle and the margin."""
        beyond = cosine < -math.cos(self.margin)
        return torch.where(beyond, cosine - self.margin * math.sin(self.margin), turned(cosine, -self.margin))


@entry
class SphereFace(Composition):
    """Softmax over classes in which the angle to the own class counts m times; the length of a row is its scale.

    The own score |z| cos(theta) becomes |z| psi(theta), psi = (-1)^k cos(m theta) - 2k for theta in [k pi / m, (k + 1)
    pi / m], which falls from 1 to 1 - 2m.

    Args:
        angles: m, a whole number.

    Shapes as `NormalizedSoftmax`; lengths of rows matter, those of weights do not. Value >= 0.

    >>> from nearfar.objectives import to_proxies
    >>> items, weights = 2 * torch.eye(4)[[0, 1, 1]], torch.eye(4)[:2]
    >>> loss = SphereFace()(items, weights, relation=to_proxies(torch.tensor([0, 1, 1]), 2))
    >>> round(float(loss), 6)                                                  # log(1 + e^-2)
    0.126928
    """

    formula: ClassVar[str] = "mean_i log(1 + sum_(c far) e^(|z_i| (cos theta_ic - psi(theta_ip)) / t))"
    source: ClassVar[str] = "Liu et al. 2017 (SphereFace), eq. 7; pytorch-metric-learning SphereFaceLoss"
    use: ClassVar[str] = "as `ArcFace`, where rows should keep a length of their own; `CosFace` is easier to train"
    layout: ClassVar[str] = "cross"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=Projection)
    angles: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.angles != int(self.angles) or self.angles < 1:
            raise ValueError(f"angles counts an angle a whole number of times, at least once, got {self.angles!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Softplus of what the other classes have ahead of the own one."""
        t = torch.as_tensor(current(self.temperature), dtype=scores.u.dtype, device=scores.u.device)
        (far,) = scores.reduce(LogSumExp("far"))
        norms = scores.of_anchors(lambda z: z.norm(dim=1))

        def lost(s: Tensor, far: Tensor, norms: Tensor, t: Tensor) -> Tensor:
            scale = norms / t
            cosine = s / torch.where(scale > 0, scale, 1)
            return softplus(far - scale * self._falling(cosine), threshold=EXACT)

        (value,) = scores.reduce(Mean("near", of=lost, given=(far, norms, t)))
        return {"contrast": value}

    def _falling(self, cosine: Tensor) -> Tensor:
        """psi of the angle; cos(m theta) by the recurrence of Chebyshev, which has a slope everywhere."""
        before, multiple = torch.ones_like(cosine), cosine
        for _ in range(int(self.angles) - 1):
            before, multiple = multiple, 2 * cosine * multiple - before
        k = (cosine.detach().clamp(-1, 1).acos() * self.angles / math.pi).floor()
        return (1 - 2 * (k % 2)) * multiple - 2 * k
