"""Do generated pictures that join the data help, and should their views be weaker? Replication x strength of views.

Run: python -m benchmarks.inflation [--steps 300] [--seeds 3] [--real 1000] [--made 10000] [--noise 0.5] [--shifts 0 1]
     [--strengths 0.3 0.6 1]

The first 1,000 bundled clothes as in `benchmarks/little.py`, and ten times as many that `benchmarks/generator.py` made
of them from 30 of 64 components: noise of half the spread of each, and with a shift all of them moved by so much of it
too, as by a generator with the wrong mean. `simclr` learns from the real ones alone, or from both, each real one 1 or
10 times (`replicate`), by views of the recipe `digits` at several strengths; same encoder, steps, batches and rates for
all. The class of 2,500 test pictures is the vote of the 20 nearest among 5,000 real ones by cosine. Intervals (95 %)
are over test pictures of all seeds; the choice of the real pictures is the same for all seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.generator import Components
from benchmarks.little import Net, clothes
from nearfar.data.batch import Batch
from nearfar.data.sampling import EpochSampler
from nearfar.data.source import ArraySource
from nearfar.evaluation import bootstrap_mean, knn_predict, paired_difference
from nearfar.methods.simclr import SimCLR, SimCLROptions
from nearfar.modalities.images.generated import among
from nearfar.modalities.images.views import ImageViews

REPLICATES = (1, 10)
BATCH = 128
SIZES = (5000, 5000, 2500, 2500)  # of what votes, and of what is tested


def joined(real: ArraySource, made: np.ndarray, times: int) -> ArraySource:
    """The real pictures `times` times each, and the generated ones once, by the way of `generated_as=items`."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "made.npz", images=made)
        return among(Path(folder) / "made.npz", real, times, None, False)


def right(source: ArraySource, strength: float, seed: int, steps: int) -> np.ndarray:
    """Which test pictures are given their class by their neighbours, after learning from a source."""
    views = ImageViews(size=8, channels=1, recipe="digits", strength=strength)
    torch.manual_seed(seed)
    method = SimCLR(Net(), SimCLROptions())
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    sampler, drawn = EpochSampler(len(source), BATCH, seed), torch.Generator().manual_seed(seed)
    for step in range(steps):
        index = sampler.batch(step)
        made = views(source.rows(index), drawn)
        optimiser.zero_grad()
        batch = Batch(made, torch.as_tensor(source.ids[index]))
        method.contrast([method.project(view) for view in made], batch).loss.backward()
        optimiser.step()
        rate.step()
    images, labels, test, truth = (part[:size] for part, size in zip(clothes(), SIZES, strict=True))
    with torch.no_grad():
        x, z = (method.eval().embed(views.plain(rows)).numpy() for rows in (images, test))
    return np.asarray(knn_predict(x, labels, z, k=20) == truth, dtype=float)


def main() -> None:
    """The grid for each generator, and what each mix gains over the real pictures alone at their best strength."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--real", type=int, default=1000)
    parser.add_argument("--made", type=int, default=10000)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--shifts", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.3, 0.6, 1.0])
    chosen = parser.parse_args()
    strengths = sorted(chosen.strengths)
    torch.set_num_threads(1)
    images = clothes()[0].numpy()[: chosen.real]
    real, rng = ArraySource("images", images), np.random.default_rng(0)
    sources = {"real alone": real}
    for shift in chosen.shifts:
        of = images[np.arange(chosen.made) % len(images)]
        made = Components(images, 30).made(of, chosen.noise, rng, shift)
        sources |= {f"shift {shift:g}, real x {times}": joined(real, made, times) for times in REPLICATES}
    print("| learned from |", " | ".join(f"strength {strength:g}" for strength in strengths), "|")
    print("|---|" + "---|" * len(strengths))
    hits: dict[tuple[str, float], np.ndarray] = {}
    for name, source in sources.items():
        for strength in strengths:
            runs = [right(source, strength, seed, chosen.steps) for seed in range(chosen.seeds)]
            hits[name, strength] = np.concatenate(runs)
        cells = [str(bootstrap_mean("", hits[name, strength])) for strength in strengths]
        print(f"| {name} |", " | ".join(cells), "|", flush=True)
    print("\n| learned from | best strength | less real alone at its best | best less strongest |\n|---|---|---|---|")
    best = {name: max(strengths, key=lambda s, n=name: hits[n, s].mean()) for name in sources}  # type: ignore[misc]
    alone = hits["real alone", best["real alone"]]
    for name, strength in best.items():
        own = hits[name, strength]
        gain = "" if name == "real alone" else str(paired_difference(own, alone))
        weaker = "" if strength == strengths[-1] else str(paired_difference(own, hits[name, strengths[-1]]))
        print(f"| {name} | {strength:g} | {gain} | {weaker} |")


if __name__ == "__main__":
    main()
