"""HIB: does the uncertainty of a row rise as more of the picture is covered, and are its probabilities right?"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.claims.common import cell, everything, gain, table
from benchmarks.little import Net, pictures
from nearfar.evaluation import auroc, knn_predict
from nearfar.evaluation.bootstrap import seeds_mean
from nearfar.objectives import Hedged

WIDTH, BATCH, ASKED, BINS = 8, 64, 600, 5
SIDES = (0, 2, 4, 6)  # of the square that is covered, of 8
POINT = -60.0  # the logarithm of the variance of a row that is a point


def covered(images: Tensor, sides: Tensor, drawn: torch.Generator) -> Tensor:
    """Pictures (B, 1, 8, 8), each with a square of its side (B,), anywhere, black."""
    made = images.clone()
    for picture, side in zip(made, sides.tolist(), strict=True):
        top, left = torch.randint(9 - side, (2,), generator=drawn).tolist()
        picture[:, top : top + side, left : left + side] = 0
    return made


class Hedging(nn.Module):
    """Mean and logarithms of the variances of a row; points have next to none."""

    def __init__(self, point: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.point = Net(), nn.Linear(Net.width, 2 * WIDTH), point

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, WIDTH) each."""
        mean, spread = self.head(self.encoder(rows)).chunk(2, 1)
        return mean, torch.full_like(spread, POINT) if self.point else spread


def learned(point: bool, seed: int, steps: int) -> tuple[Hedging, Hedged]:
    """Rows of two pictures of one class match, each picture covered by a square of any of the sides."""
    sets, drawn, plain = everything(), torch.Generator().manual_seed(seed), pictures().plain
    torch.manual_seed(seed)
    net, loss = Hedging(point), Hedged(kl=0.0 if point else 1e-4, samples=1 if point else 8)
    # What is near is two numbers, which would hardly move at the pace of the net.
    paces = [{"params": net.parameters()}, {"params": loss.parameters(), "lr": 0.05, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(paces, lr=2e-3, weight_decay=1e-3)
    labels, sides = torch.as_tensor(sets.labels).long(), torch.tensor(SIDES)
    for _ in range(steps):
        ids = torch.randint(len(labels), (BATCH,), generator=drawn)
        each = sides[torch.randint(len(sides), (2, BATCH), generator=drawn)]
        views = [net(plain(covered(sets.images[ids], row, drawn))) for row in each]
        means, spreads = zip(*views, strict=True)
        optimiser.zero_grad()
        loss(*means, log_variance=torch.stack(spreads, 1), labels=labels[ids]).backward()
        optimiser.step()
    return net.eval(), loss


def calibration(said: np.ndarray, match: np.ndarray) -> np.ndarray:
    """(BINS, 2) share of pairs, and of matches among them, by what was said; both kinds weigh alike, as in training."""
    weight = np.where(match, 0.5 / match.sum(), 0.5 / (~match).sum())
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    every, near = (np.bincount(place, w, BINS) for w in (weight, weight * match))
    return np.stack([every, near / np.where(every > 0, every, np.nan)], 1)


def measure(net: Hedging, loss: Hedged) -> dict[str, Any]:
    """Hits and uncertainty by side, (sides, ASKED), and the calibration of pairs, over test pictures."""
    sets, plain, drawn = everything(), pictures().plain, torch.Generator().manual_seed(0)
    ids = torch.randperm(len(sets.truth), generator=drawn)[:ASKED]
    half, truth = ASKED // 2, sets.truth[ids]
    hits, told, said = [], [], []
    with torch.no_grad():
        whole = net(plain(sets.images))[0].numpy()
        for side in SIDES:
            mean, spread = net(plain(covered(sets.test[ids], torch.full((ASKED,), side), drawn)))
            hits.append((knn_predict(whole, sets.labels, mean.numpy(), k=20) == truth).astype(float))
            told.append(loss.uncertainty(mean, spread).numpy())
            noise = torch.randn(ASKED, loss.samples, WIDTH, generator=drawn)
            rows = mean[:, None] + (spread[:, None] / 2).exp() * noise
            said.append(loss.log_match(rows[:half], rows[half:])[0].exp().numpy().ravel())
    match = np.tile((truth[:half, None] == truth[half:]).ravel(), len(SIDES))
    return {"hits": np.stack(hits), "told": np.stack(told), "bins": calibration(np.concatenate(said), match)}


def main(chosen: argparse.Namespace) -> None:
    """Uncertainty, hits and calibration, beside rows that are points."""
    hedged, points = (
        [measure(*learned(point, seed, chosen.steps)) for seed in range(chosen.seeds)] for point in (False, True)
    )
    rows = []
    for number, side in enumerate(SIDES):
        own, other = ([one["hits"][number] for one in kind] for kind in (hedged, points))
        told = [one["told"][number] for one in hedged]
        apart = [auroc(a, (hits == 0).astype(int)) for a, hits in zip(told, own, strict=True)]
        figures = (seeds_mean("", values).short() for values in ([float(a.mean()) for a in told], apart))
        rows.append([str(side * side), *figures, cell(own), gain(own, other)])
    head = ["covered pixels of 64", "uncertainty", "an error is less sure", "kNN accuracy", "less points"]
    table(head, rows)
    ranks = [float(spearmanr(np.repeat(SIDES, ASKED), one["told"].ravel()).statistic) for one in hedged]
    print("rank correlation of the covered share and the uncertainty:", seeds_mean("", ranks).short(), "\n")
    names = [f"{b / BINS:.1f} to {(b + 1) / BINS:.1f}" for b in range(BINS)]
    columns = []
    for kind in (hedged, points):
        bins = np.stack([one["bins"] for one in kind])
        columns += [
            [f"{share:.3f}" for share in bins[:, :, 0].mean(0)],
            ["" if np.isnan(values).any() else seeds_mean("", values).short() for values in bins[:, :, 1].T],
        ]
    head = ["said probability of a match", "pairs, hedged", "match, hedged", "pairs, points", "match, points"]
    table(head, list(zip(names, *columns, strict=True)))
