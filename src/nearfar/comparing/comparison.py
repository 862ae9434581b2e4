"""What a comparison found: lines with figures, paired differences, and what can be said of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..assess import UNTOUCHED, UNTRAINED
from ..evaluation import Difference, Metric, paired_difference
from ..evaluation.metric import plain
from ..run import save
from .measuring import Measured

SEARCH = ("search_ndcg@10", "search_hit@1")
QUALITY = ("knn_accuracy", "linear_accuracy", "fewshot_accuracy", "recall@1", "map@r", *SEARCH)
GEOMETRY = ("effective_rank", "uniformity")
LEVEL = 0.05
RESAMPLES = 2000  # p-values go down to 1 / 2001, which leaves room for Holm's correction over dozens of methods


@dataclass
class Line:
    """One line of the table: a method, or a baseline.

    Attributes:
        found: what the probes say, over all seeds; None when every run failed.
        cost: per finished run: seed, steps, seconds, items, items_per_second, peak_mib, start_mib, parameters, ...
        failed: what went wrong, run by run.
        alarms: what the monitors said while it was trained (collapse, a loss at chance).
        curves: per finished run what was seen while it was trained, see `curves.of`.
        folders: of its runs, relative to that of the comparison.
        command: reproduces its first run by itself.
    """

    name: str
    baseline: bool = False
    supervised: bool = False
    method: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    found: Measured | None = None
    cost: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    command: str = ""

    def metric(self, key: str) -> Metric | None:
        """A figure of this line, None where it has none."""
        return None if self.found is None else self.found.metrics.get(key)

    @property
    def collapsed(self) -> bool:
        """The monitors or the geometry of the vectors say that something is wrong."""
        return bool(self.alarms) or (self.found is not None and not self.found.healthy)

    def mean_cost(self, key: str) -> float | None:
        """A cost, averaged over the seeds."""
        values = [float(run[key]) for run in self.cost if run.get(key) is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Tested:
    """A paired difference, and its p-value after Holm's correction over the methods it was tested with."""

    difference: Difference
    corrected: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.difference.to_json(), "p_holm": self.corrected}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number, so that the chance of any false alarm among them keeps its level.

    The i-th smallest of m is multiplied by m - i + 1; none may be below that of a smaller one, nor above 1. Source:
    Holm 1979.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[name] = largest
    return corrected


@dataclass
class Comparison:
    """Lines, best first, then baselines, then what failed; and how they differ.

    Attributes:
        terms: what all had in common.
        lines: of the table.
        out: the folder.
        command: what was typed. given: the data as the user named them.
        rows: how many rows were learned from and scored on.
        notes: what a reader must know.
        against: reference -> metric -> line -> difference to that reference. References are the encoder before
            training, and "best": the best of the methods that use no labels, metric by metric (`best`).
    """

    terms: dict[str, Any]
    lines: list[Line]
    out: Path
    command: str = ""
    given: str = ""
    version: str = ""
    created: str = ""
    rows: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    against: dict[str, dict[str, dict[str, Tested]]] = field(init=False)
    best: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        key = self.headline
        self.lines.sort(key=lambda line: (line.baseline, line.found is None, -_value(line, key)))
        methods = [line for line in self.lines if not line.baseline and line.found is not None]
        self.against, self.best = {}, {}
        for reference in (line for line in self.lines if line.baseline and line.name in (UNTRAINED, UNTOUCHED)):
            self.against[reference.name] = {key: _tested(methods, reference, key) for key in self.quality}
        running = [line for line in methods if not line.supervised] or methods
        self.against["best"] = {}
        for key in self.quality:
            best = max((line for line in running if line.metric(key)), key=lambda line: _value(line, key), default=None)
            if best is not None:
                self.best[key] = best.name
                self.against["best"][key] = _tested([line for line in methods if line is not best], best, key)

    @property
    def quality(self) -> list[str]:
        """The metrics that need labels or pairs, as far as they were measured."""
        return [key for key in QUALITY if any(line.metric(key) for line in self.lines)]

    @property
    def headline(self) -> str:
        """The metric that lines are sorted by."""
        return next(iter(self.quality), GEOMETRY[0])

    def line(self, name: str) -> Line:
        """A line by its name."""
        return next(line for line in self.lines if line.name == name)

    @property
    def verdicts(self) -> list[str]:
        """What can be said, one sentence each."""
        from .verdicts import sentences

        return sentences(self)

    def __str__(self) -> str:
        from .table import text

        return text(self)

    def markdown(self) -> str:
        """The table for documents."""
        from .table import markdown

        return markdown(self)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; `nearfar.report.write_comparison` makes the page of it."""
        made: dict[str, Any] = plain(
            {
                "nearfar": self.version,
                "created": self.created,
                "command": self.command,
                "data": self.given,
                "terms": self.terms,
                "rows": self.rows,
                "headline": self.headline,
                "verdicts": self.verdicts,
                "notes": self.notes,
                "best": self.best,
                "lines": [self._line(line) for line in self.lines],
            }
        )
        return made

    def _line(self, line: Line) -> dict[str, Any]:
        found = line.found
        metrics = {key: metric.to_json() for key, metric in found.metrics.items()} if found else {}
        for key, entry in metrics.items():
            if found is not None and key in found.spread:
                entry |= {"spread": found.spread[key], "per_seed": found.per_seed[key]}
        return {
            "name": line.name,
            "baseline": line.baseline,
            "uses_labels": line.supervised,
            "method": line.method,
            "settings": line.settings,
            "metrics": metrics,
            "geometry": found.verdict if found else "",
            "against": {
                reference: {key: table[line.name].to_json() for key, table in tables.items() if line.name in table}
                for reference, tables in self.against.items()
            },
            "cost": line.cost,
            "alarms": line.alarms,
            "failed": line.failed,
            "folders": line.folders,
            "command": line.command,
            "curves": line.curves,
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON."""
        return save(Path(path), json.dumps(self.to_json(), indent=1).encode())


def _value(line: Line, key: str) -> float:
    metric = line.metric(key)
    return float("-inf") if metric is None else metric.value


def _tested(lines: Sequence[Line], reference: Line, key: str) -> dict[str, Tested]:
    """Each line minus the reference on the same items, corrected over the lines."""
    if reference.found is None or key not in reference.found.scores:
        return {}
    theirs = reference.found.scores[key]
    found = {
        line.name: paired_difference(line.found.scores[key], theirs, RESAMPLES)
        for line in lines
        if line.found is not None and key in line.found.scores
    }
    corrected = holm({name: difference.p_value for name, difference in found.items()})
    return {name: Tested(difference, corrected[name]) for name, difference in found.items()}
