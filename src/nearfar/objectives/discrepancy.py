"""How far apart two sets of rows are: regularisers that let classes or domains keep no more than they should."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import (
    Composition,
    KeyRelation,
    Mean,
    NegativeSquaredEuclidean,
    Scores,
    Similarity,
    Strategy,
    Sum,
    entry,
)
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective, Terms

BANDWIDTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)


def split_domains(domains: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Which rows (N,) go into the first of two mixtures: of every domain, its rows up to a place drawn at random.

    With rows in random order this is a random part of each. A penalty between the mixtures, such as `MMD` of
    `z[first], z[~first]`, is small when no direction tells the domains apart. The second mixture is never empty, the
    first may be. Source: Chevalley et al. 2022 (CausIRL); facebookresearch/DomainBed algorithms.py, AbstractCausIRL.

    >>> first = split_domains(torch.tensor([0, 0, 0, 1, 1]), torch.Generator().manual_seed(1))
    >>> first.shape, bool((~first).any())
    (torch.Size([5]), True)
    """
    first = torch.zeros(len(domains), dtype=torch.bool, device=domains.device)
    for domain in domains.unique():
        rows = (domains == domain).nonzero().squeeze(1)
        cut = int(torch.randint(len(rows), (), generator=generator))
        first[rows[:cut]] = True
    return first


@entry
class EnergyConfusion(Composition):
    """Pulls classes together a little: the mean squared distance over all pairs of different classes.

    Added to another objective with a small weight, it keeps the metric from fitting the classes of training alone.
    Of two classes it is |mean - mean'|^2 plus the traces of both (biased) covariances.

    Shapes: (R, D) with labels, or views (N, D). Value in [0, 4] on unit rows; at chance 2, all rows equal 0.

    >>> z, y = torch.tensor([[1.0, 0], [-1, 0], [0, 1]]), torch.tensor([0, 1, 1])
    >>> round(float(EnergyConfusion()(z, labels=y)), 4)                        # (4 + 2) / 2
    3.0
    """

    formula: ClassVar[str] = "mean_(i, j far) |z_i - z_j|^2"
    source: ClassVar[str] = "Chen & Deng 2019 (ECAML)"
    use: ClassVar[str] = "a regulariser: labels, and the classes to be found later are not those of training"
    reconstructed: ClassVar[str] = "unit rows, and an even mean over all pairs of classes"
    at_chance: ClassVar[str] = "2"
    needs: ClassVar[str] = "any"
    supervised: ClassVar[bool] = True

    similarity: Similarity = field(default_factory=NegativeSquaredEuclidean)

    def per_anchor(self, scores: Scores) -> Terms:
        """Distances to the far rows; every pair counts once, not every anchor."""
        (far,) = scores.reduce(Mean("far"))
        return {"confuse": (-far, scores.far_count)}


@entry
class TwoSample(Objective):
    """Base of penalties between two samples (N, D) and (M, D), whose rows do not match."""

    def penalty(self, a: Tensor, b: Tensor, strategy: Strategy) -> Tensor:
        """The scalar penalty of all rows."""
        raise NotImplementedError

    def forward(self, *views: Tensor, strategy: str | Strategy | None = None) -> Tensor:
        """The scalar value of two samples."""
        name, chosen = type(self).__name__, self.chosen(strategy)
        rows = [self.together(view, strategy) for view in check_views(name, views)]
        if len(rows) != 2 or min(map(len, rows)) < 2:
            raise ValueError(f"{name} compares two samples of 2 or more rows, got {[len(r) for r in rows]} rows")
        with torch.autocast(rows[0].device.type, enabled=False):
            return self.penalty(rows[0], rows[1], Strategy() if chosen.spread else chosen)  # all rows are here by now

    def inspect(self, *views: Tensor, strategy: str | Strategy | None = None) -> Inspection:
        """The value; there are no pairs and no per-anchor values."""
        total = self(*views, strategy=strategy)
        return Inspection(total, {"discrepancy": total}, collapsed=0.0)


@entry
class MMD(TwoSample):
    """Squared maximum mean discrepancy of two samples, for a sum of Gaussian kernels of seven widths.

    Biased: a row is compared with itself too, so that equal samples give exactly 0. Streams over pairs.

    Shapes: (N, D) and (M, D), raw rows, two or more each. Value >= 0, at most twice the number of kernels.

    Args:
        bandwidths: g of the kernels exp(-g d^2).

    >>> z = torch.eye(3)
    >>> abs(float(MMD()(z, z))) < 1e-6
    True
    """

    formula: ClassVar[str] = "mean k(a, a') + mean k(b, b') - 2 mean k(a, b),  k(d) = sum_g exp(-g d^2)"
    source: ClassVar[str] = "Gretton et al. 2012, eq. 5; Chevalley et al. 2022; DomainBed algorithms.py"
    use: ClassVar[str] = "a regulariser: two samples (domains, or mixtures by `split_domains`) should not differ"
    compares: ClassVar[str] = "Gaussian kernels of distances"
    near: ClassVar[str] = "rows of the other sample"
    far: ClassVar[str] = "rows of the same sample"
    at_chance: ClassVar[str] = ""
    cost: ClassVar[str] = "three sweeps over tiles: all pairs within both samples and between them, seven kernels each"

    bandwidths: tuple[float, ...] = BANDWIDTHS

    def __post_init__(self) -> None:
        if not self.bandwidths or min(self.bandwidths) <= 0:
            raise ValueError(f"bandwidths are one or more numbers above 0, got {self.bandwidths}")

    def penalty(self, a: Tensor, b: Tensor, strategy: Strategy) -> Tensor:
        """Within both samples, less between them."""
        return self._mean(a, a, strategy) + self._mean(b, b, strategy) - 2 * self._mean(a, b, strategy)

    def _mean(self, a: Tensor, b: Tensor, strategy: Strategy) -> Tensor:
        keys = [torch.zeros(len(z), dtype=torch.long, device=z.device) for z in (a, b)]
        every = KeyRelation(keys[0], keys[1])  # of two sets, even where they are one: no row is left out
        scores = Scores(NegativeSquaredEuclidean(normalize=False), a, b, every, strategy=strategy)
        (total,) = scores.reduce(Sum("any", of=self._kernel))
        return total.sum() / (len(a) * len(b))

    def _kernel(self, s: Tensor) -> Tensor:
        return torch.stack([(g * s).exp() for g in self.bandwidths]).sum(0)


@entry
class CORAL(TwoSample):
    """Difference of means and of covariances of two samples.

    Shapes: (N, D) and (M, D), raw rows, two or more each. Value >= 0; 0 when both moments agree.

    >>> z = torch.eye(3)
    >>> round(float(CORAL()(z, z + 2)), 4)                                     # only the means differ
    4.0
    """

    formula: ClassVar[str] = "mean_d (m_d - m'_d)^2 + mean_de (C_de - C'_de)^2"
    source: ClassVar[str] = "Sun & Saenko 2016, eq. 1, with the means; DomainBed algorithms.py"
    use: ClassVar[str] = "as `MMD`, for large batches of narrow rows: moments only, D x D"
    compares: ClassVar[str] = "moments of columns; no pairs of rows"
    near: ClassVar[str] = "the moments of the other sample"
    far: ClassVar[str] = "no far rows"
    at_chance: ClassVar[str] = ""
    cost: ClassVar[str] = "moments of D x D"

    def penalty(self, a: Tensor, b: Tensor, strategy: Strategy) -> Tensor:
        """Means and covariances (unbiased)."""
        means = (a.mean(0) - b.mean(0)).square().mean()
        return means + (_covariance(a) - _covariance(b)).square().mean()


def _covariance(z: Tensor) -> Tensor:
    centred = z - z.mean(0)
    return centred.T @ centred / (len(z) - 1)
