"""`hydra_simlap`: do gates of pairs of classes find what two classes share, and do embeddings keep their rank?

Items of two factors, three values each, and so of 9 classes; what is seen of them is 32 numbers by a random turn, two
for each value and 20 of noise. Two classes with a value in common are near in one embedding of 32, which a linear map
makes (or which is what is seen, turned back), by `GatedPairs` or with all gates at a half.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.claims.common import table
from nearfar.evaluation import auroc, effective_rank, knn_predict, seeds_mean
from nearfar.objectives import GatedPairs

VALUES, EACH, WIDTH = 3, 6, 32
CLASSES = VALUES * VALUES


def items(labels: Tensor, generator: torch.Generator) -> Tensor:
    """What stands for classes: two numbers for each value of each factor, and noise over all."""
    rows = 0.5 * torch.randn(len(labels), WIDTH, generator=generator)
    for factor, value in enumerate((labels // VALUES, labels % VALUES)):
        for copy in (0, 1):
            rows[torch.arange(len(labels)), 2 * VALUES * factor + 2 * value + copy] += 1.0
    return rows


def partners_of(labels: Tensor, factor: int, generator: torch.Generator) -> Tensor:
    """For each class another one with the same value of a factor."""
    other = torch.randint(1, VALUES, (CLASSES,), generator=generator)
    one, two = torch.arange(CLASSES) // VALUES, torch.arange(CLASSES) % VALUES
    drawn = (one * VALUES + (two + other) % VALUES) if factor == 0 else ((one + other) % VALUES * VALUES + two)
    return drawn[labels]


def found_by(loss: GatedPairs) -> tuple[float, float]:
    """Mean AUC of gates for the dimensions of the value that two classes share, and of its whole factor."""
    values, factors = [], []
    factor_of = np.repeat([0, 1], 2 * VALUES)
    value_of = np.tile(np.repeat(np.arange(VALUES), 2), 2)
    for a in range(CLASSES):
        for b in range(a):
            if (a // VALUES == b // VALUES) != (a % VALUES == b % VALUES):
                shared, value = (0, a // VALUES) if a // VALUES == b // VALUES else (1, a % VALUES)
                gate = loss.gate(a, b).detach().numpy()[: 4 * VALUES]
                values.append(auroc(gate, (factor_of == shared) & (value_of == value)))
                factors.append(auroc(gate, factor_of == shared))
    return float(np.mean(values)), float(np.mean(factors))


def learnt(seed: int, steps: int, gated: bool, mapped: bool) -> tuple[float, float, float, float]:
    """AUC of the gates, effective rank of the embeddings of new items, and how often neighbours tell the class."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
    torch.manual_seed(seed)
    net = nn.Linear(WIDTH, WIDTH, bias=False) if mapped else nn.Identity()
    loss = GatedPairs(classes=CLASSES, width=WIDTH, temperature=0.2)
    learning = [*net.parameters(), *(loss.parameters() if gated else [])]
    optimiser = torch.optim.Adam(learning, lr=0.05) if learning else None
    labels = torch.arange(CLASSES).repeat(EACH)

    def seen(rows: Tensor) -> Tensor:
        return rows @ turn if mapped else rows

    for step in range(steps if optimiser else 0):
        partners = partners_of(labels, step % 2, generator)
        views = (net(seen(items(labels, generator))) for _ in range(2))
        assert optimiser is not None
        optimiser.zero_grad()
        loss(*views, labels=labels, partners=partners).backward()
        optimiser.step()
    with torch.no_grad():
        known, asked = (net(seen(items(labels, generator))).numpy() for _ in range(2))
    right = float((knn_predict(known, labels.numpy(), asked, k=5) == labels.numpy()).mean())
    return *found_by(loss), effective_rank(known / np.linalg.norm(known, axis=1, keepdims=True)), right


def main(chosen: argparse.Namespace) -> None:
    """Gates on the factors themselves, then with a map that learns."""
    rows = []
    for name, (gated, mapped) in {
        "gates on the factors": (True, False),
        "nothing": (False, False),
        "map and gates": (True, True),
        "map, gates at a half": (False, True),
    }.items():
        runs = [learnt(seed, chosen.steps, gated, mapped) for seed in range(chosen.seeds)]
        value, factor, rank, right = (seeds_mean("", [run[i] for run in runs]).short() for i in range(4))
        told = [value, factor] if gated and not mapped else ["", ""]
        rows.append([name, *told, rank, right])
    table(
        [
            "learns",
            "AUC of gates, shared value",
            "its whole factor",
            "effective rank, of 32",
            "kNN accuracy, 9 classes",
        ],
        rows,
    )
