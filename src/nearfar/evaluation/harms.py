"""What too few rows of a class do to its vectors, and what that costs a classifier of them.

Of one encoder that learned from all rows ("balanced") and one that saw few rows of one class ("rare"):

    representation harm   RH_cc' = (1 - K'_cc') / (1 - K_cc')    K, K' mean cosines of two classes, balanced and rare
    total effect          TE = confusion(rare encoder, rare head) - confusion(balanced encoder, balanced head)
    indirect effect       IE = confusion(rare encoder, balanced head) - confusion(balanced encoder, balanced head)
    direct effect         DE = TE - IE

RH below 1 in the row of the rare class: it has moved onto others. IE is the part of the cost that labels cannot buy
back: a head that is fitted on all labels still pays it. Heads are linear. Source: Maity et al. 2023, An Investigation
of Representation and Allocation Harms in Contrastive Learning; smaityumich/CL-representation-harm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import DataError

from .bootstrap import seeds_mean
from .checks import Labels, Vectors, as_labels, as_vectors, same_width, unit
from .metric import Metric, plain
from .probes import linear_probe

EFFECTS = ("total", "indirect", "direct")


@dataclass(frozen=True)
class Encoded:
    """What one encoder makes of the training rows (N, D), all of them, and of the test rows (M, D)."""

    train: Vectors
    test: Vectors


@dataclass(frozen=True)
class Harms:
    """Harms of S pairs of encoders.

    Attributes:
        classes: names of the C classes. rare: which of them was made rare. kept: training rows of it that were left.
        representation: (S, C, C) RH, NaN where the classes coincide for the balanced encoder.
        effects: "total", "indirect", "direct" -> (S, C, C) differences of the shares of a true class (row) that are
            taken for a class (column); rows sum to 0.
        accuracy: (S, 3) of balanced and balanced, rare encoder and balanced head, rare and rare.
    """

    classes: list[str]
    rare: int
    kept: int
    representation: np.ndarray
    effects: dict[str, np.ndarray]
    accuracy: np.ndarray

    @property
    def seeds(self) -> int:
        """S, how many pairs of encoders."""
        return len(self.representation)

    def of_rare(self) -> dict[str, list[Metric]]:
        """RH and effects of the rare class against every class, in their order: mean over seeds and its interval."""
        tables = {"representation": self.representation, **self.effects}
        return {
            key: [seeds_mean(f"{key} {name}", table[:, self.rare, c]) for c, name in enumerate(self.classes)]
            for key, table in tables.items()
        }

    def joined(self, others: Sequence[Harms]) -> Harms:
        """These and others of the same classes, as of more seeds."""
        every = (self, *others)
        return Harms(
            self.classes,
            self.rare,
            self.kept,
            np.concatenate([one.representation for one in every]),
            {key: np.concatenate([one.effects[key] for one in every]) for key in EFFECTS},
            np.concatenate([one.accuracy for one in every]),
        )

    def __str__(self) -> str:
        name, wide = self.classes[self.rare], max(12, *(len(one) + 2 for one in self.classes))
        numbers = range(len(self.classes))
        lines = [f"Rare class: {name}, {self.kept} training rows left; seeds: {self.seeds}; means, 95 % intervals.", ""]
        lines += ["Representation harm, below 1: closer than when balanced", " " * wide + self._head(numbers)]
        means = self.representation.mean(axis=0)
        lines += [f"{self.classes[row]:<{wide}}" + "".join(f"{means[row, c]:7.2f}" for c in numbers) for row in numbers]
        lines += ["", f"Of {name}, against each class:"]
        heads = ("representation harm", *(f"{effect} effect" for effect in EFFECTS))
        lines.append(" " * wide + "".join(f"{head:<26}" for head in heads).rstrip())
        found = self.of_rare()
        for column, other in enumerate(self.classes):
            cells = "".join(f"{column_of[column].short():<26}" for column_of in found.values())
            lines.append(f"{other:<{wide}}{cells}".rstrip())
        said = ("balanced encoder, balanced head", "rare encoder, balanced head", "rare encoder, rare head")
        lines += ["", "Accuracy over all classes:"]
        lines += [f"  {what}: {seeds_mean('', self.accuracy[:, part]).short()}" for part, what in enumerate(said)]
        return "\n".join(lines)

    def _head(self, numbers: range) -> str:
        return "".join(f"{self.classes[number][:6]:>7}" for number in numbers)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            **{"classes": self.classes, "rare": self.classes[self.rare], "kept": self.kept, "seeds": self.seeds},
            "representation": plain(self.representation),
            "effects": plain(self.effects),
            "accuracy": plain(self.accuracy),
            "of_rare": {key: [metric.to_json() for metric in metrics] for key, metrics in self.of_rare().items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON, whole or not at all."""
        from nearfar.training.checkpoint import write_whole

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(self.to_json(), indent=1).encode())
        return path


def mean_cosines(vectors: Vectors, labels: Labels, classes: int | None = None) -> np.ndarray:
    """(C, C) mean cosine of the rows of every two classes, a row and itself included; from class means, so O(N D).

    classes: C, the highest label and one when None. NaN for a class without rows.

    >>> mean_cosines(np.array([[1.0, 0], [0, 2], [3, 0]]), [0, 0, 1]).tolist()
    [[0.5, 0.5], [0.5, 1.0]]
    """
    rows = unit(as_vectors(vectors))
    y = as_labels(labels, len(rows))
    count = max(int(y.max()) + 1, classes or 0)
    sums, sizes = np.zeros((count, rows.shape[1])), np.bincount(y, minlength=count)
    np.add.at(sums, y, rows)
    means = np.divide(sums, sizes[:, None], out=np.full_like(sums, np.nan), where=sizes[:, None] > 0)
    return np.asarray(means @ means.T)


def harms(
    balanced: Encoded,
    rare: Encoded,
    train_labels: Labels,
    test_labels: Labels,
    kept: np.ndarray,
    classes: Sequence[str] | None = None,
    strength: float | None = None,
    seed: int = 0,
) -> Harms:
    """Harms of one pair of encoders, one that learned from all training rows and one from the rows `kept` alone.

    kept: numbers of training rows, ascending; one class has fewer of them than it has rows. Both encoders give vectors
    of the same rows, of any width. strength: C of the heads, chosen by validation when None.

    Raises DataError: a class without training or test rows, no class or several from which rows were left out, or
    vectors and labels that do not fit.

    >>> x = np.eye(3).repeat(5, axis=0)
    >>> found = harms(Encoded(x, x), Encoded(x, x), np.arange(15) // 5, np.arange(15) // 5, np.arange(11))
    >>> found.classes[found.rare], float(found.representation[0, 2, 0]), float(abs(found.effects["total"]).max())
    ('2', 1.0, 0.0)
    """
    x, z = as_vectors(balanced.train, "training vectors"), as_vectors(balanced.test, "test vectors")
    others = as_vectors(rare.train, "training vectors of the rare encoder"), as_vectors(rare.test, "its test vectors")
    same_width(x, z, "training and test vectors")
    same_width(*others, "training and test vectors of the rare encoder")
    y, truth = as_labels(train_labels, len(x), "train labels"), as_labels(test_labels, len(z), "test labels")
    count = max(int(y.max()), int(truth.max())) + 1
    names = [str(number) for number in range(count)] if classes is None else list(classes)
    sizes, left = np.bincount(y, minlength=count), np.bincount(y[kept], minlength=count)
    empty = np.flatnonzero((sizes == 0) | (left == 0) | (np.bincount(truth, minlength=count) == 0))
    if len(empty):
        raise DataError(f"class {names[empty[0]]!r} has no training rows, none that are kept, or no test rows")
    fewer = np.flatnonzero(left < sizes)
    if len(fewer) != 1:
        raise DataError(f"one class is made rare, and here {len(fewer)} have fewer rows than before; keep all others")

    def said(rows: np.ndarray, rows_labels: np.ndarray, scored: np.ndarray) -> np.ndarray:
        probe = linear_probe(rows, rows_labels, scored, truth, strength=strength, resamples=1, seed=seed)
        table = np.zeros((count, count))
        np.add.at(table, (truth, probe.predictions), 1)
        return table

    tables = [said(x, y, z), said(others[0], y, others[1]), said(others[0][kept], y[kept], others[1])]
    accuracy = np.array([[table.trace() / len(truth) for table in tables]])
    base, indirect, total = (table / table.sum(axis=1, keepdims=True) for table in tables)
    apart, now = 1 - mean_cosines(z, truth, count), 1 - mean_cosines(others[1], truth, count)
    ratio = np.divide(now, apart, out=np.full_like(now, np.nan), where=apart > 1e-9)
    effects = {"total": total - base, "indirect": indirect - base, "direct": total - indirect}
    number = int(fewer[0])
    return Harms(names, number, int(left[number]), ratio[None], {k: v[None] for k, v in effects.items()}, accuracy)
