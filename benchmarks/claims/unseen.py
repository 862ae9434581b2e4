"""Classes that were not trained on: episodes, confusion of the classes of training, and enrolment by a few pictures.

Of the ten classes of clothes each seed draws some to learn from, with labels and without views; the others are new.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.claims.common import Sets, cell, everything, gain, table
from benchmarks.little import Net
from nearfar.contrast import NegativeSquaredEuclidean
from nearfar.evaluation import enrol, episodes, nearest, seeds_mean
from nearfar.objectives import (
    ICNN,
    EnergyConfusion,
    InfoNCE,
    NormalizedSoftmax,
    NPair,
    ProtoTriplet,
    TripletSemiHard,
    class_means,
    to_proxies,
)

WAYS, QUERIES, TASKS, BATCH = 5, 15, 400, 128
EPISODIC = ("prototypes", "proto-triplet", "prototypes + proto-triplet", "prototypes + ICNN", "prototypes + 0.1 ICNN")
PRICES = (0.0, 0.01, 0.1, 1.0)
Loss = Callable[[nn.Module, torch.Generator], Tensor]


@dataclass(frozen=True)
class Split:
    """Pictures and places of the seen classes to train on, and everything to test on."""

    x: Tensor
    y: Tensor
    seen: np.ndarray
    sets: Sets

    def batch(self, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """Some pictures and their classes."""
        ids = torch.randperm(len(self.x), generator=drawn)[:BATCH]
        return self.x[ids], self.y[ids]

    def episode(self, each: int, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """So many pictures of each of five seen classes, class by class, and their classes."""
        ids = [(self.y == c).nonzero().squeeze(1) for c in range(len(self.seen))]
        ids = [rows[torch.randperm(len(rows), generator=drawn)[:each]] for rows in ids[:WAYS]]
        return self.x[torch.cat(ids)], torch.arange(WAYS).repeat_interleave(each)


def split(seed: int, seen: int) -> Split:
    """So many seen classes."""
    sets = everything()
    classes = np.sort(np.random.default_rng(seed).permutation(10)[:seen])
    kept = np.isin(sets.labels, classes)
    places = torch.as_tensor(np.searchsorted(classes, sets.labels[kept]))
    return Split(scaled(sets.images)[kept], places, classes, sets)


def scaled(images: Tensor) -> Tensor:
    """Pictures from 0 to 1."""
    return images.float() / 255


def learned(loss: Loss, seed: int, steps: int, *more: Tensor) -> Callable[[Tensor], np.ndarray]:
    """Train an encoder by a loss of it; gives what turns pictures into unit rows."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(Net(), nn.Linear(256, 64))
    optimiser = torch.optim.AdamW([*encoder.parameters(), *more], lr=1e-3, weight_decay=1e-2)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(encoder, drawn).backward()
        optimiser.step()
        slower.step()
    encoder.eval()

    def vectors(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = normalize(encoder(scaled(images)), dim=1).numpy()
        return found

    return vectors


def episodic(way: str, parts: Split, shots: int) -> Loss:
    """The loss of an episode; all distances are of unit rows."""
    distance = NegativeSquaredEuclidean(normalize=False)
    told, triplet, icnn = InfoNCE(temperature=0.1, similarity=distance), ProtoTriplet(), ICNN(k=4)

    def loss(encoder: nn.Module, drawn: torch.Generator) -> Tensor:
        x, y = parts.episode(shots + QUERIES, drawn)
        z = normalize(encoder(x), dim=1)
        support = (torch.arange(len(y)) % (shots + QUERIES)) < shots
        means, relation = class_means(z[support], y[support], WAYS), to_proxies(y[~support], WAYS)
        value = torch.zeros(())
        if "prototypes" in way:
            value = value + told(z[~support], means, relation=relation)
        if "triplet" in way:
            value = value + triplet(z[~support], means, relation=relation)
        if "ICNN" in way:
            value = value + (0.1 if "0.1" in way else 1.0) * icnn(z, labels=y)
        return value

    return loss


def few_shot(chosen: argparse.Namespace) -> None:
    """Five unseen classes of clothes, and digits, by one and five shots; and the ICNN score of the unseen clothes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    written = torch.as_tensor((digits.images * (255 / 16)).round().astype(np.uint8))[:, None]
    for shots in (1, 5):
        hits = dict[tuple[str, str], list[np.ndarray]]()
        scores = dict[str, list[float]]()
        for seed in range(chosen.seeds):
            parts = split(seed, WAYS)
            new = ~np.isin(parts.sets.truth, parts.seen)
            shown, truth = parts.sets.test[new], parts.sets.truth[new]
            for way in EPISODIC:
                vectors = learned(episodic(way, parts, shots), seed, chosen.steps)
                for side, x, y in (("clothes", shown, truth), ("digits", written, digits.target)):
                    found = episodes(vectors(x), y, WAYS, shots, QUERIES, TASKS, resamples=1, seed=seed)
                    hits.setdefault((side, way), []).append(found.scores["accuracy"])
                value = ICNN(k=4)(torch.as_tensor(vectors(shown)), labels=torch.as_tensor(truth))
                scores.setdefault(way, []).append(float((-value).exp()))
        rows = []
        for way in EPISODIC:
            row = [way]
            for side in ("clothes", "digits"):
                mine, base = ([np.concatenate(hits[side, name])] for name in (way, EPISODIC[0]))
                row += [cell(mine), "" if way == EPISODIC[0] else gain(mine, base)]
            rows.append([*row, seeds_mean("", scores[way]).short()])
        head = [
            f"{shots}-shot episodes",
            "unseen clothes",
            "less prototypes",
            "digits",
            "less prototypes",
            "ICNN score",
        ]
        table(head, rows)


def confusing(chosen: argparse.Namespace) -> None:
    """Recall on unseen classes by the price of confusion, with triplets and with N-pairs."""
    hits = dict[tuple[str, float, int], list[np.ndarray]]()
    for seed in range(chosen.seeds):
        parts = split(seed, 5)
        new = ~np.isin(parts.sets.truth, parts.seen)
        shown, truth = parts.sets.test[new], parts.sets.truth[new]
        for name in ("triplets", "N-pairs"):
            for price in PRICES:
                vectors = learned(confused(name, price, parts), seed, chosen.steps)(shown)
                near = truth[nearest(vectors, vectors, 4, exclude=np.arange(len(truth))).index] == truth[:, None]
                for k in (1, 4):
                    hits.setdefault((name, price, k), []).append(near[:, :k].any(1).astype(float))
    rows = []
    for name in ("triplets", "N-pairs"):
        for price in PRICES:
            row = [name, f"{price:g}"]
            for k in (1, 4):
                mine, base = hits[name, price, k], hits[name, 0.0, k]
                row += [cell(mine), gain(mine, base) if price else ""]
            rows.append(row)
    table(["trained by", "lambda", "recall@1", "less lambda = 0", "recall@4", "less lambda = 0"], rows)


def confused(name: str, price: float, parts: Split) -> Loss:
    """A metric loss of a batch, and the price of the distance of its classes."""
    confusion = EnergyConfusion()

    def loss(encoder: nn.Module, drawn: torch.Generator) -> Tensor:
        if name == "triplets":
            x, y = parts.batch(drawn)
            z = normalize(encoder(x), dim=1)
            value = TripletSemiHard()(z, labels=y)
        else:
            x, y = parts.episode(2, drawn)
            z = normalize(encoder(x), dim=1)
            value = NPair(temperature=0.1)(z[::2], z[1::2])
        return value + price * confusion(z, labels=y)

    return loss


def softmax(parts: Split, weights: Tensor, norm: float) -> Loss:
    """The normalised softmax over the seen classes."""
    objective = NormalizedSoftmax(norm=norm)

    def loss(encoder: nn.Module, drawn: torch.Generator) -> Tensor:
        x, y = parts.batch(drawn)
        return objective(encoder(x), weights, relation=to_proxies(y, len(weights)))

    return loss


def novel(chosen: argparse.Namespace) -> None:
    """Accuracy on pictures of four new classes, told from each other (disjoint) or from all ten (joint)."""
    ways = ("triplets", "normalised softmax", "the same, norm = 0.1")
    hits = dict[tuple[str, int, str], list[np.ndarray]]()
    for seed in range(chosen.seeds):
        parts, rng = split(seed, 6), np.random.default_rng([seed, 1])
        images, labels = parts.sets.images, parts.sets.labels
        new = ~np.isin(parts.sets.truth, parts.seen)
        shown, truth = parts.sets.test[new], parts.sets.truth[new]
        draws = [rng.permutation(len(labels)) for _ in range(10)]
        for way in ways:
            torch.manual_seed(seed)
            weights = nn.Parameter(0.1 * torch.randn(len(parts.seen), 64))
            loss = (
                confused("triplets", 0.0, parts)
                if way == "triplets"
                else softmax(parts, weights, 0.1 * (way == ways[2]))
            )
            vectors = learned(loss, seed, chosen.steps, weights)
            known, asked = vectors(images), vectors(shown)
            old = np.isin(labels, parts.seen)
            before = enrol(known[old], labels[old])
            for shots in (1, 5, 20):
                right = dict[str, list[np.ndarray]]()
                for order in draws:
                    some = np.concatenate([order[labels[order] == c][:shots] for c in np.unique(truth)])
                    few = enrol(known[some], labels[some])
                    right.setdefault("disjoint", []).append(few.predict(asked) == truth)
                    right.setdefault("joint", []).append(few.joined(before).predict(asked) == truth)
                for scene, found in right.items():
                    hits.setdefault((scene, shots, way), []).append(np.mean(found, 0))
    rows = []
    for scene in ("disjoint", "joint"):
        for shots in (1, 5, 20):
            for way in ways:
                mine, base = hits[scene, shots, way], hits[scene, shots, ways[0]]
                rows.append([scene, str(shots), way, cell(mine), "" if way == ways[0] else gain(mine, base)])
    table(["scenario", "shots", "trained by", "accuracy on new classes", "less triplets"], rows)


def main(chosen: argparse.Namespace) -> None:
    """One of the three."""
    {"icnn": few_shot, "ecaml": confusing, "novel": novel}[chosen.name](chosen)
