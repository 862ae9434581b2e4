"""Views made per second: nearfar on the batch against torchvision v2 image by image, the same recipe, one process.

Run: python -m benchmarks.views [seconds per measurement]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from nearfar.modalities.images.views import ImageViews

THREADS = 2
# size of the views, size of the images, images in a batch, recipe (blur is off in "simclr-small", as for CIFAR)
SETTINGS = [(32, 32, 1024, "simclr-small"), (96, 96, 256, "simclr"), (224, 256, 64, "simclr")]


def rate(make: Callable[[torch.Tensor], object], rows: torch.Tensor, seconds: float) -> float:
    """Best images per second over calls that together take `seconds` (at least three calls)."""
    make(rows)
    best, calls, end = 0.0, 0, time.perf_counter() + seconds
    while calls < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        make(rows)
        best = max(best, len(rows) / (time.perf_counter() - start))
        calls += 1
    return best


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    torch.set_num_threads(THREADS)
    print(f"views/s, one view per image, {THREADS} threads, best call within {seconds:g} s")
    print(f"{'size':>6} {'from':>6} {'recipe':>14} {'torchvision':>12} {'nearfar':>10} {'ratio':>7}")
    for size, source, batch, recipe in SETTINGS:
        rows = torch.randint(0, 256, (batch, 3, source, source), dtype=torch.uint8)
        generator = torch.Generator().manual_seed(0)
        fast = ImageViews(size, 3, count=1, recipe=recipe)
        exact = ImageViews(size, 3, count=1, recipe=recipe, exact=True)
        few = rows[: max(16, batch // 8)]
        theirs = rate(partial(exact, generator=generator), few, seconds)
        ours = rate(partial(fast, generator=generator), rows, seconds)
        print(f"{size:>6} {source:>6} {recipe:>14} {theirs:>12,.0f} {ours:>10,.0f} {ours / theirs:>6.1f}x", flush=True)


if __name__ == "__main__":
    main()
