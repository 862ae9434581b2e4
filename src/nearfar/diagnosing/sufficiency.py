"""Approximate sufficiency: how far a contrastive loss is above the least possible, and what that costs downstream.

The model is known. A common cause c of K columns is standard normal; each of two views sees it with noise of its own,
sqrt(rho_k) c_k + sqrt(1 - rho_k) e_k, beside columns of noise alone, and all columns turned by one rotation. So
corresponding columns of two views correlate by rho_k, and the logarithm of the density ratio is

    r(x, y) = sum_k [ -log(1 - rho_k^2) / 2 - (rho_k^2 (x_k^2 + y_k^2) - 2 rho_k x_k y_k) / (2 (1 - rho_k^2)) ]

which is the critic of least InfoNCE, whatever the number of candidates. The target is t = w' c with |w| = 1. Its least
squares error from a view is sum_k w_k^2 (1 - rho_k), the error of the views; from an encoder f(x) = F x it is more.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ..contrast import Dot
from ..evaluation import Metric
from ..objectives import InfoNCE
from ..report.findings import Picture, curve, dot
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds, rank_correlations

_LOSS = InfoNCE(similarity=Dot(), temperature=1.0)
_STRONGEST, _WEAKEST = 0.9, 0.5  # correlations of the shared columns


class SufficiencyOptions(DiagnosisOptions):
    """Settings of `sufficiency`."""

    width: int = Field(16, ge=2, description="columns of a view")
    shared: int = Field(4, ge=2, description="columns that both views share")
    columns: int = Field(4, ge=1, description="columns that the linear encoder gives")
    steps: int = Field(1000, ge=20, description="updates by Adam")
    batch: int = Field(128, ge=2, description="pairs of a batch, which are the candidates of InfoNCE")
    held: int = Field(64, ge=2, description="fresh batches on which losses are compared")
    lr: float = Field(0.01, gt=0, description="learning rate")


class TwoViews:
    """The model: correlations (K,) of the shared columns, weights (K,) of the target, and the rotation (D, D)."""

    def __init__(self, correlations: np.ndarray, width: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rho = np.zeros(width)
        self.rho[: len(correlations)] = correlations
        self.rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
        self.weights = np.zeros(width)
        self.weights[: len(correlations)] = 1 / math.sqrt(len(correlations))

    def pairs(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Two views (n, D) of n items."""
        cause, one, two = rng.normal(size=(3, n, len(self.rho)))
        kept, noise = np.sqrt(self.rho), np.sqrt(1 - self.rho)
        return (kept * cause + noise * one) @ self.rotation.T, (kept * cause + noise * two) @ self.rotation.T

    def covariance(self) -> np.ndarray:
        """(D, D) between corresponding columns of two views; within a view it is the identity."""
        across: np.ndarray = (self.rotation * self.rho) @ self.rotation.T
        return across

    def excess(self, encoder: np.ndarray) -> float:
        """How much more the least squares error of the target is from F x than from x itself, F (d, D)."""
        target = self.rotation @ (np.sqrt(self.rho) * self.weights)  # covariance of the target with a view
        basis = _row_space(encoder)
        return float(target @ target - np.square(basis @ target).sum())

    def error_of_views(self) -> float:
        """The least squares error of the target from a whole view."""
        return float((self.weights**2 * (1 - self.rho)).sum())


def gaussian_ratio(x: np.ndarray, y: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(N, M) log p(x, y) / p(x) p(y) of rows x (N, D) and y (M, D) of standard normals of covariance `across` (D, D).

    `across` is symmetric with eigenvalues inside (-1, 1).

    >>> float(gaussian_ratio(np.array([[1.0]]), np.array([[1.0]]), np.array([[0.5]])).round(6).item())
    0.477174
    """
    rho, basis = np.linalg.eigh(across)
    a, b = x @ basis, y @ basis
    left = 1 / (2 * (1 - rho**2))
    squares = (rho**2 * left * a**2).sum(1)[:, None] + (rho**2 * left * b**2).sum(1)
    scores: np.ndarray = 2 * (rho * left * a) @ b.T - squares - np.log1p(-(rho**2)).sum() / 2
    return scores


def best_of(encoder: np.ndarray, model: TwoViews, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The scores (N, M) of the best critic that sees a linear encoder of both rows and nothing else."""
    basis = _row_space(encoder)
    across = basis @ model.covariance() @ basis.T
    return gaussian_ratio(x @ basis.T, y @ basis.T, across)


def info_nce(scores: np.ndarray) -> float:
    """Cross-entropy of the diagonal of (N, N) scores over their rows, in nats."""
    top = scores.max(1, keepdims=True)
    return float((np.log(np.exp(scores - top).sum(1)) + top[:, 0] - np.diagonal(scores)).mean())


class QuadraticCritic(nn.Module):
    """f(x)' M f(y) - f(y)' N f(y) with f(x) = F x: it can be the best critic, if F sees all shared columns."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(width, out, bias=False)
        self.across, self.within = nn.Parameter(torch.eye(out)), nn.Parameter(torch.zeros(out, out))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Rows whose products are the scores."""
        one, two = self.encoder(x), self.encoder(y)
        norm = ((two @ self.within) * two).sum(1, keepdim=True)
        return torch.cat([one @ self.across, torch.ones_like(norm)], 1), torch.cat([two, -norm], 1)


def _row_space(encoder: np.ndarray) -> np.ndarray:
    """(d, D) orthonormal rows that span those of the encoder."""
    _, sizes, rows = np.linalg.svd(encoder, full_matrices=False)
    kept: np.ndarray = rows[sizes > 1e-10 * max(sizes[0], 1e-300)]
    return kept


def _looks(steps: int) -> list[int]:
    """Steps at which to look, evenly on a logarithmic scale, with the start and the end."""
    return sorted({0, *np.unique(np.geomspace(10, steps, 9).round().astype(int)).tolist()})


def trajectory(options: SufficiencyOptions, seed: int) -> np.ndarray:
    """(looks, 4) of one training: gap of the critic as trained, of the best on its encoder, excess risk, and noise.

    Gaps are InfoNCE less that of the density ratio on the same fresh batches; noise is their standard error.
    """
    model = TwoViews(np.linspace(_STRONGEST, _WEAKEST, options.shared), options.width, seed)
    rng = np.random.default_rng([seed, 1])
    fresh = [model.pairs(options.batch, rng) for _ in range(options.held)]
    least = [info_nce(gaussian_ratio(x, y, model.covariance())) for x, y in fresh]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = QuadraticCritic(options.width, options.columns)
    optimiser = torch.optim.Adam(critic.parameters(), options.lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps + 1)
    seen, looks = [], _looks(options.steps)
    for step in range(options.steps + 1):
        if step in looks:
            encoder = critic.encoder.weight.detach().double().numpy()
            with torch.inference_mode():
                rows = [critic(*(torch.from_numpy(part).float() for part in pair)) for pair in fresh]
            gaps = [info_nce((a @ b.T).double().numpy()) - low for (a, b), low in zip(rows, least, strict=True)]
            best = [info_nce(best_of(encoder, model, *pair)) - low for pair, low in zip(fresh, least, strict=True)]
            noise = np.std(gaps, ddof=1) / math.sqrt(len(gaps))
            seen.append((np.mean(gaps), np.mean(best), model.excess(encoder), noise))
        optimiser.zero_grad()
        x, y = model.pairs(options.batch, rng)
        _LOSS(*critic(torch.from_numpy(x).float(), torch.from_numpy(y).float())).backward()
        optimiser.step()
        slower.step()
    return np.array(seen)


def measure(options: SufficiencyOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    runs = []
    for seed in options.every_seed:
        say(f"seed {seed}")
        runs.append(trajectory(options, seed))
    seen = np.stack(runs)  # (seeds, looks, 4)
    looks = _looks(options.steps)
    gap, best, excess, noise = (seen[:, :, at] for at in range(4))
    together = rank_correlations("rank correlation of gap and excess risk", gap, excess)
    lowest = min((gap / noise).min(), 0.0)
    figures = {
        "correlation": together,
        "correlation_best": rank_correlations("the same for the best critic of each encoder", best, excess),
        "first_gap": over_seeds("gap before training", gap[:, 0]),
        "last_gap": over_seeds("gap at the end", gap[:, -1]),
        "last_excess": over_seeds("excess risk at the end", excess[:, -1]),
        "lowest": Metric("lowest gap in standard errors", float(lowest), gap.size),
    }
    table: list[dict[str, Cell]] = [
        {
            "step": step,
            "gap": over_seeds("gap", gap[:, at]),
            "gap of the best critic": over_seeds("best", best[:, at]),
            "excess risk": over_seeds("excess", excess[:, at]),
        }
        for at, step in enumerate(looks)
    ]
    above, falls = lowest > -3, together.low > 0 and together.value > 0.8
    holds = bool(above and falls)
    model = TwoViews(np.linspace(_STRONGEST, _WEAKEST, options.shared), options.width, options.seed)
    verdict = (
        f"{opening(holds)}: the gap to the least loss is "
        f"{'never below 0 within its noise' if above else 'below 0'}, and it and the excess risk "
        f"{'fall together' if falls else 'do not surely fall together'} (rank correlation {together.short()}). "
        f"What no encoder can undo, the error of the views, is {model.error_of_views():.3f} in any case."
    )
    across = np.log10(np.array(looks) + 1)
    dots = [
        dot(f"seed {seed}, step {step}", i, gap[i, j], excess[i, [j]])
        for i, seed in enumerate(options.every_seed)
        for j, step in enumerate(looks)
    ]
    pictures = [
        Picture(
            "Gap to the least loss, in nats, and excess risk",
            "log10 of steps + 1",
            [
                curve("gap", 0, across, gap),
                curve("best critic", 1, across, best),
                curve("excess risk", 2, across, excess),
            ],
        ),
        Picture("Excess risk over the gap", "gap in nats", dots=dots),
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "sufficiency",
    "An encoder whose contrastive loss is near the least possible has a small excess risk downstream.",
    "Lin & Mei 2025, A Statistical Theory of Contrastive Learning via Approximate Sufficient Statistics (abstract)",
    SufficiencyOptions,
    measure,
)
