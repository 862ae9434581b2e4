"""Objectives of energies: kernels of distances, averaged over pairs, without a logarithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, LearnedTemperature, Mean, NegativeSquaredEuclidean, Scores, Similarity, entry
from ..contrast.objective import Terms

# Of scores -d^2 / t; each is 1 at distance 0, but for the logarithm, which is 0 there.
KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": torch.exp,
    "logarithm": lambda s: -(1 - s).log(),
    "inverse": lambda s: (1 - s).rsqrt(),
}


@entry
class KCL(Composition):
    """Near rows should have a large kernel, rows of other items in the same view a small one (kernel contrast).

    Both are plain means over pairs, so that the expected value does not depend on the batch size, and every batch gives
    an unbiased estimate of it. With x = d^2 / t the kernels are

    - "gaussian": exp(-x);
    - "logarithm": -log(1 + x);
    - "inverse": 1 / sqrt(1 + x), the inverse multiquadric.

    Shapes: two or more views (N, D), or one (R, D) with ids, which is one view. With the Gaussian kernel the value is
    in [-2, 2 gamma]; at chance (2 gamma - 2) exp(-2 / t), when all rows are equal 2 gamma - 2.

    Args:
        temperature: t; the paper's Gaussian exp(-2 d^2) is 1/2.
        gamma: weight of the energy of each view.
        kernel: "gaussian", "logarithm" or "inverse".

    >>> import torch
    >>> z = torch.eye(4)
    >>> round(float(KCL()(z, z)), 6)                            # -2 + 32 e^-4
    -1.413899
    """

    formula: ClassVar[str] = "mean_i [ -2 mean_(p near) k(d_ip^2 / t) + 2 gamma mean_(j far) k(d_ij^2 / t) ]"
    source: ClassVar[str] = "Koromilas et al. 2024, Bridging Mini-Batch and Asymptotic Analysis; pakoromilas/DHEL-KCL"
    use: ClassVar[str] = "small batches, whose value should be that of large ones; the kernel says how far rows push"
    at_chance: ClassVar[str] = "30 * exp(-4)"
    reconstructed: ClassVar[str] = "the scales of the kernels other than the Gaussian"
    layout: ClassVar[str] = "apart"
    needs: ClassVar[str] = "both"

    similarity: Similarity = field(default_factory=NegativeSquaredEuclidean)
    temperature: float | LearnedTemperature = 0.5
    gamma: float = 16.0
    kernel: str = "gaussian"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be 'gaussian', 'logarithm' or 'inverse', got {self.kernel!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction to the near rows, energy of the own view."""
        kernel = KERNELS[self.kernel]
        near, far = scores.reduce(Mean("near", of=kernel), Mean("far", of=kernel))
        return {"attract": -2 * near, "spread": 2 * self.gamma * far}
