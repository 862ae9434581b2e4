"""Views made per second: nearfar on the batch against torchvision v2 image by image, the same recipe, one process.

Run: python -m benchmarks.views [seconds per measurement] [threads]
On a busy machine only the columns per CPU second, with one thread, mean anything.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from nearfar.modalities.images.views import ImageViews

# size of the views, size of the images, images in a batch, recipe (blur is off in "simclr-small", as for CIFAR)
SETTINGS = [(32, 32, 1024, "simclr-small"), (96, 96, 256, "simclr"), (224, 256, 64, "simclr")]


def rates(make: Callable[[torch.Tensor], object], rows: torch.Tensor, seconds: float) -> tuple[float, float]:
    """Best images per second and per CPU second over calls that together take `seconds` (at least two calls)."""
    make(rows[:8])
    wall = cpu = float("inf")
    calls, end = 0, time.perf_counter() + seconds
    while calls < 2 or time.perf_counter() < end:
        start, cpu_start = time.perf_counter(), time.process_time()
        make(rows)
        wall, cpu = min(wall, time.perf_counter() - start), min(cpu, time.process_time() - cpu_start)
        calls += 1
    return len(rows) / wall, len(rows) / cpu


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    torch.set_num_threads(threads)
    print(f"one view per image, {threads} threads, best call within {seconds:g} s")
    print(f"{'':>28} {'images per second':^30} {'images per CPU second':^30}")
    columns = f"{'torchvision':>12} {'nearfar':>9} {'ratio':>7}"
    print(f"{'size':>5} {'from':>5} {'recipe':>16} {columns} {columns}")
    for size, source, batch, recipe in SETTINGS:
        rows = torch.randint(0, 256, (batch, 3, source, source), dtype=torch.uint8)
        generator = torch.Generator().manual_seed(0)
        exact, fast = (ImageViews(size, 3, count=1, recipe=recipe, exact=e) for e in (True, False))
        theirs = rates(partial(exact, generator=generator), rows[: max(8, batch // 8)], seconds)
        ours = rates(partial(fast, generator=generator), rows, seconds)
        cells = (f"{t:>12,.0f} {o:>9,.0f} {o / t:>6.1f}x" for t, o in zip(theirs, ours, strict=True))
        print(f"{size:>5} {source:>5} {recipe:>16} {' '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
