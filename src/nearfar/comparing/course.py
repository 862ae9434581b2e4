"""The work itself: one method after the other is trained in a process of its own, and measured."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..assess import UNTOUCHED, UNTRAINED
from ..errors import NearfarError
from ..modalities import Modality
from ..report.text import duration
from ..run import Run
from ..training import Interrupted, TrainingSettings
from . import curves
from .comparison import Line
from .measuring import Measured, measure, over_seeds
from .plan import Contender, Plan
from .processes import do
from .progress import Progress
from .rows import Rows, learned

TEST_SHARE = 0.2  # of every class, where the data have no test part
TRIAL_SHARE = 0.1  # of a budget of time, at most, goes into measuring how fast a method is


class Course:
    """Trains and measures one line after the other; what stands in the folder already is not done again."""

    def __init__(self, plan: Plan, kind: Modality, rows: Rows, out: Path, hold: int | None, bars: Progress) -> None:
        self.plan, self.kind, self.rows, self.out, self.hold, self.bars = plan, kind, rows, out, hold, bars
        self.runs: dict[int, Run] = {}  # by seed, one whose training is over: it knows the encoder before training

    def contender(self, one: Contender) -> Line:
        """All runs of one method."""
        line = Line(one.name, supervised=one.supervised, method=one.method, settings=one.settings)
        found = []
        for seed in self.plan.seeds:
            leaf = one.folder if len(self.plan.seeds) == 1 else f"{one.folder}-seed{seed}"
            run, work = self.out / "runs" / leaf, self.out / "work" / leaf
            self.bars.begin(one.name if len(self.plan.seeds) == 1 else f"{one.name}, seed {seed}")
            try:
                cost, fresh = self._trained(one, seed, run, work)
                line.folders.append(f"runs/{leaf}")
                measured = self._measured(Run.load(run), work)
            except Interrupted:
                raise
            except (NearfarError, RuntimeError, MemoryError, OSError) as error:
                text = " ".join(str(error).split()) or type(error).__name__
                where = f"seed {seed}: " if len(self.plan.seeds) > 1 else ""
                line.failed.append(where + text)
                self.bars.end(f"failed: {text}")
                continue
            history = Run.load(run).history
            line.alarms += [text for record in history for text in record.get("verdicts", {}).values()]
            line.curves.append({"seed": seed, **curves.of(history, cost.pop("first", None))})
            line.cost.append({"seed": seed, **cost})
            line.command = line.command or self._command(one, seed, cost["steps"])
            found.append(measured)
            self.runs.setdefault(seed, Run.load(run))
            key = next(iter(measured.metrics))
            self.bars.end(
                f"{cost['steps']} steps in {duration(cost['seconds'])}, {measured.metrics[key]}"
                + ("" if fresh else " (from before)"),
                counted=fresh,
            )
        line.found = over_seeds(found) if found else None
        return line

    def _trained(self, one: Contender, seed: int, run: Path, work: Path) -> tuple[dict[str, Any], bool]:
        """What the training took, and whether it was done just now."""
        kept = work / "train.json"
        if kept.exists() and (cost := json.loads(kept.read_text(encoding="utf-8")))["done"]:
            return _priced(cost), False
        steps = self._steps(one, seed, run)
        length = {"steps": steps} if steps is not None else {"epochs": self.plan.budget.epochs}
        self.bars.stage("training", steps)
        cost = do(self._job("train", one, seed, run, length), work, self.hold, self.bars.step)
        if not cost["done"]:
            raise NearfarError(cost["error"])
        return _priced(cost), True

    def _steps(self, one: Contender, seed: int, run: Path) -> int | None:
        """How many steps: as told, or as many as fit into the time, by the speed of this method; None for epochs."""
        seconds = self.plan.budget.seconds
        if seconds is None:
            if self.plan.budget.steps is not None:
                return self.plan.budget.steps
            training = TrainingSettings(**{k: v for k, v in one.settings.items() if k in TrainingSettings.model_fields})
            count = len(learned(self.rows, one.supervised))
            epochs = training.model_copy(update={"epochs": self.plan.budget.epochs})
            return epochs.total_steps(count // min(training.batch_size, count))
        # One measurement serves all seeds, so that they are trained equally long.
        kept = self.out / "work" / one.folder / "calibrate.json"
        speed = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"done": False}
        if not speed["done"]:
            self.bars.stage("measuring its speed")
            job = {**self._job("calibrate", one, seed, run, {}), "patience": TRIAL_SHARE * seconds}
            speed = do(job, kept.parent, self.hold, lambda record: None)
        if not speed["done"]:
            raise NearfarError(speed["error"])
        return max(1, int(seconds / speed["seconds_per_step"]))

    def _job(self, task: str, one: Contender, seed: int, run: Path, length: dict[str, Any]) -> dict[str, Any]:
        return {
            "task": task,
            "data": self.plan.data,
            "modality": self.plan.modality,
            "cache": str(self.out / "cache"),
            "share": TEST_SHARE,
            "held_out": self.plan.shared.get("held_out", 0.0),
            "out": str(run),
            "method": one.method,
            "encoder": self.plan.encoder,
            "settings": {**one.settings, "seed": seed, **length},
            "k": self.plan.measuring.get("k", 20),
            "command": self.plan.command or "nearfar.compare",
        }

    def _measured(self, run: Run, work: Path) -> Measured:
        method = None

        def vectors(source: Any) -> np.ndarray:
            nonlocal method
            method = method or run.method
            return run.vectors_of(method, source, progress=False)

        self.bars.stage("measuring")
        return measure(self.rows, vectors, self.plan.measuring, work / "found", self.bars.told)

    def baselines(self) -> list[Line]:
        """Raw features, and the encoder before training: random, and pretrained where it starts so."""
        lines = []
        self.bars.number = 0
        for name, vectors in self._ways().items():
            self.bars.name = name
            self.bars.stage("measuring")
            leaf = self.out / "work" / name.replace(" ", "-").replace(",", "")
            try:
                found = [
                    measure(self.rows, way, self.plan.measuring, leaf / f"found-seed{seed}", self.bars.told)
                    for seed, way in vectors.items()
                ]
            except (NearfarError, RuntimeError, MemoryError) as error:
                lines.append(Line(name, baseline=True, failed=[" ".join(str(error).split())]))
                continue
            lines.append(Line(name, baseline=True, found=over_seeds(found)))
        return lines

    def _ways(self) -> dict[str, dict[int, Callable[[Any], np.ndarray]]]:
        """Name of a baseline -> seed -> rows to vectors; given weights and raw features know no seed."""
        ways: dict[str, dict[int, Callable[[Any], np.ndarray]]] = {}
        for seed, run in self.runs.items():
            if run.start is not None:
                ways.setdefault(UNTOUCHED, {0: _before(run)})
            ways.setdefault(UNTRAINED, {})[seed] = _random(run)
        return {**ways, self.kind.baseline: {0: self.kind.raw}}

    def _command(self, one: Contender, seed: int, steps: int) -> str:
        """The run by itself, where the data on disk are what it learned from."""
        if not self.rows.whole:
            return ""
        parts = ["nearfar", "fit", self.plan.data, "--method", one.method, "--encoder", self.plan.encoder]
        parts += ["--steps", str(steps), "--seed", str(seed)]
        for key, value in one.settings.items():
            parts += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        return shlex.join(parts)


def _random(run: Run) -> Callable[[Any], np.ndarray]:
    """Vectors by the net of a run with random weights, whatever weights the run started from."""
    start = run.start
    if start is None:
        return _before(run)
    facts = {**run.config["source"], "shape": start.get("shape", run.config["source"]["shape"])}
    config = {key: value for key, value in run.config.items() if key != "start"}
    blank = Run(run.path, {**config, "encoder": start["architecture"], "source": facts})
    return lambda source: run.vectors_of(blank.fresh_method(), source, progress=False)


def _before(run: Run) -> Callable[[Any], np.ndarray]:
    """Vectors by the encoder that a run began with."""
    return lambda source: run.vectors_of(run.fresh_method(), source, progress=False)


def _priced(cost: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: value for key, value in cost.items() if key != "done"},
        "items_per_second": cost["items"] / max(cost["seconds"], 1e-9),
    }
