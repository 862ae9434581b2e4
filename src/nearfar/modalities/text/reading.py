"""Text files and tables of texts to a source."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.data.labels import encode_labels
from nearfar.data.source import Skipped
from nearfar.errors import DataError

from .source import TextSource

EXTENSIONS = (".txt", ".csv", ".tsv", ".jsonl", ".json")
COLUMNS = ("text", "anchor")


def read(path: Path, options: Any) -> TextSource:
    """All texts of a file: one in each line, or a table with `text`, or `anchor`, `positive` and `negative`.

    Raises:
        DataError: there is no such file, or it holds no texts.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if path.suffix == ".txt":
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.strip()]
        skipped = [Skipped(f"{path}:{row}", "empty") for row, line in enumerate(lines, 1) if not line.strip()]
        return TextSource({"text": kept}, skipped=skipped, details={"path": str(path)})
    if path.suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    else:
        table = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not table:
        raise DataError(f"{path} has no rows")
    wanted = [name for name in table[0] if name in COLUMNS or name.startswith(("positive", "negative"))]
    labels: np.ndarray | None = None
    classes: list[str] = []
    if "label" in table[0]:
        labels, classes = encode_labels([row["label"] for row in table])
    return TextSource(
        {name: [str(row.get(name) or "") for row in table] for name in wanted},
        labels=labels,
        classes=classes,
        targets=np.array([float(row["score"]) for row in table]) if "score" in table[0] else None,
        details={"path": str(path)},
    )
