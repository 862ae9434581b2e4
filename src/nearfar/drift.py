"""How far a run has drifted from what it started from: geometry, probes before and after, and what moved most."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .data.source import Source
from .data.split import stratified_split
from .errors import ConfigError
from .evaluation import Difference, Evaluation, compare, compare_table, evaluate_vectors
from .evaluation.drift import Movement, movement
from .run import Run, save

PROBES = ("knn", "linear", "retrieval")
TOLD = ("knn_accuracy", "linear_accuracy", "recall@1", "map@r")  # the others are in the JSON
BEFORE, AFTER = "start", "run"


@dataclass(frozen=True)
class Drift:
    """The run against its start on the same rows.

    Attributes:
        start: what the encoder started from.
        movement: neighbour overlap, CKA and cosines (see `nearfar.evaluation.drift.movement`).
        moved: names of the rows that moved most, with their cosine.
        evaluations: of the start and of the run, where there are labels.
        gains: per metric, the paired difference of the run to its start; in the text those of `TOLD`.
    """

    start: str
    movement: Movement
    moved: list[tuple[str, float]]
    evaluations: dict[str, Evaluation]
    gains: dict[str, Difference]

    @property
    def verdict(self) -> str:
        """What it comes to, in a sentence or two."""
        overlap, likeness = (self.movement.metrics[key].value for key in ("neighbour_overlap", "cka"))
        k = self.movement.metrics["neighbour_overlap"].settings["k"]
        far = "hardly moved" if overlap >= 0.8 else "moved and kept much" if overlap >= 0.4 else "moved far"
        text = f"The vectors {far}: of {k} neighbours {k * overlap:.1f} stayed, CKA {likeness:.2f}."
        if self.gains:
            better, worse = [], []
            for key, gain in self._told().items():
                name = self.evaluations[AFTER].metrics[key].name
                if gain.low > 0:
                    better.append(f"{name} {gain.value:+.3f}")
                elif gain.high < 0:
                    worse.append(f"{name} {gain.value:+.3f}")
            parts = [f"better: {', '.join(better)}"] if better else []
            parts += [f"worse: {', '.join(worse)}"] if worse else []
            text += f" Against its start: {'; '.join(parts) or 'no difference that these rows can show'}."
        return text

    def _told(self) -> dict[str, Difference]:
        return {key: self.gains[key] for key in TOLD if key in self.gains}

    def __str__(self) -> str:
        lines = [f"Start: {self.start}", ""]
        lines += [str(metric) for metric in self.movement.metrics.values()]
        lines += ["", "Moved most (cosine to the start):"]
        lines += [f"  {cosine:.3f}  {name}" for name, cosine in self.moved]
        if self.evaluations:
            lines += ["", compare_table(self.evaluations), ""]
            lines += [f"{key} against the start: {gain}" for key, gain in self._told().items()]
        return "\n".join([*lines, "", self.verdict])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "start": self.start,
            "verdict": self.verdict,
            "movement": {key: metric.to_json() for key, metric in self.movement.metrics.items()},
            "moved": [{"name": name, "cosine": cosine} for name, cosine in self.moved],
            "evaluations": {name: found.to_json() for name, found in self.evaluations.items()},
            "gains": {key: gain.to_json() for key, gain in self.gains.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON."""
        return save(Path(path), json.dumps(self.to_json(), indent=1).encode())


def drift(
    run: Run | str | Path,
    data: str | Path | Source,
    *,
    probes: Sequence[str] = PROBES,
    k: int = 10,
    most: int = 10,
    test_share: float = 0.2,
    seed: int = 0,
    progress: bool | None = None,
    on_step: Callable[[str], None] | None = None,
    **settings: Any,
) -> Drift:
    """Compare the vectors of a run with those of the encoder it started from, given or random, on some data.

    Args:
        run: a run or its folder.
        data: any data that the run reads; with labels of two or more classes the probes are measured too. Where the
            data come in two parts the test part is compared.
        probes: measured before and after where there are labels, none for ().
        k: neighbours of the overlap.
        most: how many of the rows that moved most are named.
        test_share: of the rows held out for the probes, by class, where there is no test part.
        settings: of `evaluate_vectors`.

    Raises:
        ConfigError: the start is gone or has changed, or nothing was trained. DataError: too few rows.

    >>> print(drift("runs/clipart", "clipart/").verdict)                    # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run.load(run)
    if not run.trained:
        raise ConfigError("this encoder was not trained, so it has not moved from its start; give the folder of a run")
    say = on_step or (lambda text: None)
    train, held = run.read(data, progress)
    rows = train if held is None else held
    say("vectors of the start")
    fresh = run.fresh_method()
    before = run.vectors_of(fresh, rows, progress)
    say("vectors of the run")
    after = run.vectors_of(run.method, rows, progress)
    say("neighbours")
    moved = movement(before, after, k, seed=seed)
    names = [(rows.names[row], float(moved.cosines[row])) for row in moved.farthest(most)]
    found: dict[str, Evaluation] = {}
    if probes and _scorable(train) and _scorable(rows):
        if held is None:
            assert rows.labels is not None
            kept, out = stratified_split(rows.labels, test_share, seed, rows.classes)
            parts = {BEFORE: (before[kept], before[out]), AFTER: (after[kept], after[out])}
            labels = rows.labels[kept], rows.labels[out]
        else:
            parts = {BEFORE: (run.vectors_of(fresh, train, progress), before)}
            parts[AFTER] = run.vectors_of(run.method, train, progress), after
            assert train.labels is not None and held.labels is not None
            labels = train.labels, held.labels
        for name, (fitted, scored) in parts.items():
            say(f"{name}: {', '.join(probes)}")
            found[name] = evaluate_vectors(
                fitted,
                labels[0],
                scored,
                labels[1],
                probes=probes,
                classes=train.classes or None,
                seed=seed,
                **settings,
            )
    say("done")
    gains = compare(found[AFTER], found[BEFORE]) if found else {}
    return Drift(str(run.config["encoder"]), moved, names, found, gains)


def _scorable(source: Source) -> bool:
    return source.labels is not None and len(np.unique(source.labels[source.labels >= 0])) > 1
