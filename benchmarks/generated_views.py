"""What the quality of generated views says of pictures with more or less noise in them.

Run: python -m benchmarks.generated_views [--encoder small] [--count 600]

Of each of some bundled clothes (28 x 28) `benchmarks/generator.py` makes another, with noise of 0.1 to 1.5 times the
spread of 60 components. The rank correlation of that noise with what `nearfar generated` finds by an encoder, here
without any training, has intervals (95 %) over pictures, by resampling them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.generator import Components
from nearfar.data import bundled
from nearfar.data.source import ArraySource
from nearfar.generated import judge


def main() -> None:
    """A row for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--count", type=int, default=600)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with np.load(bundled.path("fashion")) as archive:
        images = archive["images"][: chosen.count]
    noise = rng.uniform(0.1, 1.5, len(images))
    made = Components(images, 60).made(images, noise, rng)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "made.npz", images=made, of=np.arange(len(images)))
        found = judge(chosen.encoder, ArraySource("images", images[:, None]), Path(folder) / "made.npz", False)
    print("| | rank correlation with noise |\n|---|---|")
    for name in ("foreground", "background", "quality"):
        values = getattr(found, name)
        picked = [rng.integers(len(values), size=len(values)) for _ in range(1000)]
        low, high = np.quantile([spearmanr(values[rows], noise[rows]).statistic for rows in picked], (0.025, 0.975))
        print(f"| {name} | {spearmanr(values, noise).statistic:+.2f} [{low:+.2f}, {high:+.2f}] |")


if __name__ == "__main__":
    main()
