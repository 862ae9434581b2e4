"""Turned copies judged picture by picture, beside always near, always far and none.

Run: python -m benchmarks.turned [--steps 400] [--seeds 3] [--above 0.2]

The bundled clothes as in `benchmarks/little.py`: same encoder, pictures, views, batches and rates for all. `none` is
`pnda` whose copies never count, which is SimCLR. Copies count after a third of the steps. The class of a picture is the
vote of its 20 nearest training pictures by cosine. Intervals (95 %) are over test pictures of all seeds.
The second table has the share of the training pictures of each class that the classifier finds alike when turned.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.little import Net, clothes, pictures, train
from nearfar.evaluation import bootstrap_mean, knn_predict, paired_difference
from nearfar.methods.pnda import PNDA, PNDAOptions

WAYS: dict[str, dict[str, Any]] = {
    "judged": {},
    "near": {"copies": "near"},
    "far": {"copies": "far"},
    "none": {"copies": "far", "copies_from": 1.0},
}


def trained(way: str, seed: int, steps: int, above: float) -> PNDA:
    """The method after some steps."""
    images, views = clothes()[0], pictures()
    torch.manual_seed(seed)
    options = {"copies_from": 1 / 3, "above": above, "items": len(images), **WAYS[way]}
    method = PNDA(Net(), PNDAOptions(**options))
    train(method, images, views, steps, seed)
    return method


def right(method: PNDA) -> np.ndarray:
    """Which test pictures are given their class by their neighbours."""
    images, labels, test, truth = clothes()
    views = pictures()
    with torch.no_grad():
        x, z = (method.embed(views.plain(rows)).numpy() for rows in (images, test))
    return np.asarray(knn_predict(x, labels, z, k=20) == truth)


def main() -> None:
    """A row for each way, what `judged` gains over each, and who was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--above", type=float, default=0.2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows, near = dict[str, np.ndarray](), list[list[float]]()
    labels = clothes()[1]
    for way in WAYS:
        hits = []
        for seed in range(chosen.seeds):
            method = trained(way, seed, chosen.steps, chosen.above)
            hits.append(right(method))
            if way == "judged":
                seen, picked = (method.seen > 0).numpy(), method.chosen()[1].numpy()
                near.append([picked[seen & (labels == c)].mean() for c in range(10)] + [picked[seen].mean()])
        rows[way] = np.concatenate(hits).astype(float)
    print("| copies | nearest neighbours | judged less this |\n|---|---|---|")
    for way, row in rows.items():
        gain = "" if way == "judged" else str(paired_difference(rows["judged"], row))
        print(f"| {way} | {bootstrap_mean('', row)} | {gain} |")
    print("\nshare found alike, by class and of all:", " ".join(f"{share:.2f}" for share in np.mean(near, axis=0)))


if __name__ == "__main__":
    main()
