"""Linear functions of contrastive features: how near they come to the best prediction when two views repeat each other.

A state h of 2^B is the same in both views and seen as the corners of a cube, x = s corner_h + noise; a coin u is seen
by the first view alone, and both views are turned. The target is

    y = sqrt(r) parity(h) + sqrt(1 - r) u              r, the redundancy: what both views say of it

A critic learns by logistic contrast of pairs (x, z) and strangers (x, z~), so that it tends to
g*(x, z) = p(x, z) / p(x) p(z) = 2^B sum_h p(h | x) p(h | z). An item is embedded by m random landmarks,
phi(x) = (g(x, z_1), ..., g(x, z_m)), and a linear probe on phi predicts y. The regret is the mean of
(probe - E[y | x, z])^2, that is how much worse it is than the best prediction from both views. Up to a term in 1 / m,
some linear function of phi has a regret of at most

    (sqrt(e_x) + sqrt(e_z))^2       e_x = E (E[y | x] - E[y | x, z])^2,   e_z = E (E[y | z] - E[y | x, z])^2

The parity is no linear function of x, so a probe of the rows themselves sees the coin alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ..contrast import Dot
from ..evaluation import Metric
from ..objectives import JensenShannon
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds


class RedundancyOptions(DiagnosisOptions):
    """Settings of `redundancy`."""

    shares: tuple[float, ...] = Field((0.0, 0.5, 0.8, 1.0), min_length=2, description="redundancies r, growing, to 1")
    landmarks: tuple[int, ...] = Field((1, 4, 16, 64, 256), min_length=2, description="numbers m of them, growing")
    bits: int = Field(3, ge=2, le=6, description="B, of the state that both views see")
    apart: float = Field(2.5, gt=0, description="s, half the distance of two corners; the noise is of deviation 1")
    width: int = Field(8, ge=3, description="columns of a view; those without state or coin are noise")
    columns: int = Field(16, ge=1, description="columns of the two networks whose dot product is the critic")
    steps: int = Field(600, ge=1, description="updates by Adam, each on fresh pairs")
    batch: int = Field(256, ge=2, description="pairs of an update; all other pairings of the batch are strangers")
    rows: int = Field(2000, ge=20, description="rows that the probe learns from, and as many fresh ones to judge it")
    lr: float = Field(0.003, gt=0, description="learning rate")


@dataclass(frozen=True)
class Seen:
    """Items: their views x and z (N, D), and of the truth the state (N,) and the coin (N,), -1 or 1."""

    x: np.ndarray
    z: np.ndarray
    state: np.ndarray
    coin: np.ndarray


class World:
    """The model: corners (2^B, B), their parity (2^B,), and the rotation (D, D)."""

    def __init__(self, options: RedundancyOptions, seed: int) -> None:
        self.corners = np.array(list(product((-1.0, 1.0), repeat=options.bits)))
        self.parity = self.corners.prod(1)
        self.apart, self.bits = options.apart, options.bits
        width = max(options.width, options.bits + 1)
        self.rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]

    def items(self, n: int, rng: np.random.Generator) -> Seen:
        """n of them."""
        state, coin = rng.integers(len(self.corners), size=n), rng.choice((-1.0, 1.0), n)
        x, z = rng.normal(size=(2, n, len(self.rotation)))
        x[:, : self.bits] += self.apart * self.corners[state]
        z[:, : self.bits] += self.apart * self.corners[state]
        x[:, self.bits] += self.apart * coin
        return Seen(x @ self.rotation.T, z @ self.rotation.T, state, coin)

    def states(self, *views: np.ndarray) -> np.ndarray:
        """(N, 2^B) chances of the states, given one view (N, D) or several of the same items."""
        scores = self.apart * sum((view @ self.rotation)[:, : self.bits] for view in views) @ self.corners.T
        shares = np.exp(scores - scores.max(1, keepdims=True))
        chances: np.ndarray = shares / shares.sum(1, keepdims=True)
        return chances

    def coins(self, x: np.ndarray) -> np.ndarray:
        """(N,) E[u | x]."""
        mean: np.ndarray = np.tanh(self.apart * (x @ self.rotation)[:, self.bits])
        return mean

    def ratio(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """(N, M) p(x, z) / p(x) p(z) of rows x (N, D) and z (M, D)."""
        ratios: np.ndarray = len(self.corners) * self.states(x) @ self.states(z).T
        return ratios

    def best(self, seen: Seen, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) each: E[y | x, z], E[y | x], E[y | z]."""
        common, own = math.sqrt(share), math.sqrt(1 - share) * self.coins(seen.x)
        both, first, second = (
            common * self.states(*views) @ self.parity for views in ((seen.x, seen.z), (seen.x,), (seen.z,))
        )
        return both + own, first + own, second


def critic(world: World, options: RedundancyOptions, seed: int) -> tuple[nn.Module, nn.Module]:
    """Two networks whose dot product learned to tell pairs from strangers; it tends to log g*."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = (
            nn.Sequential(nn.Linear(len(world.rotation), 64), nn.ReLU(), nn.Linear(64, options.columns))
            for _ in range(2)
        )
    rng, loss = np.random.default_rng(seed + 1), JensenShannon(similarity=Dot())
    optimiser = torch.optim.Adam([*first.parameters(), *second.parameters()], options.lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    for _ in range(options.steps):
        seen = world.items(options.batch, rng)
        optimiser.zero_grad()
        loss(first(torch.from_numpy(seen.x).float()), second(torch.from_numpy(seen.z).float())).backward()
        optimiser.step()
        slower.step()
    return first, second


def predicted(train: np.ndarray, targets: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """What a ridge regression of targets (N,) on standardised features (N, m) predicts of fresh ones (M, m)."""
    mean, scale = train.mean(0), train.std(0) + 1e-12
    x = (train - mean) / scale
    weight = np.linalg.solve(x.T @ x + 1e-2 * len(x) ** 0.5 * np.eye(x.shape[1]), x.T @ (targets - targets.mean()))
    values: np.ndarray = (fresh - mean) / scale @ weight + targets.mean()
    return values


def one_seed(options: RedundancyOptions, seed: int) -> dict[str, np.ndarray]:
    """Regrets of one critic: ``learned`` and ``exact`` (shares, landmarks), ``rows`` and ``bound`` (shares,)."""
    world, rng = World(options, seed), np.random.default_rng(seed + 2)
    first, second = critic(world, options, seed)
    train, fresh = (world.items(options.rows, rng) for _ in range(2))
    marks = world.items(options.landmarks[-1], rng).z
    with torch.no_grad():
        b = second(torch.from_numpy(marks).float())
        learned = [(first(torch.from_numpy(seen.x).float()) @ b.T).exp().double().numpy() for seen in (train, fresh)]
    features = {"learned": learned, "exact": [world.ratio(seen.x, marks) for seen in (train, fresh)]}
    found: dict[str, list[list[float] | float]] = {"learned": [], "exact": [], "rows": [], "bound": []}
    for share in options.shares:
        y = math.sqrt(share) * world.parity[train.state] + math.sqrt(1 - share) * train.coin
        best, by_x, by_z = world.best(fresh, share)

        def regret(of: np.ndarray, new: np.ndarray, y: np.ndarray = y, best: np.ndarray = best) -> float:
            return float(np.square(predicted(of, y, new) - best).mean())

        for kind, (of, new) in features.items():
            found[kind].append([regret(of[:, :m], new[:, :m]) for m in options.landmarks])
        found["rows"].append(regret(train.x, fresh.x))
        errors = [float(np.square(alone - best).mean()) for alone in (by_x, by_z)]
        found["bound"].append((math.sqrt(errors[0]) + math.sqrt(errors[1])) ** 2)
    return {key: np.array(rows) for key, rows in found.items()}


def measure(options: RedundancyOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    runs = []
    for seed in options.every_seed:
        say(f"seed {seed}")
        runs.append(one_seed(options, seed))
    seen = {key: np.stack([run[key] for run in runs]) for key in runs[0]}
    learned, most = seen["learned"], options.landmarks[-1]
    figures: dict[str, Metric] = {
        "landmarks": over_seeds(
            f"regret at {options.landmarks[0]} landmarks less at {most}, r = {options.shares[-1]:g}",
            learned[:, -1, 0] - learned[:, -1, -1],
        ),
        "redundancy": over_seeds(
            f"regret at r = {options.shares[0]:g} less at {options.shares[-1]:g}, {most} landmarks",
            learned[:, 0, -1] - learned[:, -1, -1],
        ),
        "last": over_seeds(f"regret at r = {options.shares[-1]:g} and {most} landmarks", learned[:, -1, -1], (0, 1)),
        "exact": over_seeds("the same of the exact ratio", seen["exact"][:, -1, -1], (0, 1)),
        "lost": over_seeds(f"regret of the exact ratio at r = {options.shares[0]:g}", seen["exact"][:, 0, -1]),
        "kept": over_seeds("the same of the critic that learned", learned[:, 0, -1]),
        "beyond": Metric(
            f"largest of regret - bound at {most} landmarks, over all r and seeds",
            float((learned[:, :, -1] - seen["bound"]).max()),
            learned[:, :, -1].size,
        ),
    }
    table: list[dict[str, Cell]] = [
        {
            "redundancy": share,
            **{
                f"regret at {m}": over_seeds("regret", learned[:, i, k], (0, math.inf))
                for k, m in enumerate(options.landmarks)
            },
            f"exact ratio, {most}": over_seeds("exact", seen["exact"][:, i, -1], (0, math.inf)),
            "rows themselves": over_seeds("rows", seen["rows"][:, i], (0, math.inf)),
            "bound": over_seeds("bound", seen["bound"][:, i], (0, math.inf)),
        }
        for i, share in enumerate(options.shares)
    ]
    falls = {name: figures[name].low > 0 for name in ("landmarks", "redundancy")}
    near = figures["beyond"].value <= 0.02
    holds = all(falls.values()) and near
    verdict = (
        f"{opening(holds)}: the regret {'falls' if falls['landmarks'] else 'does not surely fall'} with landmarks "
        f"(by {figures['landmarks'].short()}) and {'falls' if falls['redundancy'] else 'does not surely fall'} with "
        f"redundancy (by {figures['redundancy'].short()}), to {figures['last'].short()}; with {most} landmarks it is "
        f"{'never above' if near else 'above'} the bound by more than 0.02. At r = {options.shares[0]:g} the exact "
        f"ratio is left with {figures['lost'].short()}, the critic that learned with {figures['kept'].short()}."
    )
    x = np.log2(options.landmarks)
    curves = [curve(f"r = {share:g}", i, x, learned[:, i]) for i, share in enumerate(options.shares)]
    return verdict, holds, figures, table, [Picture("Regret of the linear probe", "log2 of landmarks", curves)]


DIAGNOSIS = Diagnosis(
    "redundancy",
    "A linear probe on scores against random landmarks comes near the best prediction from both views, as landmarks "
    "grow in number and the more each view repeats what the other says of the target.",
    "Tosh, Krishnamurthy & Hsu 2020, Contrastive learning, multi-view redundancy, and linear models (reconstructed)",
    RedundancyOptions,
    measure,
)
