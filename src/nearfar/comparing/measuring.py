"""Measuring vectors once and keeping what was found, per item, so that nothing is measured twice."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation import EvaluationSettings, Metric, bootstrap_mean, evaluate_vectors
from ..matching import evaluations
from ..run import save
from .rows import Rows

PROBES = ("knn", "linear", "fewshot", "retrieval", "geometry")


@dataclass(frozen=True)
class Measured:
    """What the probes say of one set of vectors.

    metrics: as `Evaluation.metrics`. scores: per item, (N,) or (draws, N), behind the metrics. verdict: the geometry
    in a sentence. spread: standard deviation over seeds, and per_seed: the values, where there are several.
    """

    metrics: dict[str, Metric]
    scores: dict[str, np.ndarray]
    verdict: str = ""
    notes: list[str] = field(default_factory=list)
    spread: dict[str, float] = field(default_factory=dict)
    per_seed: dict[str, list[float]] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """The geometry shows no collapse, as far as it was measured."""
        return not self.verdict or self.verdict.startswith("No collapse")


def measure(
    rows: Rows,
    vectors: Callable[[Any], np.ndarray],
    settings: dict[str, Any],
    kept: Path,
    say: Callable[[str], None],
) -> Measured:
    """Measure vectors, or read what was found before, which stands in `kept` (without ending)."""
    figures, scores = kept.with_suffix(".json"), kept.with_suffix(".npz")
    if figures.exists() and scores.exists():
        return _read(figures, scores)

    def report(probe: str, done: int, total: int) -> None:
        say(probe)

    say("vectors")
    held = vectors(rows.test)
    train = held if rows.train is rows.test else vectors(rows.train)
    found = evaluate_vectors(
        train, rows.train.labels, held, rows.test.labels,
        probes=PROBES if rows.labelled else ("geometry",), classes=rows.train.classes or None, progress=report,
        **settings,
    )  # fmt: skip
    metrics, scored, notes = found.metrics, found.scores, found.notes
    if rows.matches is not None:
        look = {"search": vectors}
        searched = evaluations(rows.matches, ("search",), EvaluationSettings(**settings), look, say)[0]["search"]
        metrics, scored = {**searched.metrics, **metrics}, {**searched.scores, **scored}
        notes = [*searched.notes, *notes]
    measured = Measured(metrics, scored, found.verdict, notes)
    content = io.BytesIO()
    np.savez_compressed(content, **measured.scores)  # type: ignore[arg-type]
    save(scores, content.getvalue())
    entry = {
        "metrics": {key: metric.to_json() for key, metric in measured.metrics.items()},
        "verdict": measured.verdict,
        "notes": measured.notes,
    }
    save(figures, json.dumps(entry, indent=1).encode())  # last, since both are needed
    return measured


def _read(figures: Path, scores: Path) -> Measured:
    entry = json.loads(figures.read_text(encoding="utf-8"))
    metrics = {key: from_json(metric) for key, metric in entry["metrics"].items()}
    with np.load(scores, allow_pickle=False) as archive:
        return Measured(metrics, dict(archive), entry["verdict"], entry["notes"])


def from_json(entry: dict[str, Any]) -> Metric:
    """A metric as `Metric.to_json` wrote it."""
    numbers = {key: math.nan if entry[key] is None else entry[key] for key in ("value", "low", "high")}
    return Metric(entry["name"], n=entry["n"], settings=entry["settings"], **numbers)


def over_seeds(runs: Sequence[Measured], resamples: int = 1000, seed: int = 0) -> Measured:
    """One finding from those of several seeds: means over the seeds, and their standard deviation as `spread`.

    The interval is that of the items, as with one seed: each item scores what it scores on average over the seeds.
    What has no scores per item, such as the effective rank, gets no interval.
    """
    if len(runs) == 1:
        return runs[0]
    first = runs[0]
    metrics, spread, per_seed, scores = {}, {}, {}, {}
    for key, metric in first.metrics.items():
        values = [run.metrics[key].value for run in runs if key in run.metrics]
        per_seed[key] = values
        spread[key] = float(np.std(values, ddof=1))
        if key in first.scores and all(run.scores[key].shape == first.scores[key].shape for run in runs):
            scores[key] = np.mean([run.scores[key] for run in runs], axis=0)
            metrics[key] = bootstrap_mean(metric.name, scores[key], metric.settings, resamples, seed)
        else:
            metrics[key] = Metric(metric.name, float(np.mean(values)), metric.n, settings=metric.settings)
    notes = list(dict.fromkeys(note for run in runs for note in run.notes))
    verdict = next((run.verdict for run in runs if not run.healthy), first.verdict)
    return Measured(metrics, scores, verdict, notes, spread, per_seed)
