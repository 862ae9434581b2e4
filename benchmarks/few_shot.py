"""Few-shot tasks on classes that were not seen: SimCLR beside a batch enhanced by a clustered memory (BECLR).

Run: python -m benchmarks.few_shot [--steps 400] [--seeds 3] [--tasks 600] [SETTINGS ...]

Each of SETTINGS is a further way: settings of `beclr` joined by commas, such as neighbours=10,momentum=0.9.
The bundled clothes as in `benchmarks/little.py`: same encoder, views, batches and rates for all. Of the ten classes
five are drawn by each seed, whose training pictures are seen, without labels; tasks are of the test pictures of the
five others, and of the digits of scikit-learn, which are no clothes at all. `alone` is `beclr` without neighbours, BYOL
with a uniformity. Tasks are the same for all ways. Intervals (95 %) are over tasks of all seeds, and differences are
paired by task; other pictures, classes and seeds are not in them.
The last table has how many of the five rows that the memory holds beside a row are of its class, in its cluster and in
all of the memory, and that of any row.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.little import Net, clothes, pictures, train
from nearfar.evaluation import bootstrap_mean, episodes, paired_difference
from nearfar.methods import BECLR, Method, find
from nearfar.modalities.images.views import ImageViews

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "simclr": ("simclr", {"temperature": 0.2}),
    "beclr": ("beclr", {"queue": 2000, "prototypes": 50}),
    "alone": ("beclr", {"queue": 2000, "prototypes": 50, "neighbours": 0}),
}
Rows = tuple[Tensor, np.ndarray]


def split(seed: int) -> tuple[Rows, dict[str, Rows]]:
    """Pictures to train on, and those of which tasks are drawn."""
    from sklearn.datasets import load_digits

    images, labels, test, truth = clothes()
    seen = np.random.default_rng(seed).permutation(10)[:5]
    digits = load_digits()
    written = torch.as_tensor((digits.images * (255 / 16)).round().astype(np.uint8))[:, None]
    train, new = np.isin(labels, seen), ~np.isin(truth, seen)
    return (images[train], labels[train]), {"clothes": (test[new], truth[new]), "digits": (written, digits.target)}


def trained(kind: str, settings: dict[str, Any], images: Tensor, views: ImageViews, steps: int, seed: int) -> Method:
    """The method after some steps."""
    torch.manual_seed(seed)
    method = find(kind)(Net(), find(kind).Options(**settings))
    train(method, images, views, steps, seed)
    return method


def told(vectors: np.ndarray, labels: np.ndarray, tasks: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """The share of right queries of each task, by shots and by whether class means were transported."""
    for shots in (1, 5):
        scores = episodes(vectors, labels, shots=shots, count=tasks, resamples=1, seed=seed).scores
        yield f"{shots}", scores["accuracy"]
        yield f"{shots}, transported", scores["transported"]


def purity(method: BECLR, labels: np.ndarray) -> list[float]:
    """Of five rows of the memory beside each, how many are of its class: in its cluster, in all of it, and of any."""
    memory, classes = method.memory, torch.as_tensor(labels)[method.memory.ids]
    every = (memory.vectors @ memory.vectors.T).topk(6).indices
    shares = [
        (classes[of[:, 1:]] == classes[:, None]).double().mean() for of in (memory.alike(memory.vectors, 6), every)
    ]
    return [*map(float, shares), float((classes[:, None] == classes).double().mean())]


def read(text: str) -> dict[str, Any]:
    """Settings from "name=value,name=value"."""
    pairs = (part.split("=") for part in text.split(","))
    return {name: float(value) if "." in value else int(value) for name, value in pairs}


def main() -> None:
    """A table for each of the two data: a row for each way, and what the others gain over SimCLR and by transport."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=600)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    views, found, pure = pictures(), dict[tuple[str, str, str], list[np.ndarray]](), dict[str, list[list[float]]]()
    ways = WAYS | {text: ("beclr", {"queue": 2000, "prototypes": 50, **read(text)}) for text in chosen.settings}
    for seed in range(chosen.seeds):
        (images, labels), sides = split(seed)
        rows: dict[str, Any] = {way: trained(*ways[way], images, views, chosen.steps, seed) for way in ways}
        for way, method in rows.items():
            if isinstance(method, BECLR):
                pure.setdefault(way, []).append(purity(method, labels))
            for side, (shown, truth) in sides.items():
                with torch.no_grad():
                    vectors = method.embed(views.plain(shown)).numpy()
                for name, scores in told(vectors, truth, chosen.tasks, seed):
                    found.setdefault((side, name, way), []).append(scores)
        for side, (shown, truth) in sides.items():
            for name, scores in told(shown.flatten(1).double().numpy(), truth, chosen.tasks, seed):
                found.setdefault((side, name, "pixels"), []).append(scores)
    scores = {key: np.concatenate(parts) for key, parts in found.items()}
    names = ["1", "1, transported", "5", "5, transported"]
    for side in ("clothes", "digits"):
        print(f"\n{side}\n\n| |", " | ".join(f"{name} shots" for name in names), "|\n|---|---|---|---|---|")
        for way in (*ways, "pixels"):
            print(f"| {way} |", " | ".join(str(bootstrap_mean("", scores[side, name, way])) for name in names), "|")
        for way, other in [(way, "simclr") for way in (*ways, "pixels") if way != "simclr"] + [("beclr", "alone")]:
            gains = [paired_difference(scores[side, name, way], scores[side, name, other]) for name in names]
            print(f"| {way} less {other} |", " | ".join(map(str, gains)), "|")
        for way in (*ways, "pixels"):
            moved = [(scores[side, f"{n}, transported", way], scores[side, n, way]) for n in ("1", "5")]
            print(f"| {way}, by transport | | {' | | '.join(str(paired_difference(*pair)) for pair in moved)} |")
        for way in ways:
            seeds = [" ".join(f"{part.mean():.3f}" for part in found[side, name, way]) for name in names]
            print(f"| {way}, seed by seed |", " | ".join(seeds), "|")
    print("\n| | in its cluster | in all | any |\n|---|---|---|---|")
    for way, shares in pure.items():
        print(f"| {way} |", " | ".join(f"{share:.3f}" for share in np.mean(shares, axis=0)), "|")


if __name__ == "__main__":
    main()
