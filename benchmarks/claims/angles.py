"""Regression: do mixtures of rows bring the order of targets, and do confused rows help where targets are rare?

Clothes turned by a whole number of threes of degrees, which is to be told, as 8 x 8 pixels without views; and the
diabetes table of scikit-learn, its target in tens, each row tested once by four folds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, l1_loss, normalize

from benchmarks.claims.common import cell, gain, table
from benchmarks.little import Net, small
from nearfar.contrast import Dot
from nearfar.data import bundled
from nearfar.objectives import ConR, SupCon, by_targets, confused, mixtures

STEP, HALF = 3, 15  # degrees of a unit of the target, and how many units to either side
BATCH, WINDOW, TEMPERATURE = 128, 5.0, 0.07
FEW, MANY = 20, 100  # training pictures of a target that are few, and more than which are many
PRICES = {"L1 + 0.2 ConR": 0.2, "L1 + 1 ConR": 1.0, "L1 + 0.2 ConR, rare": 0.2}
Rows = tuple[Tensor, Tensor]


@dataclass
class Regressor:
    """An encoder of unit rows for contrast, and a line upon its rows as they are for predictions."""

    encoder: nn.Module
    line: nn.Module

    def vectors(self, x: Tensor) -> np.ndarray:
        """Unit rows."""
        with torch.no_grad():
            found: np.ndarray = normalize(self.encoder(x), dim=1).double().numpy()
        return found

    def predict(self, x: Tensor) -> np.ndarray:
        """The line's predictions."""
        with torch.no_grad():
            found: np.ndarray = self.line(self.encoder(x)).squeeze(1).double().numpy()
        return found


def turned(images: np.ndarray, seed: int) -> Rows:
    """Pictures (N, 1, 8, 8), each turned by a target of its own, all equally frequent; and the targets."""
    y = torch.as_tensor(np.random.default_rng(seed).permutation(len(images)) % (2 * HALF + 1) - HALF).float()
    angle = torch.deg2rad(STEP * y)
    rows = torch.stack([angle.cos(), -angle.sin(), torch.zeros_like(y), angle.sin(), angle.cos(), torch.zeros_like(y)])
    x = torch.as_tensor(images)[:, None].float()
    x = grid_sample(x, affine_grid(rows.T.reshape(-1, 2, 3), list(x.shape), False), align_corners=False)
    return small(x[:, 0].numpy()).float() / 255, y


def clothes(seed: int) -> tuple[Rows, Rows]:
    """Turned clothes to train on, by seed, and to test on, the same for all."""
    data = np.load(bundled.path("fashion"))
    return turned(data["images"], seed), turned(data["test_images"], 1000)


def diabetes() -> Rows:
    """The table of 442 rows; targets in tens, without a rest."""
    from sklearn.datasets import load_diabetes

    rows, target = load_diabetes(return_X_y=True)
    return torch.as_tensor(rows / rows.std(0)).float(), torch.as_tensor(target / 10).round().float()


def learned(way: str, train: Rows, seed: int, steps: int) -> Regressor:
    """Train by "L1", by L1 and a price times "ConR" ("rare": rare targets count more), or by contrast alone."""
    torch.manual_seed(seed)
    (x, y), width = train, train[0][0].numel()
    base = Net() if width == 64 else nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 256), nn.ReLU())
    model = Regressor(nn.Sequential(base, nn.Linear(256, 64)), nn.Linear(64, 1))
    weights = [*model.encoder.parameters(), *model.line.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-2)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = torch.Generator().manual_seed(seed)
    values, place = y.unique(return_inverse=True)
    rarity = 1 / torch.bincount(place, minlength=len(values))[place].float()
    rarity = rarity / rarity.mean() if "rare" in way else torch.ones_like(y)
    for _ in range(steps):
        ids = torch.randperm(len(x), generator=drawn)[:BATCH]
        z, target = model.encoder(x[ids]), y[ids]
        optimiser.zero_grad()
        loss_of(way, model, z, target, rarity[ids], drawn).backward()
        optimiser.step()
        slower.step()
    model.encoder.eval()
    return model


def loss_of(way: str, model: Regressor, z: Tensor, y: Tensor, rarity: Tensor, drawn: torch.Generator) -> Tensor:
    """The loss of a batch."""
    if way.startswith("L1"):
        predictions = model.line(z).squeeze(1)
        loss = l1_loss(predictions, y)
        if "ConR" not in way:
            return loss
        relation = confused(y, predictions, growth=0.01 * STEP, rarity=rarity)
        return loss + PRICES[way] * ConR()(z, relation=relation, weights=rarity)
    if way == "SupReMix":
        anchors, candidates, relation = mixtures(z, y, WINDOW, drawn)
        return SupCon(temperature=TEMPERATURE, similarity=Dot())(anchors, candidates, relation=relation)
    return SupCon(temperature=TEMPERATURE)(z, relation=by_targets(y, growth=float("distance" in way)))


def told(way: str, model: Regressor, train: Rows, test: Rows, unit: int) -> np.ndarray:
    """(2, N) of each test row the rank correlation of its distances with those of targets, and the error.

    L1 predicts by its own line, the others by a ridge probe; errors are in units of which the target has so many.
    """
    from sklearn.linear_model import RidgeCV

    vectors, y = model.vectors(test[0]), test[1].double().numpy()
    probe = RidgeCV(np.logspace(-4, 3, 15)).fit(model.vectors(train[0]), train[1].double().numpy())
    predictions = model.predict(test[0]) if way == "L1" else probe.predict(vectors)
    return np.stack([order(vectors, y), unit * np.abs(predictions - y)])


def order(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) Spearman's correlation of the distances of a row to all others with the distances of targets."""
    ranks = []
    for matrix in (-rows @ rows.T, np.abs(y[:, None] - y)):
        others = matrix[~np.eye(len(y), dtype=bool)].reshape(len(y), -1)
        each = rankdata(others, axis=1)
        ranks.append(each - each.mean(1, keepdims=True))
    a, b = ranks
    found: np.ndarray = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return found


def supremix(chosen: argparse.Namespace) -> None:
    """Order and errors, on many and few turned clothes and on the table, which has a quarter of the steps."""
    ways = ("SupCon", "SupCon, by distance", "SupReMix", "L1")
    found = dict[tuple[str, str], list[np.ndarray]]()
    x, y = diabetes()
    for seed in range(chosen.seeds):
        many, (shown, truth) = clothes(seed)
        test = shown[:1500], truth[:1500]
        fold = np.random.default_rng(seed).permutation(len(y)) % 4
        for count in (10_000, 500):
            train = many[0][:count], many[1][:count]
            for way in ways:
                scores = told(way, learned(way, train, seed, chosen.steps), train, test, STEP)
                found.setdefault((f"clothes, {count}", way), []).append(scores)
        for way in ways:
            scores = np.empty((2, len(y)))
            for part in range(4):
                train, test = (x[fold != part], y[fold != part]), (x[fold == part], y[fold == part])
                scores[:, fold == part] = told(way, learned(way, train, seed, chosen.steps // 4), train, test, 10)
            found.setdefault(("diabetes, 331", way), []).append(scores)
    rows = []
    for name, way in found:
        (rank, error), base = np.stack(found[name, way], 1), np.stack(found[name, "SupCon"], 1)
        less = ["", ""] if way == "SupCon" else [gain(rank, base[0]), gain(error, base[1])]
        rows.append([name, way, cell(rank), less[0], cell(error), less[1]])
    table(["training rows", "trained by", "rank correlation", "less SupCon", "mean error", "less SupCon"], rows)


def conr(chosen: argparse.Namespace) -> None:
    """Errors in degrees by how many training pictures have the angle."""
    ways = ("L1", *PRICES)
    groups = ("many", "medium", "few", "all")
    found = dict[tuple[str, str], list[np.ndarray]]()
    for seed in range(chosen.seeds):
        (x, y), (shown, truth) = clothes(seed)
        sizes = {v: round(300 * (3 / 300) ** (abs(v) / HALF)) for v in range(-HALF, HALF + 1)}
        kept = torch.cat([(y == v).nonzero().squeeze(1)[:n] for v, n in sizes.items()])
        count = np.array([sizes[int(v)] for v in truth])
        which = {"many": count > MANY, "medium": (count >= FEW) & (count <= MANY), "few": count < FEW}
        which["all"] = count > 0
        for way in ways:
            model = learned(way, (x[kept], y[kept]), seed, chosen.steps)
            error = STEP * np.abs(model.predict(shown) - truth.double().numpy())
            for group in groups:
                found.setdefault((group, way), []).append(error[which[group]])
    rows = [
        [group, way, cell(scores), "" if way == "L1" else gain(scores, found[group, "L1"])]
        for (group, way), scores in sorted(found.items(), key=lambda item: groups.index(item[0][0]))
    ]
    table(["pictures of the angle", "trained by", "mean error, degrees", "less L1"], rows)


def main(chosen: argparse.Namespace) -> None:
    """One of the two."""
    {"supremix": supremix, "conr": conr}[chosen.name](chosen)
