"""One job of a comparison in a process of its own: `python -m nearfar.comparing.worker JOB.json`.

A job is a JSON file and so is its outcome, which is written whole or not at all. The process ends by itself, after a
checkpoint, when the one that started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import modalities
from ..evaluation import effective_rank, knn_predict
from ..methods import AROUND, Method, find
from ..mining.settings import MiningSettings
from ..run import Run, fit, resume, save
from ..settings import Settings, sort_settings
from ..training import Interrupted, TrainingSettings, load_checkpoint
from .rows import Rows, learned, read, sample

BANK, QUERIES = 2000, 1000  # rows of a look: enough to see a curve, few enough to be quick
LOOKS = 12


class Look:
    """What is seen while a method is trained: kNN accuracy where there are labels, and the effective rank.

    Of up to 2,000 training rows and up to 1,000 test rows, always the same.
    """

    def __init__(self, run: Run, method: Method, rows: Rows, k: int) -> None:
        self.run, self.method, self.k = run, method, k
        training = TrainingSettings(**run.config["training"])
        # No more rows at a time than training takes, so that a look never needs the most memory.
        self.at_once = min(512, training.micro_batch or training.batch_size)
        sampler = method.sampler(learned(rows, method.supervised), training.batch_size, training.seed)
        self.batch_size = sampler.batch_size
        self._every = max(1, training.total_steps(sampler.steps_per_epoch) // LOOKS)
        self.bank = sample(rows.train, BANK, rows.labelled)
        self.queries = sample(rows.test, QUERIES, rows.labelled)
        self.labelled = rows.labelled

    @property
    def every(self) -> int:
        """Steps between two looks."""
        return self._every

    def __call__(self) -> dict[str, float]:
        """Look now."""
        queries = self.run.vectors_of(self.method, self.queries, False, self.at_once)
        if not np.isfinite(queries).all():  # the training itself will say what went wrong
            return {}
        seen = {"effective_rank": effective_rank(queries)}
        if self.labelled:
            assert self.bank.labels is not None and self.queries.labels is not None
            bank = self.run.vectors_of(self.method, self.bank, False, self.at_once)
            guessed = knn_predict(bank, self.bank.labels, queries, min(self.k, len(bank)))
            seen = {"knn_accuracy": float((guessed == self.queries.labels).mean()), **seen}
        return seen


class Clock:
    """A watch that only measures how fast the steps are, and ends the run as soon as it knows.

    The first ten steps are left out, which hold what is done once, unless they alone take much of the budget. A pace of
    ten steps is that of the log, so that a measured step costs what a step of the real run costs.
    """

    every = 10
    most = 40

    def __init__(self, patience: float) -> None:
        self.patience, self.began, self.laps = patience, time.perf_counter(), [time.perf_counter()]
        self.found: list[float] = []

    def __call__(self) -> dict[str, float]:
        """A lap is over."""
        now = time.perf_counter()
        self.found.append((now - self.laps[-1]) / self.every)
        patience = self.patience if len(self.found) > 1 else 5 * self.patience
        if now - self.began > patience or len(self.found) * self.every >= self.most:
            raise Known
        self.laps.append(time.perf_counter())
        return {}

    @property
    def seconds_per_step(self) -> float:
        """Median over the laps but the first, where there is another."""
        return float(np.median(self.found[1:] or self.found))


class Known(Exception):
    """The speed is known; no need to train on."""


def calibrate(job: dict[str, Any]) -> dict[str, Any]:
    """How long a step of the method takes, by a few steps in a folder that is thrown away."""
    rows = _rows(job)
    watches: list[Clock] = []

    def clock(run: Run, method: Method) -> Clock:
        watches.append(Clock(job["patience"]))
        return watches[0]

    with tempfile.TemporaryDirectory(prefix="nearfar-") as scratch, suppress(Known):
        # Next to no learning, so that nothing can diverge that would not in the real run with its long warm-up.
        settings = {**job["settings"], "steps": Clock.most, "lr": 1e-9, "warmup": 0.0}
        _fit(job, rows, Path(scratch) / "run", clock, settings)
    return {"seconds_per_step": watches[0].seconds_per_step}


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train the method from where it stands to the end, and say what it took."""
    rows, out = _rows(job), Path(job["out"])
    seen: dict[str, Any] = {}

    def looking(run: Run, method: Method) -> Look:
        seen["start_mib"] = peak_mib()
        seen["parameters"] = sum(part.numel() for part in method.parameters() if part.requires_grad)
        seen["first"] = Look(run, run.fresh_method(), rows, job["k"])()
        seen["look"] = Look(run, method, rows, job["k"])
        return seen["look"]

    if load_checkpoint(out / "checkpoints") is None:
        for leaf in ("config.yaml", "metrics.jsonl"):  # of a run that ended before its first checkpoint was whole
            (out / leaf).unlink(missing_ok=True)
        run = _fit(job, rows, out, looking, job["settings"])
    else:
        run = resume(out, rows.train, False, looking)
    last = run.history[-1]
    return {
        "steps": last["step"],
        "seconds": last["seconds"],
        "items": last["step"] * seen["look"].batch_size,
        "parameters": seen["parameters"],
        "first": seen["first"],
        "peak_mib": peak_mib(),
        "start_mib": seen["start_mib"],
        "cuda_mib": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def peak_mib() -> float:
    """The most memory that this process has held, in MiB.

    Linux says so by program; elsewhere, and in `ru_maxrss` everywhere, it can be that of the process it was forked
    from where that held more.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def _rows(job: dict[str, Any]) -> Rows:
    modality = modalities.find(job["modality"])
    kind = find(job["method"])
    settings = {key: value for key, value in job["settings"].items() if key not in ("steps", "epochs")}
    groups: list[type[Settings]] = [TrainingSettings, kind.Options, modality.Options, *AROUND.values(), MiningSettings]
    options = sort_settings(settings, *groups)[2]
    return read(Path(job["data"]), modality, options, Path(job["cache"]), job["share"], False, job["held_out"])


def _fit(job: dict[str, Any], rows: Rows, out: Path, watch: Any, settings: dict[str, Any]) -> Run:
    return fit(
        Path(job["data"]) if rows.whole else rows.train,
        out,
        method=job["method"],
        encoder=job["encoder"],
        modality=job["modality"],
        progress=False,
        command=job["command"],
        cache=job["cache"],
        watch=watch,
        **settings,
    )


def _end_with_the_other_side() -> None:
    """Wait until standard input is closed, which it is when the process that started this one has ended."""
    while os.read(0, 1):  # of the descriptor itself: the interpreter cannot end while a thread reads sys.stdin
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(path: Path) -> int:
    """Do a job; what it came to, or why it failed, stands in the outcome."""
    job = json.loads(path.read_text(encoding="utf-8"))
    threading.Thread(target=_end_with_the_other_side, daemon=True).start()
    try:
        outcome = {"done": True, **{"train": train, "calibrate": calibrate}[job["task"]](job)}
    except (Interrupted, KeyboardInterrupt):
        return 130
    except Exception as error:
        traceback.print_exc()
        memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error)
        text = " ".join(str(error).split()) or type(error).__name__
        outcome = {"done": False, "error": f"out of memory: {text}" if memory else text}
    save(Path(job["outcome"]), json.dumps(outcome, indent=1).encode())
    return 0 if outcome["done"] else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
