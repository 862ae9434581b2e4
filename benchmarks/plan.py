"""What `nearfar plan` predicts beside what a run then takes: peak memory above the process's own, and seconds per step.

Run: python -m benchmarks.plan [--markdown] [--least 256] [--most 16384]
Every prediction and every run is a process of its own, one after another. The bundled pictures, repeated under new ids,
encoder `small`, two views, AdamW. Seconds are those of the thread that trains, so that other programs on the machine
do not lengthen them, and those of steps with full queues; waiting for views is left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

CASES = [
    (method, batch, micro)
    for batch in (256, 1024, 4096, 16384)
    for method in ("simclr", "moco")
    for micro in (None, 256)
    if (batch, micro) != (256, 256) and not (batch == 16384 and micro is None)
]


def repeated(items: int) -> Any:
    """So many bundled pictures under ids of their own."""
    from nearfar.data import bundled
    from nearfar.data.source import ArraySource

    with np.load(bundled.path("fashion")) as archive:
        images = archive["images"].reshape(-1, 1, 28, 28)
    return ArraySource("images", images[np.arange(items) % len(images)])


def measured(method: str, batch: int, micro: int | None) -> tuple[float, float]:
    """Peak bytes above what the process has after one step of a few rows, and seconds per step."""
    import torch

    from benchmarks.ntxent import peak, reset
    from nearfar import fitting
    from nearfar import run as runs
    from nearfar.training import Trainer

    class Timed(Trainer):
        """Notes the time of every step."""

        def _step(self, *given: Any) -> Any:
            began = time.thread_time()
            out = super()._step(*given)
            times.append(time.thread_time() - began)
            return out

    times: list[float] = []
    fitting.Trainer = Timed  # type: ignore[misc]
    torch.manual_seed(0)
    source = repeated(2 * batch)
    how: dict[str, Any] = {"method": method, "encoder": "small", "progress": False, "log_every": 1000}
    with tempfile.TemporaryDirectory() as out:
        runs.fit(source, f"{out}/warm", steps=1, batch_size=8, **how)
        full = -(-4096 // (2 * batch))  # steps until the queue of MoCo is full, with two views
        steps = full + (2 if batch <= 4096 else 1)
        before, times[:] = reset(), []
        runs.fit(source, f"{out}/run", steps=steps, batch_size=batch, micro_batch=micro, **how)
        return peak() - before, min(times[full:])


def predicted(method: str, batch: int, micro: int | None) -> tuple[float, float]:
    """The same two, by `nearfar.plan`."""
    import nearfar

    made = nearfar.plan(repeated(2 * batch), method=method, encoder="small", batch_size=batch, micro_batch=micro)
    prediction = made.prediction
    return prediction.peak - made.costs.process, prediction.step - prediction.seconds["waiting for views"]


def in_process(what: str, case: tuple[str, int, int | None]) -> tuple[float, float]:
    """One of the two in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.plan", "--one", what, json.dumps(case)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    memory, seconds = json.loads(out.stdout.splitlines()[-1])
    return memory, seconds


def main() -> None:
    """Print one line per configuration."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2)
    parser.add_argument("--least", type=int, default=256)
    parser.add_argument("--most", type=int, default=16384)
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    if chosen.one:
        what, case = chosen.one[0], json.loads(chosen.one[1])
        print(json.dumps({"measured": measured, "predicted": predicted}[what](*case)))
        return
    bar = "|" if chosen.markdown else ""
    heads = (
        "method",
        "batch",
        "micro-batch",
        "predicted MiB",
        "measured MiB",
        "ratio",
        "predicted s",
        "measured s",
        "ratio",
    )
    print(bar + bar.join(f" {head:>13} " for head in heads) + bar)
    if chosen.markdown:
        print("|---" * len(heads) + "|")
    for case in CASES:
        if chosen.least <= case[1] <= chosen.most:
            plan, run = in_process("predicted", case), in_process("measured", case)
            ratios = [f"{p / m:.2f}" for p, m in zip(plan, run, strict=True)]
            sizes, times = [f"{memory / 2**20:.0f}" for memory, _ in (plan, run)], [f"{s:.2f}" for _, s in (plan, run)]
            cells = (case[0], case[1], case[2] or "none", *sizes, ratios[0], *times, ratios[1])
            print(bar + bar.join(f" {cell:>13} " for cell in cells) + bar, flush=True)


if __name__ == "__main__":
    main()
