"""Coloured clothes from two environments: a head that votes by a support set, of one environment or of any.

Colours go with the class, in one scene as strongly as 0.95 and 0.8, in the other by 0.95 but in each environment
another way. In the test they are turned round: every class has the colour of another one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.claims.common import cell, everything, gain, table
from benchmarks.colours import COLOURS
from nearfar.contrast import same_key
from nearfar.evaluation import seeds_mean
from nearfar.objectives import NadarayaWatson

BATCH, EACH, SHOWN = 128, 20, 10
SCENES = {"one colouring, 0.95 and 0.8": ((0.95, 0), (0.8, 0)), "a colouring each, 0.95": ((0.95, 0), (0.95, 1))}
WAYS = {  # supports from one environment at a time, and rows of each class in them
    "cross-entropy": None,
    "any supports, 1": (False, 1),
    "one environment, 1": (True, 1),
    "any supports, 5": (False, 5),
    "one environment, 5": (True, 5),
}


@dataclass(frozen=True)
class Painted:
    """Coloured pictures (N, 192), their classes, colours and environments."""

    x: Tensor
    y: Tensor
    colour: Tensor
    place: Tensor

    def supports(self, each: int, drawn: torch.Generator, place: int | None = None) -> Tensor:
        """Ids of so many rows of every class, of one environment or of any."""
        order = torch.randperm(len(self.y), generator=drawn)
        if place is not None:
            order = order[self.place[order] == place]
        return torch.cat([order[self.y[order] == c][:each] for c in range(10)])


def painted(images: Tensor, labels: np.ndarray, agree: float, step: int, place: int, seed: int) -> Painted:
    """Pictures whose colour is that of the class so many places on, in a share `agree`, else another one."""
    drawn, y = torch.Generator().manual_seed(seed), torch.as_tensor(labels).long()
    other = torch.randint(1, 10, y.shape, generator=drawn)
    colour = (y + step + torch.where(torch.rand(len(y), generator=drawn) < agree, 0, other)) % 10
    x = images.float() / 255 * COLOURS[colour][:, :, None, None]
    return Painted(x.flatten(1), y, colour, torch.full_like(y, place))


def scene(name: str, seed: int) -> tuple[Painted, Painted, Painted]:
    """To train on, to test on with the colours of training, and with colours turned round."""
    sets, drawn = everything(), np.random.default_rng(seed)
    steps = [0, *drawn.permutation(np.arange(1, 10))]
    halves = np.array_split(drawn.permutation(len(sets.labels)), 2)
    tests = np.array_split(drawn.permutation(len(sets.truth)), 2)

    def both(images: Tensor, labels: np.ndarray, parts: list[np.ndarray], at: int) -> Painted:
        made = [
            painted(images[rows], labels[rows], agree, steps[way], place, 10 * seed + place + at)
            for place, ((agree, way), rows) in enumerate(zip(SCENES[name], parts, strict=True))
        ]
        return Painted(*(torch.cat([getattr(one, key) for one in made]) for key in ("x", "y", "colour", "place")))

    turned = painted(sets.test, sets.truth, 1.0, steps[2], -1, seed)
    return both(sets.images, sets.labels, halves, 0), both(sets.test, sets.truth, tests, 5), turned


def learned(way: tuple[bool, int] | None, data: Painted, seed: int, steps: int) -> nn.Module:
    """An encoder under the head that votes, or a classifier."""
    torch.manual_seed(seed)
    layers = [part for wide in (192, 256) for part in (nn.Linear(wide, 256), nn.BatchNorm1d(256), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(256, 64 if way else 10))
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn, objective = torch.Generator().manual_seed(seed), NadarayaWatson()
    for _ in range(steps):
        ids = torch.randint(len(data.y), (BATCH,), generator=drawn)
        optimiser.zero_grad()
        if way is None:
            loss = nn.functional.cross_entropy(net(data.x[ids]), data.y[ids])
        else:
            alone, each = way
            place = int(torch.randint(2, (), generator=drawn)) if alone else None
            support = data.supports(each, drawn, place)
            queries, voters = net(data.x[torch.cat([ids, support])]).split([BATCH, len(support)])
            loss = objective(queries, voters, relation=same_key(data.y[ids], data.y[support]))
        loss.backward()
        optimiser.step()
        slower.step()
    return net.eval()


def votes(net: nn.Module, data: Painted, support: Tensor, x: Tensor) -> Tensor:
    """(N, S) the weight of each support row in the decision on each picture."""
    with torch.no_grad():
        return (-torch.cdist(net(x), net(data.x[support]))).softmax(1)


def decided(weights: Tensor, labels: Tensor) -> Tensor:
    """(N,) the class of the most weight."""
    return (weights @ nn.functional.one_hot(labels, 10).float()).argmax(1)


def explained(weights: Tensor, labels: Tensor, colours: Tensor, asked: Painted, drawn: torch.Generator) -> list[float]:
    """Of the heaviest rows: share of the decided class, of the picture's colour; decisions changed without them.

    Last, how many change without as many other rows of the decided class, drawn at random.
    """
    said = decided(weights, labels)
    heavy = weights.topk(SHOWN, dim=1).indices
    mine = labels[heavy] == said[:, None]
    own = labels == said[:, None]
    found = [float(mine.float().mean()), float((colours[heavy] == asked.colour[:, None]).float().mean())]
    for order in (weights, torch.rand(weights.shape, generator=drawn)):
        gone = torch.where(own, order, -1.0).topk(SHOWN, dim=1).indices
        changed = decided(weights.scatter(1, gone, 0.0), labels) != said
        found.append(float(changed.float().mean()))
    return found


def main(chosen: argparse.Namespace) -> None:
    """Accuracy with colours as in training and turned round, and what the heaviest rows say of decisions."""
    for name in SCENES:
        hits = dict[tuple[str, str], list[np.ndarray]]()
        reasons = dict[str, list[list[float]]]()
        for seed in range(chosen.seeds):
            data, same, turned = scene(name, seed)
            drawn = torch.Generator().manual_seed(seed)
            support = torch.cat([data.supports(EACH, drawn, place) for place in (0, 1)])
            labels, colours = data.y[support], data.colour[support]
            for way, how in WAYS.items():
                net = learned(how, data, seed, chosen.steps)
                for side, asked in (("same", same), ("turned", turned)):
                    if how is None:
                        with torch.no_grad():
                            told = net(asked.x).argmax(1)
                    else:
                        told = decided(votes(net, data, support, asked.x), labels)
                    hits.setdefault((side, way), []).append((told == asked.y).double().numpy())
                if how is not None:
                    weights = votes(net, data, support, turned.x)
                    reasons.setdefault(way, []).append(explained(weights, labels, colours, turned, drawn))
        base = next(iter(WAYS))
        rows = []
        for way in WAYS:
            row = [way]
            for side in ("same", "turned"):
                mine = hits[side, way]
                row += [cell(mine), "" if way == base else gain(mine, hits[side, base])]
            rows.append(row)
        print(f"{name}\n")
        table(["trained with", "colours as in training", f"less {base}", "turned round", f"less {base}"], rows)
        for each in (1, 5):
            alone, free = (hits["turned", f"{kind}, {each}"] for kind in ("one environment", "any supports"))
            seeds = [float(one.mean() - other.mean()) for one, other in zip(alone, free, strict=True)]
            said = f"one environment less any {gain(alone, free)}, over seeds {seeds_mean('', seeds).short()}"
            print(f"turned round, {each} of a class: {said}")
        print()
        head = ["trained with", "of the decided class", "of the picture's colour", "changed without them"]
        table(
            [*head, "without others"],
            [[way, *(seeds_mean("", one).short() for one in np.transpose(values))] for way, values in reasons.items()],
        )
