"""What `nearfar plan` predicts beside what a run then takes: peak memory above the process's own, and seconds per step.

Run: python -m benchmarks.plan [--markdown] [--texts] [--least 256] [--most 16384]
Every prediction and every run is a process of its own, one after another. The bundled pictures, repeated under new ids,
encoder `small`, two views; or, with --texts, 4,096 of the bundled glosses, method `pairs`, encoder `minilm`; AdamW.
Before a run is measured the allocator hands back what it kept of earlier work, which would otherwise be taken for room
that a run does not need. Seconds are those of the thread that trains, so that other programs on the machine do not
lengthen them, and those of steps with full queues; waiting for views is left out on both sides.
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
TEXTS = [("pairs", batch, micro) for batch, micro in ((64, None), (256, None), (256, 32))]


def repeated(items: int) -> Any:
    """So many bundled pictures under ids of their own."""
    from nearfar.data import bundled
    from nearfar.data.source import ArraySource

    with np.load(bundled.path("fashion")) as archive:
        images = archive["images"].reshape(-1, 1, 28, 28)
    return ArraySource("images", images[np.arange(items) % len(images)])


def glosses(items: int) -> Any:
    """So many bundled entries with their glosses, drawn at random."""
    from nearfar.data import bundled
    from nearfar.modalities.text.modality import MODALITY, TextOptions

    source = MODALITY.read(bundled.path("glosses"), TextOptions(), None, None, False)
    return source.select(np.random.default_rng(0).permutation(len(source))[:items])


def given(method: str, batch: int) -> dict[str, Any]:
    """The arguments of `fit` and `plan` for a case."""
    if method == "pairs":
        return {"data": glosses(4096), "encoder": "minilm"}
    return {"data": repeated(2 * batch), "encoder": "small"}


def measured(method: str, batch: int, micro: int | None) -> tuple[float, float]:
    """Peak bytes above what the process has after one step of a few rows, and seconds per step."""
    import torch

    from benchmarks.ntxent import peak
    from nearfar import fitting
    from nearfar import run as runs
    from nearfar.planning.measuring import Meter
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
    how = {**given(method, batch), "method": method, "progress": False, "log_every": 1000}
    with tempfile.TemporaryDirectory() as out:
        runs.fit(out=f"{out}/warm", steps=1, batch_size=8, **how)
        full = -(-4096 // (2 * batch)) if method == "moco" else 1  # steps until its queue is full, with two views
        steps = full + (2 if batch <= 1024 else 1)
        before, times[:] = Meter(torch.device("cpu")).start(), []
        runs.fit(out=f"{out}/run", steps=steps, batch_size=batch, micro_batch=micro, **how)
        return peak() - before, min(times[full:])


def predicted(method: str, batch: int, micro: int | None) -> tuple[float, float]:
    """The same two, by `nearfar.plan`."""
    import nearfar

    made = nearfar.plan(**given(method, batch), method=method, batch_size=batch, micro_batch=micro)
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
    parser.add_argument("--texts", action="store_true")
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
    for case in TEXTS if chosen.texts else CASES:
        if chosen.texts or chosen.least <= case[1] <= chosen.most:
            plan, run = in_process("predicted", case), in_process("measured", case)
            ratios = [f"{p / m:.2f}" for p, m in zip(plan, run, strict=True)]
            sizes, times = [f"{memory / 2**20:.0f}" for memory, _ in (plan, run)], [f"{s:.2f}" for _, s in (plan, run)]
            cells = (case[0], case[1], case[2] or "none", *sizes, ratios[0], *times, ratios[1])
            print(bar + bar.join(f" {cell:>13} " for cell in cells) + bar, flush=True)


if __name__ == "__main__":
    main()
