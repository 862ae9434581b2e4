"""HIB: does the uncertainty of a row rise as more of the picture is covered, and is it calibrated?"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.claims.common import everything, table
from benchmarks.little import Net, pictures
from nearfar.evaluation.bootstrap import seeds_mean
from nearfar.objectives import Hedged

WIDTH, BATCH = 8, 64
SIDES = (0, 2, 4, 6)  # of the square that is covered, of 8


def covered(images: Tensor, side: int, drawn: torch.Generator) -> Tensor:
    """Pictures (B, 1, 8, 8) with a square of so many pixels, anywhere, black."""
    made = images.clone()
    for picture in made if side else ():
        top, left = torch.randint(9 - side, (2,), generator=drawn).tolist()
        picture[:, top : top + side, left : left + side] = 0
    return made


class Hedging(nn.Module):
    """Mean and logarithms of the variances of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Net(), nn.Linear(Net.width, 2 * WIDTH)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, WIDTH) each."""
        mean, spread = self.head(self.encoder(rows)).chunk(2, 1)
        return mean, spread


def learned(seed: int, steps: int) -> tuple[Hedging, Hedged]:
    """Rows of two pictures of one class match, each covered by a square of any of the sizes."""
    sets, drawn, plain = everything(), torch.Generator().manual_seed(seed), pictures().plain
    torch.manual_seed(seed)
    net, loss = Hedging(), Hedged(kl=1e-3)
    optimiser = torch.optim.AdamW([*net.parameters(), *loss.parameters()], lr=2e-3, weight_decay=1e-3)
    labels = torch.as_tensor(sets.labels).long()
    for _ in range(steps):
        ids = torch.randint(len(labels), (BATCH,), generator=drawn)
        sides = [SIDES[int(i)] for i in torch.randint(len(SIDES), (2,), generator=drawn)]
        views = [net(plain(covered(sets.images[ids], side, drawn))) for side in sides]
        means, spreads = zip(*views, strict=True)
        optimiser.zero_grad()
        loss(*means, log_variance=torch.stack(spreads, 1), labels=labels[ids]).backward()
        optimiser.step()
    return net.eval(), loss


def main(chosen: argparse.Namespace) -> None:
    """Uncertainty by the covered share, and how often pairs match that are said to match with some probability."""
    sets, plain = everything(), pictures().plain
    rows, ranks, right = dict[int, list[float]](), list[float](), dict[int, list[tuple[float, float]]]()
    for seed in range(chosen.seeds):
        net, loss = learned(seed, chosen.steps)
        drawn, each = torch.Generator().manual_seed(0), []
        ids = torch.randperm(len(sets.truth), generator=drawn)[:600]
        with torch.no_grad():
            for side in SIDES:
                mean, spread = net(plain(covered(sets.test[ids], side, drawn)))
                told = loss.uncertainty(mean, spread)
                rows.setdefault(side, []).append(float(told.mean()))
                each.append(told.numpy())
                one, other = (loss._drawn(mean[:, None], spread[:, None], None)[:, 0] for _ in range(2))
                said = loss.log_match(one[:300], other[300:])[0].exp().numpy().ravel()
                truth = (sets.truth[ids][:300, None] == sets.truth[ids][None, 300:]).ravel()
                for bin_ in range(5):
                    inside = (said >= bin_ / 5) & (said < (bin_ + 1) / 5 + (bin_ == 4))
                    right.setdefault(bin_, []).append((float(inside.sum()), float(truth[inside].sum())))
        ranks.append(float(spearmanr(np.repeat(SIDES, 600), np.concatenate(each)).statistic))
    table(["covered pixels of 64", "uncertainty"], [[str(s * s), seeds_mean("", v).short()] for s, v in rows.items()])
    print("rank correlation of the covered share and the uncertainty:", seeds_mean("", ranks).short(), "\n")
    sums = {bin_: np.array(pairs).sum(0) for bin_, pairs in right.items()}
    table(
        ["said probability of a match", "pairs", "of one class"],
        [[f"{b / 5:.1f} to {(b + 1) / 5:.1f}", f"{n:,.0f}", f"{t / max(n, 1):.3f}"] for b, (n, t) in sums.items()],
    )
