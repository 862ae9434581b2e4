"""Collapse of learning by a margin: batch-hard against semi-hard triplets, under wrong labels and several margins.

Items of classes learn from labels of which a share is wrong. A batch holds P labels and K items of each; an anchor
takes its farthest near and its nearest far row (hard), or with each near row the nearest far row that is still farther
(semi-hard), and the loss is the hinge [d_near - d_far + margin]_+ of distances d of unit rows. Where the hardest far
row is as near as the hardest near one whatever the network does, the shortest way down to the margin is to make all
distances 0. A run has collapsed when the diameter of fresh items stays below a tenth of the margin for 100 updates.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ..contrast import NegativeEuclidean
from ..evaluation import Metric, knn_predict, margin_state
from ..objectives import TripletHard, TripletSemiHard
from ..report.findings import Picture, curve
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds
from .negatives import Classes

_EVERY, _LASTING = 20, 100  # updates between two looks, and for which a collapse must last
_KINDS: dict[str, type[TripletHard] | type[TripletSemiHard]] = {"hard": TripletHard, "semi-hard": TripletSemiHard}


class MiningOptions(DiagnosisOptions):
    """Settings of `mining`."""

    wrong: tuple[float, ...] = Field((0.0, 0.3, 0.6), min_length=2, description="shares of wrong labels, growing")
    margins: tuple[float, ...] = Field((0.2, 1.0), min_length=1, description="of the hinge, in distance of unit rows")
    groups: int = Field(8, ge=2, description="P, labels in a batch")
    each: int = Field(4, ge=2, description="K, items of each of them")
    classes: int = Field(10, ge=2, description="classes")
    width: int = Field(16, ge=2, description="columns of an item")
    spread: float = Field(1.0, gt=0, description="noise of items about their class, whose length is 1")
    rows: int = Field(1000, ge=40, description="items to learn from; a quarter as many fresh ones are looked at")
    steps: int = Field(240, ge=_LASTING + _EVERY, description="updates by Adam")
    lr: float = Field(0.01, gt=0, description="learning rate")


def mislabelled(labels: np.ndarray, share: float, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Labels (N,) of which this share is another class, drawn evenly.

    >>> (mislabelled(np.zeros(10, int), 0.3, 2, np.random.default_rng(0)) != 0).sum()
    np.int64(3)
    """
    found = labels.copy()
    at = rng.permutation(len(labels))[: round(share * len(labels))]
    found[at] = (labels[at] + rng.integers(1, classes, len(at))) % classes
    return found


def collapsed_at(diameters: np.ndarray, margin: float) -> float:
    """The first update from which all looks are below a tenth of the margin for 100 updates; infinite if none is.

    >>> collapsed_at(np.array([1.0, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]), 0.2)
    20.0
    """
    below, looks = diameters < 0.1 * margin, _LASTING // _EVERY + 1
    for at in range(len(below) - looks + 1):
        if below[at : at + looks].all():
            return float(at * _EVERY)
    return math.inf


def one_run(options: MiningOptions, kind: str, margin: float, share: float, seed: int) -> dict[str, np.ndarray]:
    """``diameters`` at every look, ``violating`` and ``neighbours`` (of the right class) at the end, ``collapsed``."""
    objective = _KINDS[kind](similarity=NegativeEuclidean(), margin=margin)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    world = Classes(options.classes, options.width, generator, options.spread)
    truth, fresh_truth = world.labels(options.rows), world.labels(options.rows // 4)
    items, fresh = world.items(truth), world.items(fresh_truth)
    labels = mislabelled(truth.numpy(), share, options.classes, rng)
    of = [np.flatnonzero(labels == c) for c in range(options.classes)]
    full = [c for c in range(options.classes) if len(of[c]) >= options.each]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(options.width, 64), nn.ReLU(), nn.Linear(64, 16))
    optimiser = torch.optim.Adam(net.parameters(), options.lr)
    diameters = []
    for step in range(options.steps + 1):
        if step % _EVERY == 0:
            with torch.no_grad():
                seen = net(fresh).numpy()
            state = margin_state(seen, fresh_truth.numpy(), margin)
            diameters.append(state.diameter)
        drawn = [rng.choice(of[c], options.each, replace=False) for c in rng.permutation(full)[: options.groups]]
        at = np.concatenate(drawn)
        optimiser.zero_grad()
        objective(net(items[at]), labels=torch.from_numpy(labels[at])).backward()
        optimiser.step()
    with torch.no_grad():
        told = knn_predict(net(items).numpy(), truth.numpy(), seen, k=5)
    return {
        "diameters": np.array(diameters),
        "violating": np.array(state.violating),
        "neighbours": np.array((told == fresh_truth.numpy()).mean()),
        "collapsed": np.array(collapsed_at(np.array(diameters), margin)),
    }


def measure(options: MiningOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    ways = [(share, margin, kind) for share in options.wrong for margin in options.margins for kind in _KINDS]
    found: list[dict[str, np.ndarray]] = []
    for share, margin, kind in ways:
        say(f"{share:.0%} of labels wrong, margin {margin:g}, {kind}")
        runs = [one_run(options, kind, margin, share, seed) for seed in options.every_seed]
        found.append({key: np.stack([run[key] for run in runs]) for key in runs[0]})
    table: list[dict[str, Cell]] = [
        {
            "wrong labels": share,
            "margin": margin,
            "mining": kind,
            "diameter": over_seeds("diameter", seen["diameters"][:, -1], (0, 2)),
            "violating": over_seeds("violating", seen["violating"], (0, 1)),
            "5 neighbours": over_seeds("5 neighbours", seen["neighbours"], (0, 1)),
            "collapsed": f"{np.isfinite(seen['collapsed']).sum()} of {options.seeds}",
        }
        for (share, margin, kind), seen in zip(ways, found, strict=True)
    ]

    def collapsed(of: str, shares: tuple[float, ...]) -> Metric:
        ends = [
            np.isfinite(s["collapsed"]) for (share, _, kind), s in zip(ways, found, strict=True)
            if kind == of and share in shares
        ]  # fmt: skip
        which = f"{shares[0]:.0%} of labels wrong" if len(shares) == 1 else "all shares of wrong labels"
        return Metric(f"runs that collapse, {of}, {which}", float(np.mean(ends)), int(np.size(ends)))

    most = options.wrong[-1:]
    figures = {
        "hard": collapsed("hard", most),
        "hard_clean": collapsed("hard", options.wrong[:1]),
        "semi_hard": collapsed("semi-hard", options.wrong),
    }
    holds = figures["hard"].value == 1 and figures["semi_hard"].value == 0
    verdict = (
        f"{opening(holds)}: of the runs with hard triplets {figures['hard'].value:.0%} collapse where "
        f"{most[0]:.0%} of labels are wrong and {figures['hard_clean'].value:.0%} where {options.wrong[0]:.0%} are; "
        f"with semi-hard ones {figures['semi_hard'].value:.0%} do over all shares and margins."
    )
    x = np.arange(found[0]["diameters"].shape[1]) * _EVERY
    pictures = [
        Picture(
            f"Diameter of fresh items, {kind}",
            "update",
            [
                curve(f"{share:.0%} wrong, margin {margin:g}", at, x, seen["diameters"])
                for at, ((share, margin, of), seen) in enumerate(zip(ways, found, strict=True))
                if of == kind
            ],
        )
        for kind in _KINDS
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "mining",
    "Where labels are wrong, the hardest triplets draw all rows together whatever the margin; semi-hard ones do not.",
    "Xu et al. 2022, Mathematical Justification of Hard Negative Mining via Isometric Approximation Theorem (abstract)",
    MiningOptions,
    measure,
)
