"""Encoders of the upper and the lower half of a picture, trained by bounds on what the halves say of each other.

Is the encoder whose bound is tighter the better one? Bounds, critics, temperatures and batch sizes differ, everything
else is alike. Bounds are read off the test pictures, all by InfoNCE among 500 pairs, so with the same ceiling.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.claims.common import Sets, cell, everything, gain, table
from benchmarks.claims.drawing import Shown, draw
from nearfar.evaluation import information, knn_predict, seeds_mean
from nearfar.evaluation.information import BOUNDS, make_critic

WIDTH, HIDDEN, AMONG = 64, 64, 500
FIGURES = ("its own critic", "a new critic")


class Cosine(nn.Module):
    """Cosines over a temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores (K, K)."""
        return normalize(x, dim=1) @ normalize(y, dim=1).T / self.temperature


@dataclass(frozen=True)
class Way:
    """A bound, the critic it is trained with, and how many pairs a batch has."""

    bound: str
    critic: str
    batch: int

    def scores(self) -> nn.Module:
        """A new critic."""
        if self.critic.startswith("cosine"):
            return Cosine(float(self.critic.split()[-1]))
        return make_critic(self.critic, WIDTH, WIDTH, HIDDEN)


WAYS = [
    *(Way("InfoNCE", critic, batch) for critic in ("bilinear", "separable") for batch in (32, 128, 512)),
    *(Way("InfoNCE", "concatenated", batch) for batch in (32, 64)),
    *(Way("InfoNCE", f"cosine / {t}", 128) for t in (0.05, 0.2, 1.0)),
    *(Way(bound, critic, 128) for bound in ("NWJ", "JensenShannon") for critic in ("bilinear", "separable")),
    Way("NWJ", "concatenated", 64),
]


def halves(images: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 32 pixels, from 0 to 1."""
    upper, lower = (images.flatten(1).float() / 255).split(32, dim=1)
    return upper, lower


def encoder() -> nn.Sequential:
    """Two hidden layers over half a picture."""
    layers = [part for wide in (32, 256) for part in (nn.Linear(wide, 256), nn.BatchNorm1d(256), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(256, WIDTH))


Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


def learned(way: Way, sets: Sets, seed: int, steps: int) -> tuple[Encode, nn.Module]:
    """Encoders of both halves, and the critic they learned with."""
    torch.manual_seed(seed)
    one, other = encoder(), encoder()
    scores = way.scores()
    parts = nn.ModuleList([one, other, scores])
    optimiser = torch.optim.AdamW(parts.parameters(), lr=1e-3, weight_decay=1e-2)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = torch.Generator().manual_seed(seed)
    upper, lower = halves(sets.images)
    for _ in range(steps):
        ids = torch.randperm(len(upper), generator=drawn)[: way.batch]
        optimiser.zero_grad()
        (-BOUNDS[way.bound](scores(one(upper[ids]), other(lower[ids])))).backward()
        optimiser.step()
        slower.step()
    parts.eval()

    def encode(images: Tensor) -> tuple[Tensor, Tensor]:
        above, below = halves(images)
        with torch.no_grad():
            return one(above), other(below)

    return encode, scores


def told(x: Tensor, y: Tensor, scores: nn.Module) -> float:
    """InfoNCE of encoded pairs, a mean over parts of so many."""
    with torch.no_grad():
        parts = zip(x.split(AMONG), y.split(AMONG), strict=True)
        return float(np.mean([float(BOUNDS["InfoNCE"](scores(a, b).double())) for a, b in parts]))


def probed(known: np.ndarray, labels: np.ndarray, asked: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Which test pictures are given their class by neighbours, and by a linear classifier."""
    from sklearn.linear_model import RidgeClassifier

    scale = known.std(0)
    linear = RidgeClassifier().fit(known / scale, labels).predict(asked / scale)
    return {"kNN": knn_predict(known, labels, asked, k=20) == truth, "linear": linear == truth}


def main(chosen: argparse.Namespace) -> None:
    """Bounds beside accuracies for each way to train, and how they go together."""
    sets = everything()
    bounds = {name: dict[Way, list[float]]() for name in FIGURES}
    hits = {name: dict[Way, list[np.ndarray]]() for name in ("kNN", "linear")}
    for seed in range(chosen.seeds):
        for way in WAYS:
            encode, scores = learned(way, sets, seed, chosen.steps)
            known, (x, y) = torch.cat(encode(sets.images), 1).numpy(), encode(sets.test)
            new = information(x.numpy(), y.numpy(), steps=200, batch=AMONG, hidden=HIDDEN, resamples=1, seed=seed)
            for name, value in zip(FIGURES, (told(x, y, scores), new.value), strict=True):
                bounds[name].setdefault(way, []).append(value)
            found = probed(known, sets.labels, torch.cat([x, y], 1).numpy(), sets.truth)
            for name, right in found.items():
                hits[name].setdefault(way, []).append(right.astype(float))
    base, rows = WAYS[1], []
    for way in WAYS:
        row = [way.bound, way.critic, str(way.batch), *(f"{np.mean(bounds[name][way]):.2f}" for name in FIGURES)]
        for scored in hits.values():
            row += [cell(scored[way]), "" if way == base else gain(scored[way], scored[base])]
        rows.append(row)
    head = ["bound", "critic", "batch", *(f"nats, {name}" for name in FIGURES)]
    table([*head, "kNN accuracy", "less bilinear, 128", "linear accuracy", "less bilinear, 128"], rows)
    groups = {"all": WAYS, "InfoNCE": [way for way in WAYS if way.bound == "InfoNCE"]}
    groups["InfoNCE, batch of 128"] = [way for way in groups["InfoNCE"] if way.batch == 128]
    rows = []
    for title, group in groups.items():
        for name in FIGURES:
            said = np.array([bounds[name][way] for way in group])
            row = [title, str(len(group)), name]
            for scored in hits.values():
                rates = np.array([[one.mean() for one in scored[way]] for way in group])
                each = [spearmanr(a, b).statistic for a, b in zip(said.T, rates.T, strict=True)]
                row.append(seeds_mean("", each).short())
            rows.append(row)
    table(["ways to train", "how many", "bound by", *(f"rank correlation with {name} accuracy" for name in hits)], rows)
    if chosen.pictures:
        shown = []
        for title in ("bilinear", "separable", "concatenated", "cosine"):
            some = [way for way in WAYS if way.critic.startswith(title)]
            nats = np.array([np.mean(bounds[FIGURES[0]][way]) for way in some])
            rates = np.array([np.mean(hits["linear"][way]) for way in some])
            shown.append(Shown(title, nats, rates))
        title = "Linear accuracy by how much the bound says, a dot for each way to train"
        draw(chosen.pictures / "claims-bounds.svg", title, "nats", "linear accuracy", shown)
