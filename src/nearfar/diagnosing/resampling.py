"""What a teacher makes of the pairs of a batch: how many near pairs then join two classes, and far pairs one.

Without labels, the near pairs are the two views of an item and all other pairs are far. A teacher's cosines add near
pairs and drop far ones, as `simclr` with a `teacher` does. Where the classes are known, the labelling error of the
graph of near pairs, the share of its weight that joins two classes, and the share of far pairs within one class say
what that is worth, before anything is trained.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from ..errors import DataError
from ..evaluation import Metric
from ..mining.vectors import open_vectors
from ..objectives import by_teacher
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds
from .negatives import Classes


class ResamplingOptions(DiagnosisOptions):
    """Settings of `resampling`."""

    data: str | None = Field(None, description="the teacher: an .npz of nearfar embed with labels; a toy when unset")
    batch: int = Field(128, ge=4, description="items of a batch, each with two views that are one to the teacher")
    batches: int = Field(10, ge=1, description="batches of each seed")
    drop_alike: float = Field(0.05, gt=0, lt=1, description="share of the rows, the most alike, that are not far")
    drop_easy: float = Field(0.1, gt=0, lt=1, description="share of the rows, the least alike, that are not far")
    classes: int = Field(10, ge=2, description="classes of the toy")
    width: int = Field(32, ge=2, description="columns of the toy")
    spread: float = Field(1.0, gt=0, description="noise of the toy's items about their class, whose length is 1")


def told_of(vectors: torch.Tensor, labels: np.ndarray, **switches: bool | float) -> dict[str, float]:
    """The labelling error, the share of added rows of another class, and of far pairs within a class, of (B, D) rows.

    The last two are NaN where no row is added, or none far.

    >>> found = told_of(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), np.array([0, 0, 1]), add_near=True)
    >>> {key: round(value, 3) for key, value in found.items()}  # of the added rows, those of the third item are wrong
    {'labelling error': 0.167, 'added of another class': 0.333, 'far of the same class': 0.222}
    """
    ids, y = torch.arange(len(vectors)).repeat(2), torch.from_numpy(np.asarray(labels, dtype=np.int64)).repeat(2)
    relation, at = by_teacher(vectors.repeat(2, 1), ids, **switches), torch.arange(len(ids))  # type: ignore[arg-type]
    near, far = relation.weight(at, at)
    near = near.bool() & ~torch.eye(len(ids), dtype=torch.bool)
    other, added = y[:, None] != y[None, :], near & (ids[:, None] != ids[None, :])

    def share(of: torch.Tensor, which: torch.Tensor) -> float:
        return float((of & which).sum()) / count if (count := int(of.sum())) else float("nan")

    return {
        "labelling error": share(near, other),
        "added of another class": share(added, other),
        "far of the same class": share(far.bool(), ~other),
    }


def _rows(options: ResamplingOptions, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    if options.data is None:
        world = Classes(options.classes, options.width, torch.Generator().manual_seed(seed), options.spread)
        truth = world.labels(options.batch * options.batches)
        return world.items(truth), truth.numpy()
    with np.load(options.data, allow_pickle=False) as archive:
        if "labels" not in archive:
            raise DataError(f"{options.data} has no labels; embed labelled data, and write an .npz")
        labels = np.asarray(archive["labels"])
    known = np.flatnonzero(labels >= 0)
    if len(known) < options.batch:
        raise DataError(f"{options.data} has {len(known)} labelled rows, a batch {options.batch}; set a smaller batch")
    drawn = np.random.default_rng(seed).permutation(known)[: options.batch * options.batches]
    return torch.from_numpy(np.asarray(open_vectors(options.data))[drawn]).float(), labels[drawn]


def measure(options: ResamplingOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    ways: dict[str, dict[str, bool | float]] = {
        "views alone": {},
        "add_near": {"add_near": True},
        f"drop_alike {options.drop_alike:g}": {"drop_alike": options.drop_alike},
        f"drop_easy {options.drop_easy:g}": {"drop_easy": options.drop_easy},
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for seed in options.every_seed:
        say(f"seed {seed}")
        vectors, labels = _rows(options, seed)
        starts = range(0, len(labels) - options.batch + 1, options.batch)
        for name, switches in ways.items():
            each = [told_of(vectors[s : s + options.batch], labels[s : s + options.batch], **switches) for s in starts]
            found[name].append({key: float(np.mean([one[key] for one in each])) for key in each[0]})
    seen = {name: {key: np.array([one[key] for one in rows]) for key in rows[0]} for name, rows in found.items()}
    plain, alike = (seen[name]["far of the same class"] for name in list(ways)[::2])
    figures: dict[str, Metric] = {
        "error": over_seeds("labelling error with add_near", seen["add_near"]["labelling error"], (0, 1)),
        "gained": over_seeds(
            "share of all other items that are of another class, less that of the added rows",
            1 - plain - seen["add_near"]["added of another class"],
        ),
        "dropped": over_seeds("far pairs within a class without a teacher, less with drop_alike", plain - alike),
    }
    table: list[dict[str, Cell]] = [
        {
            "near and far by": name,
            **{key: over_seeds(key, values, (0, 1)) for key, values in rows.items() if np.isfinite(values).all()},
        }
        for name, rows in seen.items()
    ]
    holds = figures["gained"].low > 0 and figures["dropped"].low > 0
    verdict = (
        f"{opening(holds)}: of the near pairs, {figures['error'].short()} join two classes when the teacher adds one "
        f"row to each. An added row is of another class less often than any row by {figures['gained'].short()}, and "
        f"dropping what is most alike leaves fewer far pairs within a class by {figures['dropped'].short()}."
    )
    return verdict, holds, figures, table, []


DIAGNOSIS = Diagnosis(
    "resampling",
    "What a teacher finds alike is of one class more often than chance: near pairs that it adds have a small labelling "
    "error, and far pairs that it drops were within a class.",
    "Zhang et al. 2023, On the Generalization of Multi-modal Contrastive Learning",
    ResamplingOptions,
    measure,
)
