"""What a diagnosis found: figures over seeds, a small table, charts, and a sentence on whether the claim holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ..errors import DataError
from ..evaluation import Metric
from ..evaluation.metric import plain
from ..report.findings import Picture, render
from ..report.page import put
from ..settings import Settings

Say = Callable[[str], None]
Cell = Metric | float | int | str
# verdict, whether the claim holds, figures, table, pictures
Measured = tuple[str, "bool | None", dict[str, Metric], list[dict[str, Cell]], list[Picture]]


class DiagnosisOptions(Settings):
    """Settings of every diagnosis."""

    seeds: int = Field(
        3, ge=2, description="repetitions, each with data and weights of its own; intervals are over them"
    )
    seed: int = Field(0, ge=0, description="of the first repetition")

    @property
    def every_seed(self) -> range:
        """The seeds of the repetitions."""
        return range(self.seed, self.seed + self.seeds)


@dataclass(frozen=True)
class Finding:
    """What a diagnosis found.

    Attributes:
        name, claim, source: of the diagnosis.
        verdict: one or two sentences.
        holds: whether the claim holds here; None where these figures cannot tell.
        figures: what the verdict stands on.
        table: lines of a small table, column -> figure, number or word.
        pictures: charts of the page.
        settings: all that was set.
    """

    name: str
    claim: str
    source: str
    verdict: str
    holds: bool | None
    figures: dict[str, Metric]
    table: list[dict[str, Cell]]
    pictures: list[Picture]
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        columns = list(dict.fromkeys(key for row in self.table for key in row))
        lines = [columns, *([told(row.get(key, "")) for key in columns] for row in self.table)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        figures = [str(metric) for metric in self.figures.values()]
        return "\n".join([f"Claim: {self.claim}", "", *table, "", *figures, "", self.verdict])

    def to_json(self) -> dict[str, Any]:
        """Everything but the charts as plain values; figures that are not finite are None."""
        return {
            "diagnosis": self.name,
            "claim": self.claim,
            "source": self.source,
            "holds": self.holds,
            "verdict": self.verdict,
            "figures": {key: metric.to_json() for key, metric in self.figures.items()},
            "table": [
                {key: c.to_json() if isinstance(c, Metric) else plain(c) for key, c in r.items()} for r in self.table
            ],
            "settings": plain(self.settings),
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON, whole or not at all."""
        return put(Path(path), json.dumps(self.to_json(), indent=1) + "\n")

    def page(self, path: str | Path) -> Path:
        """Write a page with the verdict, the figures, the charts and the settings."""
        figures = [(m.name, told(m)) for m in self.figures.values()]
        table = [{key: told(cell) for key, cell in row.items()} for row in self.table]
        return put(
            Path(path),
            render(
                self.name, self.claim, self.source, self.verdict, figures, table, self.pictures, plain(self.settings)
            ),
        )


@dataclass(frozen=True)
class Diagnosis:
    """A claim that can be measured: its name, what it says, where it is from, what can be set, and what measures it."""

    name: str
    claim: str
    source: str
    Options: type[DiagnosisOptions]
    measure: Callable[[Any, Say], Measured]

    def __call__(self, say: Say = lambda text: None, **settings: Any) -> Finding:
        """Measure it.

        Raises ConfigError: an unknown setting, or one out of its range.
        """
        options = self.Options(**settings)
        found = self.measure(options, say)
        say("done")
        return Finding(self.name, self.claim, self.source, *found, settings=options.model_dump())

    def describe(self) -> str:
        """The claim, its source, and every setting with its default."""
        fields = self.Options.model_fields.items()
        width = max(len(name) for name, _ in fields)
        settings = [f"  {name:<{width}}  {f.default!r}  {f.description}" for name, f in fields]
        return "\n".join(
            [f"{self.name}: {self.claim}", f"Source: {self.source}", "Settings (--set KEY=VALUE):", *settings]
        )


def opening(holds: bool | None) -> str:
    """How a verdict begins."""
    return {True: "Holds", False: "Does not hold", None: "Not decided"}[holds] + " here"


def told(cell: Cell) -> str:
    """A cell as text: a figure with its interval, three digits of a number."""
    if isinstance(cell, Metric):
        return cell.short()
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def over_seeds(
    name: str, values: Sequence[float] | np.ndarray, within: tuple[float, float] = (-math.inf, math.inf)
) -> Metric:
    """The mean of one value per seed with Student's 95 % interval; no interval of one value, or of one that is NaN.

    within: the smallest and the largest value that are possible, which the interval does not leave.

    >>> print(over_seeds("gap", [1.0, 2.0, 3.0]))                              # 2 +- 4.303 / sqrt(3)
    gap 2.000 [-0.484, 4.484] n=3
    """
    from scipy.stats import t

    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise DataError(f"{name}: one value for each seed, got shape {x.shape}")
    if len(x) < 2 or not np.isfinite(x).all():
        return Metric(name, float(x.mean()), len(x))
    mean, half = float(x.mean()), float(t.ppf(0.975, len(x) - 1)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Metric(name, mean, len(x), max(mean - half, within[0]), min(mean + half, within[1]))


def rank_correlations(name: str, a: np.ndarray, b: np.ndarray) -> Metric:
    """The mean over seeds of Spearman's correlations of rows of a and b (seeds, points), with its interval."""
    return over_seeds(name, [rank_correlation(*pair) for pair in zip(a, b, strict=True)], (-1.0, 1.0))


def rank_correlation(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Spearman's correlation of two rows of numbers; NaN where one of them is constant.

    >>> rank_correlation([1, 2, 3], [10, 20, 90])
    1.0
    """
    from scipy.stats import spearmanr

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(spearmanr(a, b).statistic)
