"""A table of every kind of column, with labels that depend on some of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 96
Columns = dict[str, list[Any]]


def people(rows: int = ROWS, seed: int = 0) -> Columns:
    """Numbers with and without gaps, truth values, categories, a key, a constant, a running number, and a class."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, rows)
    height = np.round(rng.normal(170 + 10 * kind, 5), 2)
    return {
        "number": list(range(rows)),
        "height": [str(h) for h in height],
        "children": [str(c) if c < 4 else "" for c in rng.integers(0, 5, rows)],
        "job": [
            ["cook", "smith", "baker"][(k + int(r < 0.2)) % 3] for k, r in zip(kind, rng.random(rows), strict=True)
        ],
        "member": [["yes", "no", "NA"][k] for k in rng.integers(0, 3, rows)],
        "key": [f"id-{rng.integers(1 << 40):x}" for _ in range(rows)],
        "planet": ["earth"] * rows,
        "class": [["a", "b", "c"][k] for k in kind],
    }


def write_csv(path: Path, columns: Columns, delimiter: str = ",") -> Path:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path
