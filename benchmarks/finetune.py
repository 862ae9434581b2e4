"""Fine-tuning a pretrained encoder without labels: retrieval of pictures of the same category before and after.

The pictures (benchmarks.pictures) are halved by category. Everything is measured on the second half: each of its
pictures searches the others of that half (recall@1, MAP@R), and kNN votes among the first half.

- `half` learned from the first half alone, so what is measured was never seen;
- `all` learned from all pictures, as one would who only wants to search them. Neither ever sees a category.

Settings are chosen on the first half: `search` trains on it with each of `CANDIDATES` and measures between its own two
halves, so that the second half stays out of the choice.

Run: python -m benchmarks.finetune final|search DATA.npz WEIGHTS.safetensors OUT [KEY=VALUE ...]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.cli.settings import from_pairs
from nearfar.data.source import Source
from nearfar.data.split import stratified_split
from nearfar.evaluation import Evaluation, compare, compare_table, evaluate_vectors
from nearfar.evaluation.drift import movement
from nearfar.modalities.images.reading import read
from nearfar.run import Run, fit

NET = "timm/tf_efficientnet_lite0"
PROBES = ("knn", "retrieval")
SHOWN = ("knn_accuracy", "recall@1", "map@r")
SHARES = (0.0, 0.5)  # of the start in the weights that are measured
SETTINGS: dict[str, Any] = {"batch_size": 128, "steps": 100, "lr": 3e-4, "layer_decay": None, "freeze": 7}
CANDIDATES: list[dict[str, Any]] = [
    {"method": "simclr", "strength": 1.0},
    {"method": "simclr", "strength": 0.5},
    {"method": "simclr", "strength": 0.3, "temperature": 0.5},
    {"method": "nnclr", "strength": 1.0},
    {"method": "nnclr", "strength": 0.5},
    {"method": "vicreg", "strength": 0.5},
    {"method": "swav", "strength": 0.5},
    {"method": "dino", "strength": 0.5},
]


def main() -> None:
    mode, data, weights, out = sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    given = {**SETTINGS, **from_pairs(sys.argv[5:])}
    source = read(data)
    first, second = halves(source)
    if mode == "search":
        search(source.select(first), weights, out, given)
        return
    found: dict[str, np.ndarray] = {}
    for name, rows in (("half", source.select(first)), ("all", source)):
        run = train(rows, weights, out / name, given)
        found.setdefault("start", run.vectors_of(run.fresh_method(), source))
        found |= {f"{name}{ending(share)}": embed(run, share, source) for share in SHARES}
    evaluations = {name: measure(vectors, source, first, second) for name, vectors in found.items()}
    print(f"\n{len(source)} pictures; {len(second)} measured\n{compare_table(evaluations, SHOWN)}\n")
    drifts = {name: movement(found["start"][second], vectors[second]) for name, vectors in found.items()}
    record: dict[str, Any] = {"settings": given, "data": source.describe(), "figures": {}}
    for name, evaluation in evaluations.items():
        gains = compare(evaluation, evaluations["start"])
        moved = drifts[name].metrics
        record["figures"][name] = {
            "metrics": {key: evaluation.metrics[key].to_json() for key in SHOWN},
            "gains": {key: gains[key].to_json() for key in SHOWN},
            "drift": {key: metric.to_json() for key, metric in moved.items()},
        }
        if name != "start":
            told = ", ".join(f"{key} {gains[key]}" for key in SHOWN)
            print(f"{name}: {told}; CKA {moved['cka'].value:.2f}, {moved['neighbour_overlap'].name} "
                  f"{moved['neighbour_overlap'].value:.2f}")  # fmt: skip
    (out / "figures.json").write_text(json.dumps(record, indent=1))


def search(source: Source, weights: str, out: Path, given: dict[str, Any]) -> None:
    """One line for each candidate and share, measured within these rows."""
    first, second = halves(source)
    start: Evaluation | None = None
    for number, candidate in enumerate(CANDIDATES):
        run = train(source, weights, out / f"{number}", {**given, **candidate})
        start = start or measure(run.vectors_of(run.fresh_method(), source), source, first, second)
        for share in SHARES:
            gains = compare(measure(embed(run, share, source), source, first, second), start)
            told = ", ".join(f"{key} {gains[key]}" for key in SHOWN)
            print(f"{candidate}{ending(share)}: {told}", flush=True)


def halves(source: Source) -> tuple[np.ndarray, np.ndarray]:
    assert source.labels is not None
    return stratified_split(source.labels, 0.5, 0, source.classes)


def train(source: Source, weights: str, out: Path, settings: dict[str, Any]) -> Run:
    began = time.perf_counter()
    run = fit(source, out, encoder=f"{NET}@{weights}", **settings)
    print(f"{out}: {len(source)} pictures, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return run


def embed(run: Run, share: float, source: Source) -> np.ndarray:
    averaged = run.averaged(share)
    return averaged.vectors_of(averaged.method, source)


def measure(vectors: np.ndarray, source: Source, first: np.ndarray, second: np.ndarray) -> Evaluation:
    assert source.labels is not None
    labels = source.labels
    return evaluate_vectors(vectors[first], labels[first], vectors[second], labels[second], probes=PROBES)


def ending(share: float) -> str:
    return f", averaged {share:g} with the start" if share else ""


if __name__ == "__main__":
    main()
