"""iSogCLR: do temperatures of items follow how frequent their class is, and do small batches gain?"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from benchmarks.claims.common import Sets, balanced, cell, everything, gain, learn, table
from benchmarks.claims.drawing import Shown, draw
from nearfar.evaluation.bootstrap import seeds_mean

LONGEST, RATIO = 1000, 100  # pictures of the most frequent class, and how often it has those of the rarest
ITEMS, EPOCHS, BATCHES = 2000, 10, (16, 64)
OBJECTIVES = ("NTXent", "SogCLR", "ISogCLR")


def tailed(seed: int) -> tuple[Sets, np.ndarray]:
    """From 1000 to 10 pictures of a class, in an order of classes that is another for each seed; how many of each."""
    sets, drawn = everything(), np.random.default_rng(seed)
    sizes = np.round(LONGEST / RATIO ** (drawn.permutation(10) / 9)).astype(int)
    kept = np.concatenate([np.flatnonzero(sets.labels == c)[:n] for c, n in enumerate(sizes)])
    return sets.some(kept), sizes


def settings(objective: str, items: int) -> dict[str, Any]:
    """Options of `simclr` at one temperature, and with a table of the items where the objective keeps one."""
    more = {"items": items} if "Sog" in objective else {}
    return {"objective": objective, "temperature": 0.1, **more}


def frequency(chosen: argparse.Namespace) -> None:
    """Temperatures of the items of a long-tailed set, by class."""
    found, ranks = list[tuple[np.ndarray, np.ndarray]](), []
    for seed in range(chosen.seeds):
        sets, sizes = tailed(seed)
        method = learn("simclr", settings("ISogCLR", len(sets.labels)), sets, seed, chosen.steps, 64).method
        each = method.objective.temperatures.numpy()
        means = np.array([each[sets.labels == c].mean() for c in range(10)])
        found.append((sizes, means))
        ranks.append(float(spearmanr(sizes, means).statistic))
    order = [np.argsort(-sizes) for sizes, _ in found]
    columns = [sizes[o] for (sizes, _), o in zip(found, order, strict=True)]
    values = np.stack([means[o] for (_, means), o in zip(found, order, strict=True)])
    rows = [[str(columns[0][place]), seeds_mean("", values[:, place]).short()] for place in range(10)]
    table(["pictures of the class", "mean temperature"], rows)
    print("rank correlation of class size and mean temperature:", seeds_mean("", ranks).short(), "\n")
    print("slope for ten times the pictures, each class with a level of its own:", slope(found), "\n")
    if chosen.pictures:
        shown = [Shown(f"seed {seed}", *part) for seed, part in enumerate(found)]
        draw(
            chosen.pictures / "claims-isogclr.svg",
            "Temperatures that items of a class found, ISogCLR",
            "pictures of the class",
            "mean temperature",
            shown,
            logs=True,
        )


def slope(found: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Least squares of the mean temperature over the tenfold of pictures, with a constant for each class.

    Classes are crowded by themselves; over the seeds a class has other sizes. Student's 95 % interval.
    """
    size, level = (np.stack(part).astype(float) for part in zip(*found, strict=True))  # seeds, classes
    size = np.log10(size)
    size, level = size - size.mean(0), level - level.mean(0)
    value = (size * level).sum() / (size**2).sum()
    free = size.size - size.shape[1] - 1
    half = student.ppf(0.975, free) * np.sqrt(((level - value * size) ** 2).sum() / free / (size**2).sum())
    return f"{value:+.4f} [{value - half:+.4f}, {value + half:+.4f}]"


def small(chosen: argparse.Namespace) -> None:
    """kNN accuracy by batch size, with equal epochs."""
    hits: dict[tuple[int, str], list[np.ndarray]] = {}
    for seed in range(chosen.seeds):
        sets = balanced(ITEMS, seed)
        for batch in BATCHES:
            for objective in OBJECTIVES:
                steps, rate = EPOCHS * ITEMS // batch, 1e-3 * (batch / 64) ** 0.5
                learned = learn("simclr", settings(objective, ITEMS), sets, seed, steps, batch, rate=rate)
                hits.setdefault((batch, objective), []).append(learned.hits(sets))
    rows = []
    for (batch, objective), scores in hits.items():
        less = "" if objective == "NTXent" else gain(scores, hits[batch, "NTXent"])
        rows.append([str(batch), objective, cell(scores), less])
    table(["batch", "objective", "kNN accuracy", "less NTXent"], rows)


def main(chosen: argparse.Namespace) -> None:
    """Both."""
    frequency(chosen)
    small(chosen)
