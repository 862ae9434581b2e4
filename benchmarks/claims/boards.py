"""Boards of four places with clothes and digits on them: are focused decisions worth more than plain ones?

Which of twenty classes lie on a board is to be told, twenty yes or no. How frequent a class is falls from the first to
the last by 50, in an order that is another for each seed; of the yeses of training a share is not said.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.claims.common import everything, table
from nearfar.contrast import Dot
from nearfar.evaluation import seeds_mean
from nearfar.objectives import Asymmetric, Logistic, to_classes

BATCH, CLASSES, BOARDS, TESTS, FILLED, FALL = 128, 20, 4000, 4000, 0.5, 50


def decisions(near: float, far: float, shift: float) -> Asymmetric:
    """Of class vectors, whose last column is their bias."""
    return Asymmetric(
        temperature=1.0, bias=0.0, similarity=Dot(), near_focus=near, far_focus=far, shift=shift
    )  # fmt: skip


WAYS: dict[str, Logistic] = {
    "plain (BCE)": Logistic(temperature=1.0, bias=0.0, similarity=Dot()),
    "focal, 2 / 2": decisions(2, 2, 0),
    "ASL, 1 / 4, shift 0.05": decisions(1, 4, 0.05),
    "ASL, 0 / 4, shift 0.05": decisions(0, 4, 0.05),
    "ASL, 0 / 2, no shift": decisions(0, 2, 0),
    "shift 0.05 alone": decisions(0, 0, 0.05),
}


def pieces() -> tuple[Tensor, np.ndarray, Tensor, np.ndarray]:
    """Clothes, classes 0 to 9, and digits, 10 to 19, as (N, 64) from 0 to 1: to train on, and to test on."""
    from sklearn.datasets import load_digits

    clothes, digits = everything(), load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    written, named = torch.as_tensor(digits.data[order]).float() / 16, digits.target[order] + 10
    train, test = ((x.flatten(1).float() / 255) for x in (clothes.images, clothes.test))
    cut = 2 * len(order) // 3
    return (
        torch.cat([train, written[:cut]]),
        np.concatenate([clothes.labels, named[:cut]]),
        torch.cat([test, written[cut:]]),
        np.concatenate([clothes.truth, named[cut:]]),
    )


def boards(
    x: Tensor, y: np.ndarray, share: np.ndarray, count: int, drawn: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Boards (count, 256), half of their places filled, and which classes lie on each (count, 20)."""
    members = [np.flatnonzero(y == c) for c in range(CLASSES)]
    classes = drawn.choice(CLASSES, (count, 4), p=share)
    filled = drawn.random((count, 4)) < FILLED
    rows = np.array([[drawn.choice(members[c]) for c in line] for line in classes])
    laid = x[torch.as_tensor(rows)] * torch.as_tensor(filled)[:, :, None]
    targets = torch.zeros(count, CLASSES, dtype=torch.long)
    targets[np.nonzero(filled)[0], classes[filled]] = 1
    return laid.flatten(1), targets


def said(objective: Logistic, x: Tensor, targets: Tensor, test: Tensor, seed: int, steps: int) -> np.ndarray:
    """(N, 20) what a net that learned so says of test boards."""
    torch.manual_seed(seed)
    layers = [part for wide in (256, 256) for part in (nn.Linear(wide, 256), nn.BatchNorm1d(256), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(256, 64))
    classes = nn.Parameter(0.1 * torch.randn(CLASSES, 65))
    optimiser = torch.optim.AdamW([*net.parameters(), classes], lr=1e-3, weight_decay=1e-2)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = torch.Generator().manual_seed(seed)

    def rows(x: Tensor) -> Tensor:
        return nn.functional.pad(net(x), (0, 1), value=1.0)

    for _ in range(steps):
        ids = torch.randperm(len(x), generator=drawn)[:BATCH]
        optimiser.zero_grad()
        objective(rows(x[ids]), classes, relation=to_classes(targets[ids])).backward()
        optimiser.step()
        slower.step()
    net.eval()
    with torch.no_grad():
        found: np.ndarray = (rows(test) @ classes.T).numpy()
    return found


def main(chosen: argparse.Namespace) -> None:
    """Mean average precision of all classes and of the ten frequent and rare ones, by the share of yeses said."""
    from sklearn.metrics import average_precision_score

    train, labels, shown, named = pieces()
    found = dict[tuple[float, str], list[np.ndarray]]()
    for seed in range(chosen.seeds):
        drawn = np.random.default_rng(seed)
        share = FALL ** -(drawn.permutation(CLASSES) / (CLASSES - 1))
        x, targets = boards(train, labels, share / share.sum(), BOARDS, drawn)
        test, truth = boards(shown, named, np.full(CLASSES, 1 / CLASSES), TESTS, drawn)
        ranked = np.argsort(-share)
        for part in (1.0, 0.5):
            known = targets * torch.as_tensor(drawn.random(targets.shape) < part)
            for way, objective in WAYS.items():
                scores = said(objective, x, known, test, seed, chosen.steps)
                each = [average_precision_score(truth[:, c], scores[:, c]) for c in ranked]
                halves = np.mean(each[: CLASSES // 2]), np.mean(each[CLASSES // 2 :])
                found.setdefault((part, way), []).append(np.array([np.mean(each), *halves]))
    rows, plain = [], next(iter(WAYS))
    for (part, way), values in found.items():
        row = [f"{part:g}", way]
        for mine, base in zip(np.transpose(values), np.transpose(found[part, plain]), strict=True):
            less = seeds_mean("", mine - base)
            row += [
                f"{mine.mean():.3f}",
                "" if way == plain else f"{less.value:+.3f} [{less.low:+.3f}, {less.high:+.3f}]",
            ]
        rows.append(row)
    head = ["yeses said", "decisions, focus near / far", "mAP", "less plain", "frequent", "less plain", "rare"]
    table([*head, "less plain"], rows)
    for part in (1.0, 0.5):
        asl, focal = (np.array(found[part, way])[:, 0] for way in ("ASL, 1 / 4, shift 0.05", "focal, 2 / 2"))
        print(f"{part:g} said: ASL, 1 / 4 less focal, mAP {seeds_mean('', asl - focal).short()}")
