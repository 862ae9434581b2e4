"""Long tails: `gml` beside logit-adjusted cross-entropy and SupCon, by how many items a class has.

Run: python -m benchmarks.long_tail [--steps 200] [--seeds 3]

The bundled clothes as in `benchmarks/little.py`, but of a class only 1000 / 100^(c / 9) pictures to train on, from
1000 to 10, in an order of the classes that is another for each seed; the test is balanced. Many: above 100 pictures;
medium: 20 to 100; few: under 20. `adjusted` is `gml` without keys (key_weight=0), which leaves the cross-entropy of a
cosine classifier with the logs of the priors added (Menon et al. 2021). Same encoder, pictures, views, batches and
rates. A picture is given to the class whose mean vector of the training pictures is nearest by cosine and, where a
method has a classifier, also by that one without priors. Intervals (95 %) are over test pictures of all seeds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.little import Net, clothes, pictures
from nearfar.data.batch import Batch
from nearfar.evaluation import bootstrap_mean, paired_difference
from nearfar.methods import find

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "gml": ("gml", {"classes": 10, "queue": 1024}),
    "adjusted": ("gml", {"classes": 10, "key_weight": 0.0}),
    "supcon": ("supcon", {}),
}
GROUPS = {"many": (101, 10**9), "medium": (20, 100), "few": (0, 19), "all": (0, 10**9)}
Sets = tuple[Tensor, np.ndarray, Tensor, np.ndarray]


def tailed(seed: int) -> tuple[Sets, np.ndarray]:
    """Pictures and classes to train and to test on; how many training pictures the class of each test picture has."""
    images, labels, test, truth = clothes()
    drawn = np.random.default_rng(seed)
    sizes = np.round(1000 / 100 ** (drawn.permutation(10) / 9)).astype(int)
    kept = np.concatenate([np.flatnonzero(labels == c)[:n] for c, n in enumerate(sizes)])
    return (images[kept], labels[kept], test, truth), sizes[truth]


def right(way: str, sets: Sets, seed: int, steps: int) -> dict[str, np.ndarray]:
    """Which test pictures are given their class, by each classifier."""
    (name, settings), (images, labels, test, truth), views = WAYS[way], sets, pictures()
    torch.manual_seed(seed)
    kind = find(name)
    method: Any = kind(Net(), kind.Options(**settings))
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn, told = torch.Generator().manual_seed(seed), torch.as_tensor(labels).long()
    for step in range(steps):
        ids = torch.randint(len(images), (128,), generator=drawn)
        made = views(images[ids], drawn)
        optimiser.zero_grad()
        method.contrast([method.project(view) for view in made], Batch(made, ids, told[ids])).loss.backward()
        optimiser.step()
        rate.step()
        method.after_step(step, steps)
    method.eval()
    with torch.no_grad():
        x, z = (normalize(method.embed(views.plain(rows)), dim=1) for rows in (images, test))
        means = torch.stack([x[told == c].mean(0) for c in range(10)])
        found = {"class means": (z @ normalize(means, dim=1).T).argmax(1).numpy() == truth}
        if name == "gml":
            classifier = normalize(method.get_parameter("weights"), dim=1)
            found["own classifier"] = (z @ classifier.T).argmax(1).numpy() == truth
    return found


def main() -> None:
    """A row for each method and classifier, and what `gml` gains over each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    hits: dict[tuple[str, str], list[np.ndarray]] = {}
    torch.set_num_threads(1)
    made = [tailed(seed) for seed in range(chosen.seeds)]
    sizes = np.concatenate([each for _, each in made])
    for way in WAYS:
        for seed, (sets, _) in enumerate(made):
            for classifier, hit in right(way, sets, seed, chosen.steps).items():
                hits.setdefault((way, classifier), []).append(hit)
    print("| method | classifier |", " | ".join(GROUPS), "|\n|---|---|" + "---|" * len(GROUPS))
    rows = {key: np.concatenate(seeds).astype(float) for key, seeds in hits.items()}
    inside = {group: (sizes >= low) & (sizes <= high) for group, (low, high) in GROUPS.items()}
    for (way, classifier), row in rows.items():
        each = [str(bootstrap_mean("", row[mask])) for mask in inside.values()]
        print(f"| {way} | {classifier} |", " | ".join(each), "|")
    for (way, classifier), row in rows.items():
        if way != "gml":
            best = rows["gml", classifier]
            each = [str(paired_difference(best[mask], row[mask])) for mask in inside.values()]
            print(f"| gml less {way} | {classifier} |", " | ".join(each), "|")


if __name__ == "__main__":
    main()
