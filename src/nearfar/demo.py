"""The demo: the main job on real pictures that come with the package, in a few minutes on a laptop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .assess import Assessment, evaluate
from .data import bundled
from .reporting import write
from .run import Run, fit, save

SETTINGS: dict[str, Any] = {
    "epochs": 36,
    "batch_size": 256,
    "lr": 2e-3,
    "weight_decay": 1e-2,
    "temperature": 0.2,
    "hidden": 256,
}


def demo(
    out: Path,
    data: Path | None = None,
    say: Callable[[str], None] = print,
    progress: bool | None = None,
    **settings: Any,
) -> tuple[Run, Assessment, Path]:
    """Fit SimCLR on 10,000 unlabelled pictures of clothes, evaluate on 5,000 others, and write a report.

    Args:
        out: folder; gets `run/`, `report.html` and `results.json`. A run that is there already is refused.
        data: other data in place of the bundled ones.
        settings: override those of the demo.
    """
    data = data or bundled.path("fashion")
    began = time.perf_counter()
    say(f"Learning from {data.name}, without its labels")
    run = fit(data, out / "run", method="simclr", progress=progress, **{**SETTINGS, **settings})
    trained = time.perf_counter()
    say("Measuring the vectors with the labels, beside raw pixels and the untrained encoder")
    assessment = evaluate(run, data, progress=progress)
    measured = time.perf_counter()
    page = write(run, assessment, path=out / "report.html", progress=progress)
    results = {
        **assessment.to_json(),
        "seconds": {
            "training": trained - began,
            "evaluation": measured - trained,
            "report": time.perf_counter() - measured,
        },
    }
    save(out / "results.json", json.dumps(results, indent=1).encode())
    return run, assessment, page
