"""One optimiser step over very many pairs of texts on one CPU: peak memory, seconds; and gradients beside plain ones.

Run: python -m benchmarks.large_text [static] [transformer] [--static-pairs 32768] [--pairs 4096] [--micro-batch 64]
Definitions and entries of the bundled dictionary, in another order each time round where there are not enough. Static:
`ngrams-256`; transformer: all-MiniLM-L6-v2, at most 128 tokens. Method `pairs`, AdamW, the gradient cache with
micro-batches by length, scores by tiles; each in a process of its own. Dropout is on; gradients are compared without.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from benchmarks.text_training import MOST, pairs_of
from nearfar.data.batch import Batch
from nearfar.methods.pairs import Pairs, PairsOptions
from nearfar.modalities.text.encoders import encoder
from nearfar.training.cache import step_gradients

ENCODERS = {"static": "ngrams-256", "transformer": "minilm"}


def made(kind: str) -> Pairs:
    """The method, always with the same weights."""
    torch.manual_seed(0)
    changes = {"most_tokens": MOST} if kind == "transformer" else {}
    return Pairs(encoder(ENCODERS[kind], **changes)[1], PairsOptions())


def batch_of(method: Pairs, count: int) -> Batch:
    """So many pairs; equal texts have one id."""
    anchors, positives = pairs_of(None, count)
    rounds = -(-count // len(anchors))
    columns = [(column * rounds)[:count] for column in (anchors, positives)]
    ids = torch.arange(count) % len(anchors)
    return Batch([method.encoder.tokens(column) for column in columns], ids)


def gradients(method: Pairs, batch: Batch, micro_batch: int | None) -> float:
    """Add the gradients of one batch; the loss."""
    losses: list[float] = []

    def loss_of(projections: list[Any]) -> torch.Tensor:
        loss = method.contrast(projections, batch).loss
        losses.append(loss.item())
        return loss

    step_gradients(method.project, batch.views, loss_of, micro_batch, method.order)
    return losses[0]


def difference(kind: str, count: int, micro_batch: int) -> float:
    """Length of the difference of cached and plain gradients, as a share of the length of the plain ones.

    Over all parameters at once: that of the keys' biases is 0 but for rounding, whatever the road.
    """
    found = []
    for size in (None, micro_batch):
        method = made(kind).eval()
        gradients(method, batch_of(method, count), size)
        found.append(torch.cat([weight.grad.flatten() for weight in method.parameters() if weight.grad is not None]))
    plain, cached = found
    return float((plain - cached).norm() / plain.norm())


def measured(kind: str, count: int, micro_batch: int) -> dict[str, float]:
    """One step, in this process."""
    method = made(kind).train()
    optimiser = torch.optim.AdamW(method.parameters(), lr=2e-5)
    batch = batch_of(method, count)
    began, used = time.perf_counter(), time.process_time()
    loss = gradients(method, batch, micro_batch)
    optimiser.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {
        "loss": loss,
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - used,
        "peak": peak,
        "difference": difference(kind, 256, 32),
    }


def main() -> None:
    """Measure what is asked for, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(ENCODERS))
    parser.add_argument("--static-pairs", type=int, default=32768)
    parser.add_argument("--pairs", type=int, default=4096)
    parser.add_argument("--micro-batch", type=int, default=64)
    parser.add_argument("--one")
    how = parser.parse_args()
    counts = {"static": how.static_pairs, "transformer": how.pairs}
    if how.one:
        print(json.dumps(measured(how.one, counts[how.one], how.micro_batch)))
        return
    for kind in how.kinds:
        command = [sys.executable, "-m", "benchmarks.large_text", "--one", kind]
        command += ["--static-pairs", str(how.static_pairs), "--pairs", str(how.pairs)]
        command += ["--micro-batch", str(how.micro_batch)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(out.strip().splitlines()[-1])
        peak, seconds, cpu, loss = (found[key] for key in ("peak", "seconds", "cpu", "loss"))
        print(
            f"{ENCODERS[kind]}: {counts[kind]} pairs, one step: peak {peak:.2f} GiB, {seconds:.0f} s, {cpu:.0f} CPU-s"
        )
        print(f"  loss {loss:.3f}; gradients of 256 pairs differ from plain ones by {found['difference']:.1e}")


if __name__ == "__main__":
    main()
