"""Hedged rows: each is a Gaussian, and a pair is near with the probability that samples of both match."""

from __future__ import annotations

import math
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from ..contrast import LearnedBias, LearnedTemperature, Strategy, current
from ..contrast.arrange import check_views
from ..contrast.blocks import slices
from ..contrast.objective import Inspection, Objective, entry

BLOCK = 1 << 22  # distances of samples that are held at a time


@entry
class Hedged(Objective):
    """Rows are Gaussians that hedge their place: near pairs should match by most of their samples, far ones by few.

    A row has a mean and the logarithms of its variances; K samples of it are mean + sigma noise. Two rows match with
    probability p = mean over pairs of samples of sigmoid(b - |z - z'| / t). Value: the mean of -log p over near pairs,
    plus the mean of -log(1 - p) over far ones, plus `kl` times the mean divergence of the rows from N(0, I), of both
    rows of a pair. What cannot be told gets a large variance; `uncertainty` says how large.

    Args:
        samples: K of each row.
        kl: weight of the divergence.
        temperature: divides the distances; 1 / a of the paper.
        bias: b; how near is near.

    Shapes: two or more views of means (N, D), raw rows. `log_variance` (N, V, D), 0 where left out; `noise`
    (N, V, K, D), drawn from torch's generator where left out; `labels` (N,), by which rows are near in place of items.

    >>> z = torch.eye(3)
    >>> sure = torch.full((3, 2, 3), -60.0)                                    # no variance: a logistic of the distance
    >>> loss = Hedged(kl=0.0, temperature=1.0, bias=0.0)
    >>> round(float(loss(z, z, log_variance=sure)), 4)                         # log 2 + log(1 + e^-sqrt(2))
    0.9108
    """

    formula: ClassVar[str] = (
        "mean_near(-log p) + mean_far(-log(1 - p)) + kl KL,  p = mean_kl sigmoid(b - |z_k - z'_l| / t)"
    )
    source: ClassVar[str] = "Oh et al. 2019 (HIB), eq. 2 to 6"
    use: ClassVar[str] = "rows should say how sure they are of their place: what is blurred or cut off gets a variance"
    reconstructed: ClassVar[str] = "near and far pairs weigh alike; the paper draws as many of both"
    compares: ClassVar[str] = "distances of samples of two Gaussians"
    near: ClassVar[str] = "other views of the item, or rows of the same label"
    far: ClassVar[str] = "all views of other items"
    at_chance: ClassVar[str] = ""
    cost: ClassVar[str] = "K^2 distances for each pair of rows, panel by panel"

    samples: int = 8
    kl: float = 1e-4
    temperature: float | LearnedTemperature = field(default_factory=lambda: LearnedTemperature(1.0))
    bias: float | LearnedBias = field(default_factory=LearnedBias)

    def __post_init__(self) -> None:
        if self.samples < 1 or self.kl < 0:
            raise ValueError(f"samples is at least 1 and kl at least 0, got {self.samples} and {self.kl}")

    def log_match(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """log p and log(1 - p), (R, C), of rows given by their samples (R, K, D) and (C, K, D)."""
        r, c, k, m = len(one), len(other), one.shape[1], other.shape[1]
        apart = torch.cdist(one.flatten(0, 1), other.flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
        logits = (current(self.bias) - apart / current(self.temperature)).view(r, k, c, m).transpose(1, 2).flatten(2)
        return tuple(logsigmoid(sign * logits).logsumexp(2) - math.log(k * m) for sign in (1, -1))  # type: ignore

    def uncertainty(self, means: Tensor, log_variance: Tensor, noise: Tensor | None = None) -> Tensor:
        """(N,) the probability that two draws of a row (N, D) do not match; `noise` (N, 2, K, D), drawn if left out.

        >>> loss = Hedged()
        >>> sure, unsure = loss.uncertainty(torch.zeros(2, 4), torch.tensor([[-9.0], [2.0]]).expand(2, 4))
        >>> bool(sure < unsure)
        True
        """
        drawn = self._drawn(means[:, None], log_variance[:, None].expand(-1, 2, -1), noise)
        both = [self.log_match(a[None], b[None])[0] for a, b in zip(drawn[:, 0], drawn[:, 1], strict=True)]
        return 1 - torch.cat(both).flatten().exp()

    def _drawn(self, means: Tensor, log_variance: Tensor, noise: Tensor | None) -> Tensor:
        """Samples (N, V, K, D) of rows (N, V, D)."""
        if noise is None:
            shape = (*log_variance.shape[:2], self.samples, means.shape[2])
            noise = torch.randn(shape, dtype=means.dtype, device=means.device)
        return means[:, :, None] + (log_variance[:, :, None] / 2).exp() * noise.to(means.dtype)

    def terms(
        self,
        *means: Tensor,
        log_variance: Tensor | None = None,
        noise: Tensor | None = None,
        labels: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> dict[str, Tensor]:
        """Attraction, repulsion and divergence; arguments as of the class."""
        rows = check_views("Hedged", means)
        if len(rows) < 2 or any(len(r) != len(rows[0]) for r in rows):
            raise ValueError(f"Hedged needs two or more views of the same rows, got {[len(r) for r in rows]} rows")
        mean = torch.stack(rows, 1)
        spread = torch.zeros_like(mean) if log_variance is None else log_variance.to(mean.dtype)
        if spread.shape != mean.shape:
            raise ValueError(f"Hedged: log_variance must be (N, V, D) {tuple(mean.shape)}, got {tuple(spread.shape)}")
        with torch.autocast(mean.device.type, enabled=False):
            own = self._drawn(mean, spread, noise)
            divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(2).mean(1)
            drawn, divergence = (self.together(t, strategy) for t in (own, divergence))
            n, views = drawn.shape[:2]
            keys = torch.arange(n, device=drawn.device)
            if labels is not None:
                keys = self.together(torch.as_tensor(labels, device=drawn.device).long(), strategy)
            near, far = self._pairs(drawn.transpose(0, 1).flatten(0, 1), keys.repeat(views))
            return {"attract": near, "repel": far, "divergence": 2 * self.kl * divergence.mean()}

    def _pairs(self, drawn: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of -log p over near pairs, and of -log(1 - p) over far ones; panels are computed again on the way back.

        Rows with a negative key take no part.
        """

        def panel(part: Tensor, every: Tensor, start: int) -> Tensor:
            log_p, log_not = self.log_match(part, every)
            mine, numbers = keys[start : start + len(part), None], torch.arange(len(every), device=keys.device)
            known = (mine >= 0) & (keys >= 0) & (numbers[start : start + len(part), None] != numbers)
            near, far = (known & kind for kind in (mine == keys, mine != keys))
            return torch.stack([-torch.where(near, log_p, 0).sum(), -torch.where(far, log_not, 0).sum()])

        height = max(1, BLOCK // (len(drawn) * drawn.shape[1] ** 2))
        parts = [
            checkpoint(panel, drawn[rows], drawn, rows.start, use_reentrant=False) if height < len(drawn)
            else panel(drawn, drawn, 0)
            for rows in slices(len(drawn), height)
        ]  # fmt: skip
        known = keys[keys >= 0]
        near = torch.unique(known, return_counts=True)[1]
        same = (near * (near - 1)).sum()
        counts = torch.stack([same, len(known) * (len(known) - 1) - same]).to(drawn.dtype)
        attract, repel = torch.stack(parts).sum(0) / counts.clamp_min(1)
        return attract, repel

    def forward(
        self,
        *means: Tensor,
        log_variance: Tensor | None = None,
        noise: Tensor | None = None,
        labels: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> Tensor:
        """The scalar value."""
        return torch.stack(
            list(self.terms(*means, log_variance=log_variance, noise=noise, labels=labels, strategy=strategy).values())
        ).sum()

    def inspect(
        self,
        *means: Tensor,
        log_variance: Tensor | None = None,
        noise: Tensor | None = None,
        labels: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> Inspection:
        """The value with its terms; it depends on the noise, so that none is known at chance or at collapse."""
        terms = self.terms(*means, log_variance=log_variance, noise=noise, labels=labels, strategy=strategy)
        return Inspection(torch.stack(list(terms.values())).sum(), terms)
