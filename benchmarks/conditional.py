"""What the modes of `CCLK` keep and drop: the class, and a sensitive attribute that shows more strongly.

Run: python -m benchmarks.conditional [--seeds 3]

Rows of 16 numbers mix one of four classes, one of four kinds of an attribute (twice as strong) and noise; views add
noise. The net has three layers of 64 and projects to 8 numbers, of which logistic regression reads the class and the
attribute of 1,000 other rows; chance is 0.25. 300 steps of 128; means over seeds, ± one standard deviation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.evaluation import linear_probe
from nearfar.models import projector
from nearfar.objectives import CCLK, NTXent, conditioned_on

Loss = Callable[[list[Tensor], Tensor], Tensor]  # projections of two views, and which rows they are of


def learned(net: nn.Module, loss: Loss, rows: Tensor, seed: int, steps: int = 300) -> None:
    """Train the net on noisy views."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    rate, drawn = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randperm(len(rows), generator=drawn)[:128]
        views = [rows[ids] + 0.3 * torch.randn(128, rows.shape[1], generator=drawn) for _ in range(2)]
        optimiser.zero_grad()
        loss([net(view) for view in views], ids).backward()
        optimiser.step()
        rate.step()
    net.eval()


def found_in(seed: int) -> dict[str, list[float]]:
    """Items of four classes and four kinds of a sensitive attribute, which shows more strongly than the class."""
    drawn = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    y, kind = (torch.randint(4, (3000,), generator=drawn) for _ in range(2))
    facts = torch.cat([torch.eye(4)[y], 2 * torch.eye(4)[kind], 0.5 * torch.randn(3000, 8, generator=drawn)], 1)
    rows = facts @ torch.linalg.qr(torch.randn(16, 16, generator=drawn))[0]
    told = torch.eye(4)[y] + 0.7 * torch.randn(3000, 4, generator=drawn)  # a weak sign of the class
    plain, weighed = NTXent(temperature=0.5), CCLK(temperature=0.5)
    ways: dict[str, Loss] = {
        "`NTXent`": lambda z, ids: plain(*z, ids=ids),
        "fair: far by the attribute": lambda z, ids: weighed(torch.cat(z), relation=conditioned_on(kind[ids])),
        "hard: far by the class": lambda z, ids: weighed(torch.cat(z), relation=conditioned_on(y[ids])),
        "weak: near by a sign of the class": lambda z, ids: weighed(
            torch.cat(z), relation=conditioned_on(told[ids], near="alike", kernel="rbf")
        ),
    }
    found = {}
    for way, loss in ways.items():
        torch.manual_seed(seed)
        net = nn.Sequential(projector(16, 64, 64, layers=3), nn.ReLU(), projector(64, 64, 8))
        learned(net, loss, rows[:2000], seed)
        with torch.no_grad():
            x, z = (net(part).numpy() for part in (rows[:2000], rows[2000:]))
        found[way] = [
            linear_probe(x, of[:2000].numpy(), z, of[2000:].numpy(), 1.0, resamples=1).report.metrics["accuracy"].value
            for of in (y, kind)
        ]
    return found


def main() -> None:
    """A row for each mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    runs = [found_in(seed) for seed in range(parser.parse_args().seeds)]
    print("| | class | attribute |\n|---|---|---|")
    for way in runs[0]:
        figures = np.array([run[way] for run in runs])
        means = (f"{m:.3f} ± {s:.3f}" for m, s in zip(figures.mean(0), figures.std(0), strict=True))
        print(f"| {way} |", " | ".join(means), "|")


if __name__ == "__main__":
    main()
