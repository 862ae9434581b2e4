"""Clothes in four styles, each left out once: what a penalty between mixtures of the other three is worth (CausIRL).

Styles are plain, coloured, turned (by 18 to 45 degrees) and textured; each has other items, 14 x 14 pixels. A run
learns from three of them, without and with the penalty, with the same steps, batches (as many rows of every style),
start and seeds. A linear probe is fitted on the styles that were learned from and scored on the one left out. The
domain probe says how well a linear classifier tells the three styles by the vectors; by chance a third. Intervals are
Student's over seeds.

    python -m benchmarks.domains
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

import nearfar
from nearfar.data import ArraySource, bundled
from nearfar.evaluation import seeds_mean

STYLES = ("plain", "coloured", "turned", "textured")
WAYS: dict[str, dict[str, object]] = {
    "none": {"even_domains": True},
    "coral": {"penalty": "coral"},
    "mmd": {"penalty": "mmd"},
}


def styled(images: Tensor, style: str, rng: torch.Generator) -> Tensor:
    """Grey images (N, 1, S, S) from 0 to 1 as colour images of a style."""
    count = len(images)
    three = images.repeat(1, 3, 1, 1)
    if style == "coloured":
        return three * (0.2 + 0.8 * torch.rand(count, 3, 1, 1, generator=rng))
    if style == "turned":
        angle = torch.pi * (0.1 + 0.15 * torch.rand(count, generator=rng))
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(count, 2, 2)
        where = affine_grid(torch.cat([turn, torch.zeros(count, 2, 1)], 2), list(three.shape), align_corners=False)
        return grid_sample(three, where, align_corners=False)
    if style == "textured":
        size = images.shape[-1]
        rough = torch.rand(count, 3, size, size, generator=rng)
        return torch.maximum(three, 0.7 * rough)
    return three


def source(each: int, seed: int) -> ArraySource:
    """`each` items in every style."""
    with np.load(bundled.path("fashion"), allow_pickle=False) as archive:
        images, labels, names = archive["images"], archive["labels"], [str(name) for name in archive["classes"]]
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images), generator=rng)[: each * len(STYLES)].numpy()
    small = avg_pool2d(torch.from_numpy(images[chosen]).float()[:, None] / 255, 2)
    parts = [styled(part, style, rng) for part, style in zip(small.chunk(len(STYLES)), STYLES, strict=True)]
    rows = (255 * torch.cat(parts)).round().to(torch.uint8).numpy()
    made = ArraySource("images", rows, labels=labels[chosen], classes=names)
    return made.in_domains(np.repeat(STYLES, each))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="supcon")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--each", type=int, default=500, help="items of each style")
    parser.add_argument("--weight", type=float, default=10.0, help="of the penalty")
    asked = parser.parse_args()
    accuracy: dict[tuple[str, str], list[float]] = {}
    told: dict[tuple[str, str], list[float]] = {}
    for seed in range(asked.seeds):
        data = source(asked.each, seed)
        for left in STYLES:
            for way, settings in WAYS.items():
                weight = {"penalty_weight": asked.weight} if "penalty" in settings else {}
                with tempfile.TemporaryDirectory() as folder:
                    run = nearfar.fit(
                        data, Path(folder, "run"), method=asked.method, encoder="small", steps=asked.steps, seed=seed,
                        batch_size=66, leave_out=left, progress=False, **settings, **weight,
                    )  # fmt: skip
                    found = nearfar.evaluate(
                        run, data, probes=["linear"], strength=1.0, baselines=False, progress=False
                    )
                metrics = found.evaluations["nearfar"].metrics
                accuracy.setdefault((left, way), []).append(metrics["linear_accuracy"].value)
                told.setdefault((left, way), []).append(metrics["domains_accuracy"].value)
                print(seed, left, way, *(round(part[left, way][-1], 3) for part in (accuracy, told)), flush=True)
    for title, part in (("left out", accuracy), ("domain probe without", told)):
        print(
            f"\n| {title} | "
            + " | ".join(WAYS)
            + " | coral less none | mmd less none |\n"
            + "|---" * (len(WAYS) + 3)
            + "|"
        )
        for left in (*STYLES, "mean"):
            values = {
                way: np.mean([part[style, way] for style in STYLES], axis=0) if left == "mean" else part[left, way]
                for way in WAYS
            }
            cells = [seeds_mean("", values[way]).short() for way in WAYS]
            cells += [seeds_mean("", np.subtract(values[way], values["none"])).short() for way in ("coral", "mmd")]
            print(f"| {left} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
