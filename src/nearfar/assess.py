"""Assess a run: its vectors against raw features and the untrained encoder, on the same rows by the same probes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .data.labels import renumber
from .data.source import Source
from .data.split import stratified_split
from .errors import DataError
from .evaluation import PROBES, Difference, Evaluation, compare, compare_table, evaluate_vectors
from .run import Run, save

OURS, UNTRAINED = "nearfar", "untrained encoder"


@dataclass(frozen=True)
class Assessment:
    """Evaluations of the run and of its baselines on the same rows.

    Attributes:
        evaluations: "nearfar" first, then "untrained encoder" and the raw features.
        gains: per baseline and metric, the paired difference of the run to it.
        train, test: the rows that probes were fitted on and scored on; test_vectors: (M, D) of the run.
    """

    evaluations: dict[str, Evaluation]
    gains: dict[str, dict[str, Difference]]
    train: Source
    test: Source
    test_vectors: np.ndarray

    def __str__(self) -> str:
        lines = [compare_table(self.evaluations), ""]
        for name, differences in self.gains.items():
            for metric in ("knn_accuracy", "linear_accuracy", "fewshot_accuracy"):
                if metric in differences:
                    lines.append(f"{metric} against {name}: {differences[metric]}")
        ours = self.evaluations[OURS]
        lines += [f"Note: {note}" for note in ours.notes]
        return "\n".join([*lines, ours.verdict] if ours.verdict else lines)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "rows": {"train": self.train.describe(), "test": self.test.describe()},
            "evaluations": {name: e.to_json() for name, e in self.evaluations.items()},
            "gains": {name: {k: d.to_json() for k, d in ds.items()} for name, ds in self.gains.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON."""
        return save(Path(path), json.dumps(self.to_json(), indent=1).encode())


def evaluate(
    run: Run | str | Path,
    data: str | Path | Source,
    test: str | Path | Source | None = None,
    probes: Sequence[str] = PROBES,
    test_share: float = 0.2,
    baselines: bool = True,
    progress: bool | None = None,
    on_step: Callable[[str], None] | None = None,
    **settings: Any,
) -> Assessment:
    """Measure the vectors of a run on labelled data, beside raw features and the untrained encoder.

    Args:
        run: a run or its folder.
        data: labelled rows; where they come in train and test parts, probes are fitted on one and scored on the other.
        test: other data to score on.
        probes: any of "knn", "linear", "fewshot", "retrieval", "geometry".
        test_share: of the rows held out, by class, where there is no test part.
        baselines: also evaluate raw features and the untrained encoder.
        settings: of `evaluate_vectors`: per_class, draws, k, seed, ...

    Raises:
        DataError: no labels, one class, or too few rows for a probe.

    >>> print(evaluate("runs/fashion", "photos/"))                          # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run.load(run)
    train, held = run.read(data, progress)
    if test is not None:
        held = run.read(test, progress)[0]
        if held.labels is not None and held.classes != train.classes:
            # Classes are numbered as each set of data has them; a number must mean one class in both.
            held.labels, classes = renumber(held.labels, held.classes, train.classes)
            train.classes, held.classes = classes, list(classes)
    if held is None:
        with _naming(train):
            train, held = _split(train, test_share, int(settings.get("seed", 0)))
    say = on_step or (lambda text: None)
    found: dict[str, Evaluation] = {}
    vectors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    ways: dict[str, Callable[[Source], np.ndarray]] = {OURS: lambda s: run.vectors_of(run.method, s, progress)}
    if baselines:
        fresh = run.fresh_method()
        ways[UNTRAINED] = lambda s: run.vectors_of(fresh, s, progress)
        ways[run.modality.baseline] = run.modality.raw
    for name, way in ways.items():
        say(f"{name}: vectors")
        vectors[name] = way(train), way(held)

        def report(probe: str, done: int, total: int, name: str = name) -> None:
            say(f"{name}: {probe}")

        with _naming(train):
            found[name] = evaluate_vectors(
                vectors[name][0], train.labels, vectors[name][1], held.labels,
                probes=probes, classes=train.classes or None, progress=report, **settings,
            )  # fmt: skip
    gains = {name: compare(found[OURS], e) for name, e in found.items() if name != OURS}
    return Assessment(found, gains, train, held, vectors[OURS][1])


@contextmanager
def _naming(data: Source) -> Iterator[None]:
    """Say in errors about labels which data they are about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{data.details.get('path', 'the data')}: {error}") from None


def _split(source: Source, share: float, seed: int) -> tuple[Source, Source]:
    if source.labels is None:
        raise DataError(
            "no labels, so there is nothing to score against; give class folders, a label column "
            "(--label-column), or `labels` in the archive"
        )
    kept, held = stratified_split(source.labels, share, seed, source.classes)
    return source.select(kept), source.select(held)
