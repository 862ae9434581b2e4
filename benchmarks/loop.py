"""Images per second of the whole training loop: nearfar's SimCLR and MoCo against lightly's, in turns, in one process.

Run: python -m benchmarks.loop [--seconds 10] [--rounds 2] [--markdown]
The same encoder (`small`), batches of 256 pictures of 28 pixels, AdamW. lightly brings its transforms (without blur, as
its documents advise for small pictures), its data set and torch's DataLoader (the better of 0 and 2 workers), heads,
losses, memory bank and momentum updates. `limit` is forward, backward and step of nearfar's SimCLR on views that are
there already.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.parity import Peer
from nearfar import methods, modalities
from nearfar.data import bundled
from nearfar.data.batch import Batch
from nearfar.data.sampling import EpochSampler
from nearfar.training import Trainer, TrainingSettings

BATCH = 256
Step = Callable[[], int]


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The bundled pictures as PIL images with a transform, which is what lightly's data set does."""

    def __init__(self, rows: np.ndarray, transform: Any) -> None:
        from PIL import Image

        self.images = [Image.fromarray(row[0]).convert("RGB") for row in rows]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return self.transform(self.images[index])


def first_channel(views: list[Tensor]) -> list[Tensor]:
    """Grey pictures of three equal channels, as one channel."""
    return [view[:, :1].contiguous() for view in views]


def lightly_steps(name: str, rows: np.ndarray, facts: dict[str, Any], workers: int) -> Iterator[int]:
    """Train by lightly for ever; gives the number of pictures after every step."""
    from lightly.transforms import MoCoV2Transform, SimCLRTransform

    kind = MoCoV2Transform if name == "moco" else SimCLRTransform
    transform = kind(input_size=28, gaussian_blur=0.0)
    loader = torch.utils.data.DataLoader(
        Pictures(rows, transform), BATCH, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
    _, encoder = modalities.find("images").encoder("small", facts)
    peer = Peer(name, encoder, methods.find(name).Options())
    optimiser = torch.optim.AdamW(peer.learning.parameters(), lr=1e-3)
    step = 0
    while True:
        for views in loader:
            optimiser.zero_grad(set_to_none=True)
            peer(step, *first_channel(views)).sum().backward()
            optimiser.step()
            step += 1
            yield BATCH


def nearfar_rate(name: str, source: Any, facts: dict[str, Any], steps: int) -> tuple[float, float]:
    """Images per second of a real run, and the share of the time spent waiting for views."""
    images = modalities.find("images")
    kind = methods.find(name)
    _, encoder = images.encoder("small", facts)
    views = images.views(facts, 2, images.Options())
    settings = TrainingSettings(steps=steps, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as out:
        sampler = EpochSampler(len(source), BATCH, 0)
        result = Trainer(kind(encoder, kind.Options()), source, views, sampler, settings, out, progress=False).run()
    return result.items_per_second, result.wait_share


def limit_rate(source: Any, facts: dict[str, Any], steps: int) -> float:
    """Images per second without making views."""
    images = modalities.find("images")
    kind = methods.find("simclr")
    _, encoder = images.encoder("small", facts)
    method: nn.Module = kind(encoder, kind.Options())
    rows, ids = source.rows(slice(0, BATCH)), torch.arange(BATCH)
    views = images.views(facts, 2, images.Options())(rows, torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)
    batch = Batch(views, ids)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        method.contrast([method.project(view) for view in views], batch).loss.backward()
        optimiser.step()

    step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - began)


def timed(steps: Iterator[int], seconds: float) -> float:
    """Pictures per second over about so many seconds, after one step to warm up."""
    next(steps)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        done += next(steps)
    return done / (time.perf_counter() - began)


def main() -> None:
    """Alternate the sides, and print the best rate of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    images = modalities.find("images")
    source, _ = images.read_pair(bundled.path("fashion"), images.Options(), None, None, False)
    facts, rows = source.describe(), source.rows(slice(0, len(source))).numpy()
    limit = max(limit_rate(source, facts, 40) for _ in range(chosen.rounds))
    bar = "|" if chosen.markdown else ""
    heads = ("method", "nearfar images/s", "waiting", "share of limit", "lightly images/s", "workers", "ratio")
    print(bar + bar.join(f" {head:>17} " for head in heads) + bar)
    if chosen.markdown:
        print("|---" * len(heads) + "|")
    for name in ("simclr", "moco"):
        ours, theirs = [], []
        steps = max(40, int(chosen.seconds * limit / BATCH * 0.8))
        for _ in range(chosen.rounds):
            ours.append(nearfar_rate(name, source, facts, steps))
            theirs += [(timed(lightly_steps(name, rows, copy.deepcopy(facts), w), chosen.seconds), w) for w in (0, 2)]
        (rate, waiting), (peer, workers) = max(ours), max(theirs)
        cells = (
            name,
            f"{rate:,.0f}",
            f"{waiting:.0%}",
            f"{rate / limit:.2f}",
            f"{peer:,.0f}",
            workers,
            f"{rate / peer:.1f}",
        )
        print(bar + bar.join(f" {cell:>17} " for cell in cells) + bar, flush=True)


if __name__ == "__main__":
    main()
