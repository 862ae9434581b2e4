"""Golden fixture G, values measured on it with official code or written out by hand, and values in closed form.

`GOLDEN[variant]` lists (call, loss, |d loss / d A|, |d loss / d B|); None where the fixture has ties and only the loss
is sure. The call is a function of (objective, A, B, strategy) or "views" (two views, no labels), "labels" (two views
with labels Y), "one way" (A against A and B, self ignored), "three views" (A, B and C), "prototypes" (the cosines of
both views with the prototypes P), or "items and proxies" and "proxies and items" (the rows of both views with labels Y,
and P as one proxy per class).

`CHANCE` and `COLLAPSED` are functions of (N, D) for two views; None: the value is not defined and `inspect` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Call = str | Callable[..., Tensor]

A = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.float64)
B = torch.tensor([[2, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]], dtype=torch.float64)
C = torch.tensor([[1, 0, 1], [1, 2, 0], [0, 1, 1], [2, 1, 1]], dtype=torch.float64)
Y = torch.tensor([0, 0, 1, 1])
P = torch.tensor([[1, 0, 0], [0, 1, 1]], dtype=torch.float64)


def without_ties(objective: Callable[..., Tensor], a: Tensor, b: Tensor, **how: Any) -> Tensor:
    """Rows near those of G whose distances all differ."""
    first = torch.tensor([[3, 1, 0], [0, 2, 1], [1, 0, 4], [1, 5, 1]], dtype=torch.float64)
    second = torch.tensor([[2, 1, 1], [1, 3, 1], [1, 0, 2], [1, 2, 2]], dtype=torch.float64)
    return objective(a * 0 + first, b * 0 + second, labels=Y, **how)


GOLDEN: dict[str, list[tuple[Call, float, float | None, float | None]]] = {
    "ContrastiveMargin": [("labels", 1.285969, 0.207542, 0.172206)],
    "ContrastiveMargin pairs": [("labels", 0.255549, None, None)],
    "TripletAll": [("labels", 0.513520, None, None)],
    "TripletAll triplets": [("labels", 0.342346, None, None)],
    "TripletAll soft": [("labels", 0.740560, 0.086120, 0.059968)],
    "TripletHard": [("labels", 0.928484, None, None)],
    "TripletHard soft": [("labels", 1.127728, None, None)],
    # On G many near and far distances are equal, and which is larger is up to rounding; so, in fractions, without ties.
    "TripletSemiHard": [(without_ties, 0.155803, None, None)],
    "NPair": [("views", 0.924911, 0.459173, 0.305345)],
    # .924911 + 0.1 (mean |A|^2 + mean |B|^2) = .924911 + 0.1 (5/4 + 18/4)
    "NPair l2": [("views", 1.499911, None, None)],
    "Logistic": [("views", 3.160042, 0.573802, 0.266169)],
    "SigLIP": [("views", 1.988127, 2.107901, 1.454606)],
    "SigLIP fixed": [("views", 1.988127, 2.107901, 1.454606)],
    "InfoNCE": [("views", 0.923864, 0.355989, 0.289764)],
    "SymmetricInfoNCE": [("views", 0.922972, 0.346286, 0.291255)],
    "SymmetricInfoNCE learned": [("views", 0.922972, 0.346286, 0.291255)],
    "NTXent": [("views", 1.387411, 0.372360, 0.355833)],
    "NTXent learned": [("views", 1.387411, 0.372360, 0.355833)],
    "SupCon": [("labels", 2.168799, 0.279090, 0.173761), ("views", 1.387411, 0.372360, 0.355833)],
    "SupCon inside": [("labels", 1.976942, 0.150775, 0.169360)],
    "SupCon exclusive": [("labels", 1.824970, 0.313843, 0.224399)],
    "PolyView": [("three views", 1.969236, 0.104143, 0.222829), ("views", 1.387411, 0.372360, 0.355833)],
    "PolyView arithmetic": [("three views", 1.959436, 0.084959, 0.216198), ("views", 1.387411, 0.372360, 0.355833)],
    # By hand, the mean of the other two unit rows for the near one.
    "PolyView sufficient": [("three views", 1.967470, None, None), ("views", 1.387411, 0.372360, 0.355833)],
    "DCL": [("one way", 0.948004, 0.671598, 0.413425), ("views", 1.086262, None, None)],
    "DCLW": [("one way", 0.970177, 0.740550, None)],
    "DCLW detached": [("one way", 0.970177, 0.703110, None)],
    "Debiased": [("views", 1.292753, 0.451043, 0.429355)],
    "Debiased tau 0": [("views", 1.387411, 0.372360, 0.355833)],
    "HardNegative": [("views", 1.525526, 0.499092, 0.463860)],
    "HardNegative tau 0": [("views", 1.581701, 0.426414, 0.396512)],
    "ProxyNCA": [("items and proxies", 1.518708, 1.073157, 0.542401)],
    "ProxyNCA original": [("items and proxies", -0.760584, 1.673450, 0.926085)],
    "ProxyAnchor": [("proxies and items", 32.470571, 11.199502, 5.543864)],
    "AlignUniform": [("views", -1.461964, 0.907522, 0.606321)],
    # uniformity -1.461964 - .319007 of the card, and mean distance (.459506 + .765367 + .459506 + .517638) / 4 by hand
    "AlignUniform alpha 1": [("views", -1.230467, None, None)],
    "Spectral": [("views", -1.418493, 0.466569, 0.366922)],
    "Spectral mu 3": [("views", -0.697729, 0.392324, 0.240507)],
    "BarlowTwins": [("views", 0.216332, 0.642628, 0.445329)],
    "BarlowTwins scaled": [("views", 0.0216332, 0.0642628, 0.0445329)],
    "VICReg": [("views", 22.665822, 11.996683, 9.848474)],
    "VICReg paper": [("views", 59.729792, None, None)],
    "CosineRegression": [("views", 0.319007, 0.506211, 0.0)],
    "CosineRegression cosine": [("views", -0.840497, 0.253106, 0.0)],
    "CosineRegression both ways": [("views", 0.319007, 0.506211, None)],
    # The card's .390524 is at eps = 0, see test_whitening.py; this one is of numpy's Cholesky on (1 - eps) cov + eps I.
    "WMSE": [("views", 0.390641, None, None)],
    "WMSE blocks": [("views", 0.737958, None, None)],
    "SwappedPrediction": [("prototypes", 1.073318, 1.339172, 0.404494)],
    # The matrix form of the paper by hand, three rounds at epsilon = .5.
    "SwappedPrediction warm": [("prototypes", 0.644074, None, None)],
    "SelfDistillation": [("views", 1.423361, 2.499830, 0.0)],
}

Closed = Callable[[int, int], float] | None


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def constant(value: float) -> Closed:
    return lambda n, d: value


def items(n: int, d: int) -> float:
    return math.log(n)


def others(n: int, d: int) -> float:
    return math.log(2 * n - 1)


def far_ones(n: int, d: int) -> float:
    return math.log(2 * n - 2)


CHANCE: dict[str, Closed] = {
    "ContrastiveMargin": constant(math.sqrt(2)),
    "ContrastiveMargin pairs": lambda n, d: 1 / (2 * n - 1),
    "TripletAll": constant(0.2),
    "TripletAll triplets": constant(0.2),
    "TripletAll soft": constant(math.log(2)),
    "TripletHard": constant(0.2),
    "TripletHard soft": constant(math.log(2)),
    "TripletSemiHard": constant(0.2),
    "NPair": items,
    "NPair l2": lambda n, d: math.log(n) + 0.2,
    "Logistic": lambda n, d: n * math.log(2),
    "SigLIP": lambda n, d: softplus(10) + (n - 1) * softplus(-10),
    "SigLIP fixed": lambda n, d: softplus(10) + (n - 1) * softplus(-10),
    "InfoNCE": items,
    "SymmetricInfoNCE": items,
    "SymmetricInfoNCE learned": items,
    "NTXent": others,
    "NTXent learned": others,
    "SupCon": others,
    "SupCon inside": others,
    "SupCon exclusive": others,
    "PolyView": others,
    "PolyView arithmetic": others,
    "PolyView sufficient": others,
    "DCL": far_ones,
    "DCLW": far_ones,
    "DCLW detached": far_ones,
    "Debiased": others,
    "Debiased tau 0": others,
    "HardNegative": others,
    "HardNegative tau 0": others,
    "ProxyNCA": items,
    "ProxyNCA original": lambda n, d: math.log(n - 1),
    "ProxyAnchor": lambda n, d: softplus(3.2) + math.log(1 + (n - 1) * math.exp(3.2)),
    "AlignUniform": None,
    "AlignUniform alpha 1": None,
    "Spectral": constant(0.0),
    "Spectral mu 3": constant(0.0),
    "BarlowTwins": None,
    "BarlowTwins scaled": None,
    "VICReg": None,
    "VICReg paper": None,
    "CosineRegression": constant(2.0),
    "CosineRegression cosine": constant(0.0),
    "CosineRegression both ways": constant(2.0),
    "WMSE": None,
    "WMSE blocks": None,
    "SwappedPrediction": None,
    "SwappedPrediction warm": None,
    "SelfDistillation": None,
}

COLLAPSED: dict[str, Closed] = {
    **CHANCE,
    "ContrastiveMargin": constant(1.0),
    "ContrastiveMargin pairs": lambda n, d: (2 * n - 2) / (2 * n - 1) / 2,
    "NPair": None,
    "NPair l2": None,
    "Logistic": lambda n, d: softplus(-1) + (n - 1) * softplus(1),
    "SigLIP": lambda n, d: n * math.log(2),
    "SigLIP fixed": lambda n, d: n * math.log(2),
    "ProxyAnchor": lambda n, d: softplus(-28.8) + math.log(1 + (n - 1) * math.exp(35.2)),
    "AlignUniform": constant(0.0),
    "AlignUniform alpha 1": constant(0.0),
    "Spectral": None,
    "Spectral mu 3": None,
    "BarlowTwins": lambda n, d: float(d),
    "BarlowTwins scaled": lambda n, d: 0.1 * d,
    "VICReg": constant(24.75),
    "VICReg paper": constant(49.5),
    "CosineRegression": constant(0.0),
    "CosineRegression cosine": constant(-1.0),
    "CosineRegression both ways": constant(0.0),
    "WMSE": constant(2.0),
    "WMSE blocks": constant(2.0),
}


def orthonormal(n: int, width: int | None = None) -> Tensor:
    return torch.eye(n, width or n, dtype=torch.float64)


def simplex(n: int) -> Tensor:
    """Corners of the regular simplex: all cosines are -1 / (n - 1)."""
    return torch.nn.functional.normalize(torch.eye(n, dtype=torch.float64) - 1 / n, dim=1)
