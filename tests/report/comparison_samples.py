"""Made-up comparisons from a fixed seed: what `compare.json` holds, with as many methods as wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nearfar.assess import UNTRAINED
from nearfar.comparing import Comparison, Line
from nearfar.comparing.measuring import Measured
from nearfar.evaluation import Metric, bootstrap_mean

NAMES = {
    "knn_accuracy": "kNN accuracy",
    "linear_accuracy": "linear accuracy",
    "fewshot_accuracy": "10 labels per class accuracy",
    "recall@1": "recall@1",
    "map@r": "MAP@R",
}
ITEMS = 400


def measured(share: float, seed: int, rank: float = 40.0, labelled: bool = True, seeds: int = 1) -> Measured:
    """About this share of the items is right."""
    random = np.random.default_rng(seed)
    luck = np.random.default_rng(99).random(ITEMS)  # some items are easy for all
    scores = {
        key: ((0.6 * luck + 0.4 * random.random(ITEMS)) < share + 0.01 * number).astype(float)
        for number, key in enumerate(NAMES)
        if labelled
    }
    metrics = {key: bootstrap_mean(NAMES[key], values, resamples=200) for key, values in scores.items()}
    metrics["effective_rank"] = Metric("effective rank", rank, ITEMS)
    metrics["uniformity"] = Metric("uniformity", -rank / 20, ITEMS)
    spread = {key: 0.004 for key in metrics} if seeds > 1 else {}
    values = {
        key: [metric.value + 0.004 * (-1) ** n for n in range(seeds)] for key, metric in metrics.items() if seeds > 1
    }
    verdict = "No collapse (made up)." if rank > 2 else "Collapsed: all vectors point the same way (made up)."
    return Measured(metrics, scores, verdict, [], spread, values)


def curve(seed: int, top: float, seconds: float, labelled: bool = True) -> dict[str, Any]:
    steps = np.linspace(0, 400, 12).astype(int)
    made: dict[str, Any] = {
        "seed": seed,
        "step": steps[1:].tolist(),
        "seconds": (steps[1:] * seconds / 400).tolist(),
        "loss": (5 * np.exp(-steps[1:] / 200) + 1).tolist(),
        "look_step": steps.tolist(),
        "look_seconds": (steps * seconds / 400).tolist(),
        "effective_rank": np.linspace(10, 40, 12).tolist(),
    }
    if labelled:
        made["knn_accuracy"] = (0.6 + (top - 0.6) * (1 - np.exp(-steps / (60 + 20 * seed)))).tolist()
    return made


def line(name: str, share: float, number: int, seeds: int = 1, labelled: bool = True, **changes: Any) -> Line:
    seconds = 60.0 + 12 * number
    cost = [
        {
            **{"seed": seed, "steps": 400, "items": 102_400, "seconds": seconds, "items_per_second": 102_400 / seconds},
            **{"peak_mib": 700.0 + 31 * number, "start_mib": 500.0, "parameters": 1_000_000 + number, "threads": 2},
        }
        for seed in range(seeds)
    ]
    parts: dict[str, Any] = {
        "method": name.split()[0],
        "settings": {"lr": 0.002, "batch_size": 256},
        "found": measured(share, number, labelled=labelled, seeds=seeds),
        "cost": cost,
        "curves": [curve(number + seed, share, seconds, labelled) for seed in range(seeds)],
        "folders": [f"runs/{name.replace(' ', ',')}"],
        "command": f"nearfar fit clothes.npz --method {name.split()[0]} --steps 400",
    }
    return Line(name, **{**parts, **changes})


def comparison(lines: list[Line], baselines: bool = True, labelled: bool = True, **changes: Any) -> Comparison:
    if baselines:
        lines = [
            *lines,
            Line(UNTRAINED, baseline=True, found=measured(0.6, 50, 12.0, labelled)),
            Line("raw pixels", baseline=True, found=measured(0.58, 51, 20.0, labelled)),
        ]
    parts: dict[str, Any] = {
        "terms": {"format": 1, "encoder": "small", "seeds": [0], "budget": "400 steps"},
        "out": Path("nowhere"),
        "command": "nearfar compare clothes.npz --methods simclr,moco",
        "given": "some/clothes.npz",
        "version": "0.1.0",
        "rows": {"learned_from": 1000, "scored_on": 400, "split": "", "labelled": labelled, "cpus": 2},
        "notes": ["each method learned from the same 1,000 rows"],
    }
    return Comparison(lines=lines, **{**parts, **changes})


def many(count: int = 16) -> Comparison:
    """As many methods as a page must bear, some with long names, one with labels, one that failed, one collapsed."""
    names = ["simclr", "moco", "nnclr", "byol", "simsiam", "barlow", "vicreg", "wmse", "swav", "dino", "triplet"]
    names += [f"simclr objective=HardNegative temperature=0.{n} projection=512" for n in range(1, 20)]
    made = [line(name, 0.72 + 0.012 * (n % 9), n) for n, name in enumerate(names[:count])]
    if count > 3:
        made[1].supervised = True
        made[2] = line(made[2].name, 0.3, 2, found=measured(0.4, 2, rank=1.0))
        made[3] = Line(made[3].name, method="byol", failed=["the loss of step 3 is nan <&> the rest is lost"])
    return comparison(made)
