"""A small report with every section, made up from a fixed seed; tests take parts of it away or twist them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nearfar.report import Neighbours, ReportData

CLASSES = ["shirt", "bag", "boot"]
SECTIONS = ["summary", "results", "map", "neighbours", "confusion", "curves", "scores", "run"]


def images(count: int, channels: int = 3, side: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def history(rows: int = 30) -> list[dict[str, Any]]:
    edges = np.linspace(-1, 1, 41)
    random = np.random.default_rng(1)
    made = []
    for row in range(rows):
        gap = row / max(rows - 1, 1)
        made.append(
            {
                "step": row * 10,
                "epoch": row // 10,
                "seconds": row * 0.5,
                "loss": 4.0 - 2 * gap,
                "chance": 4.0,
                "lr": 1e-3,
                "grad_norm": 1.0 + gap,
                "items_per_second": 900.0 + row,
                "wait_share": 0.05,
                "effective_rank": 5 + 9 * gap,
                "alignment": 1 - 0.5 * gap,
                "uniformity": -1 - gap,
                "near_mean": 0.4 + 0.4 * gap,
                "far_mean": 0.3 - 0.3 * gap,
                "terms": {"invariance": 2 - gap},
                "renewed": {"positive_mean": 0.5 + 0.3 * gap, "negative_mean": 0.4 + 0.3 * gap},
                "near_hist": np.histogram(random.normal(0.4 * gap, 0.1, 500), edges)[0].tolist(),
                "far_hist": np.histogram(random.normal(-0.4 * gap, 0.1, 500), edges)[0].tolist(),
            }
        )
    return made


def result(value: float, n: int = 400) -> dict[str, Any]:
    half = 1.96 * math.sqrt(value * (1 - value) / n)
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def full(**changes: Any) -> ReportData:
    random = np.random.default_rng(2)
    labels = np.arange(60) % 3
    parts: dict[str, Any] = {
        "title": "Clothes",
        "verdict": "These vectors are better than raw pixels.",
        "version": "0.1.0",
        "created": "1 May",
        "command": ["nearfar", "fit", "my clothes", "--epochs", "3"],
        "config": {"method": "simclr", "optimiser": {"lr": 0.001, "name": "adamw"}},
        "source": {
            "kind": "images",
            "items": 1234,
            "shape": [3, 12, 12],
            "classes": CLASSES,
            "skipped": [{"name": "broken.png", "reason": "ends after 12 bytes"}],
            "duplicates": [["a.png", "b.png"]],
        },
        "timings": {"training": 75.0},
        "history": history(),
        "evaluation": {
            "nearfar": {"knn": result(0.91), "recall_at_1": result(0.85)},
            "untrained encoder": {"knn": result(0.6), "recall_at_1": result(0.5)},
            "raw pixels": {"knn": result(0.9)},
        },
        "classes": CLASSES,
        "confusion": [[90, 10, 0], [0, 50, 50], [0, 0, 0]],
        "embeddings": random.normal(size=(60, 8)) + 4 * np.eye(3, 8)[labels],
        "labels": labels,
        "thumbnails": images(60),
        "names": [f"photo {row}" for row in range(60)],
        "neighbours": Neighbours(images(2), [images(3), images(3, seed=4)], [0, 1], [[0, 1, 0], [1, 1, -1]]),
        "projection": "pca",
    }
    return ReportData(**{**parts, **changes})
