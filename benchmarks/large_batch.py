"""SimCLR with 65,536 items in a batch on one CPU: peak memory, seconds per step, loss; and gradients beside plain ones.

Run: python -m benchmarks.large_batch [--batch-size 65536] [--micro-batch 512] [--steps 2]
The bundled pictures, repeated under new ids with other views; encoder `small`, two views, AdamW, scores by tiles. First
gradients at a size where all fits: of micro-batches cached against the same micro-batches in one graph with all scores,
and, with the running statistics of batch norm, against the whole batch at once. The same by command, with an archive
of as many pictures:

    nearfar fit PICTURES.npz --set batch_size=65536 --set micro_batch=512 --set duplicates=own-id
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.ntxent import peak, reset
from benchmarks.plan import repeated
from nearfar import methods, modalities
from nearfar.data.batch import Batch
from nearfar.methods.method import Method
from nearfar.training.cache import step_gradients

FACTS = {"shape": [1, 28, 28]}


def simclr() -> Method:
    """SimCLR with the encoder `small`, always the same weights."""
    torch.manual_seed(0)
    _, encoder = modalities.find("images").encoder("small", FACTS)
    kind = methods.find("simclr")
    return kind(encoder, kind.Options()).train()


def batch_of(items: int, seed: int) -> Batch:
    """Two views of so many items."""
    images = modalities.find("images")
    make = images.views(FACTS, 2, images.Options())
    rows = repeated(items).rows(slice(0, items))
    return Batch(make(rows, torch.Generator().manual_seed(seed)), torch.arange(items))


def difference(items: int, micro_batch: int, norm_by_batch: bool) -> float:
    """Largest difference of cached and plain gradients, as a share of the largest entry of the parameter's gradient."""
    batch, results = batch_of(items, 0), []
    for cached in (False, True):
        method = simclr()
        for norm in method.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and not norm_by_batch:
                norm.eval()

        def joined(rows: Tensor, project: Callable[..., Any] = method.project) -> Tensor:
            parts = rows.split(micro_batch) if norm_by_batch else [rows]
            return torch.cat([project(part) for part in parts])

        def loss_of(views: list[Tensor], method: Method = method, kind: str = "tiled" if cached else "dense") -> Tensor:
            value: Tensor = method.objective(*views, ids=batch.ids, strategy=kind)
            return value

        step_gradients(method.project if cached else joined, batch.views, loss_of, micro_batch if cached else None)
        results.append([p.grad for p in method.parameters() if p.grad is not None])
    plain, ours = results
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(plain, ours, strict=True))


def main() -> None:
    """Compare gradients, then train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=65536)
    parser.add_argument("--micro-batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--compare", action="store_true", help="only the gradients")
    chosen = parser.parse_args()
    if chosen.compare:
        print("largest difference to plain gradients, 1024 items in micro-batches of 128, float32, scores dense")
        print(f"  the same micro-batches in one graph        {difference(1024, 128, True):.1e}")
        print(f"  all at once, norms by running statistics   {difference(1024, 128, False):.1e}")
        return
    # In a process of its own, since what it frees would be memory that this one has already.
    subprocess.run([sys.executable, "-m", "benchmarks.large_batch", "--compare"], check=True)
    method = simclr()
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)
    before = reset()
    print(
        f"{chosen.batch_size} items, micro-batches of {chosen.micro_batch}, NT-Xent over {2 * chosen.batch_size} rows"
    )
    for step in range(chosen.steps):
        began, worked = time.perf_counter(), time.thread_time()
        batch = batch_of(chosen.batch_size, step)
        losses: list[float] = []

        def loss_of(projections: list[Any], batch: Batch = batch, losses: list[float] = losses) -> Tensor:
            loss = method.contrast(projections, batch).loss
            losses.append(loss.item())
            return loss

        optimiser.zero_grad(set_to_none=True)
        step_gradients(method.project, batch.views, loss_of, chosen.micro_batch)
        optimiser.step()
        print(
            f"  step {step + 1}: loss {losses[0]:.4f}, {time.perf_counter() - began:.0f} s, "
            f"{time.thread_time() - worked:.0f} s of them at work, peak {peak() / 2**30:.2f} GiB, "
            f"{(peak() - before) / 2**30:.2f} GiB above what the process had",
            flush=True,
        )


if __name__ == "__main__":
    main()
