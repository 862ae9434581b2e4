"""NT-Xent forward and backward: time and peak memory of nearfar and its peers, one process each, one after another.

float32, width 128, temperature 0.1, two views of rows/2 items. "limit" is the matrix products of the tiled algorithm
alone: half of the score tiles in the forward pass, and again in the backward pass with the two products that carry
gradients. Time is the least of several repeats; memory is the peak resident set above what the process had with its
inputs in place.

    python -m benchmarks.ntxent             all sizes
    python -m benchmarks.ntxent 512 2048    some
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, TEMPERATURE = 128, 0.1
SIZES = (512, 2048, 8192, 65536)
PEERS = ("nearfar", "limit", "plain cross-entropy", "lightly", "pytorch-metric-learning", "open_clip")
ROUNDS = 3  # every process is run this often, in turn; the least time counts


def work(name: str, rows: int) -> Callable[[], object]:
    """One forward and backward pass of an implementation, as a function of nothing."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    torch.manual_seed(0)
    a = torch.randn(rows // 2, WIDTH).requires_grad_()
    b = torch.randn(rows // 2, WIDTH).requires_grad_()
    if name == "nearfar":
        from nearfar.objectives import NTXent

        objective = NTXent(temperature=TEMPERATURE)
        return lambda: objective(a, b).backward()
    if name == "limit":
        return lambda: products(normalize(torch.cat([a, b]).detach(), dim=1))
    if name == "lightly":
        from lightly.loss import NTXentLoss

        lightly_loss = NTXentLoss(temperature=TEMPERATURE)
        return lambda: lightly_loss(a, b).backward()
    if name == "pytorch-metric-learning":
        from pytorch_metric_learning.losses import SupConLoss

        supcon, labels = SupConLoss(temperature=TEMPERATURE), torch.arange(rows // 2).repeat(2)
        return lambda: supcon(torch.cat([a, b]), labels).backward()
    if name == "open_clip":
        from open_clip.loss import ClipLoss

        # The same number of scores: rows x rows, of two towers.
        clip, x, y = ClipLoss(), *(torch.randn(rows, WIDTH).requires_grad_() for _ in range(2))
        return lambda: clip(normalize(x, dim=1), normalize(y, dim=1), torch.tensor(1 / TEMPERATURE)).backward()

    target = torch.arange(rows).roll(rows // 2)

    def plain() -> None:
        z = normalize(torch.cat([a, b]), dim=1)
        scores = z @ z.T / TEMPERATURE
        scores = scores.masked_fill(torch.eye(rows, dtype=torch.bool), float("-inf"))
        cross_entropy(scores, target).backward()

    return plain


def products(z: Tensor, candidates: Tensor | None = None, tile: int | None = None) -> None:
    """The matrix products of the tiled algorithm alone, in its own tiles; half of them where z are the candidates."""
    import torch

    from nearfar.contrast import Strategy
    from nearfar.contrast.blocks import slices

    other = z if candidates is None else candidates
    tile = tile or Strategy().side((len(z), len(other)), z)
    buffer, du, dv = torch.empty(tile * tile), torch.zeros_like(z), torch.zeros_like(other)
    parts = slices(len(other), tile)
    for backward in (False, True):
        for i, rows in enumerate(slices(len(z), tile)):
            for columns in parts if candidates is not None else parts[i:]:
                u, v = z[rows], other[columns]
                scores = torch.mm(u, v.T, out=buffer[: len(u) * len(v)].view(len(u), len(v)))
                if backward:
                    du[rows].addmm_(scores, v)
                    dv[columns].addmm_(scores.T, u)


def peak() -> int:
    """Peak resident bytes of this process since the last `reset`."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def reset() -> int:
    """Forget the peak; returns the resident bytes now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak()


def measure(name: str, rows: int) -> dict[str, float]:
    """Seconds and peak bytes above the inputs, in this process."""
    step = work(name, rows)
    work(name, 64)()  # lazily made things of the library, thread pools, but nothing of this size
    before = reset()
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    bytes_above = peak() - before
    times = [first] if rows > 8192 else []
    budget = time.perf_counter() + max(1.0, 3 * first)
    while rows <= 8192 and (len(times) < 3 or time.perf_counter() < budget) and len(times) < 200:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {"seconds": min(times), "bytes": bytes_above}


def main(sizes: tuple[int, ...] = SIZES) -> dict[str, dict[str, dict[str, float]]]:
    """Print one table per size."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for rows in sizes:
        names = PEERS if rows <= 8192 else PEERS[:2]
        best: dict[str, dict[str, float]] = {}
        for _ in range(ROUNDS if rows <= 8192 else 1):
            for name in names:
                out = subprocess.run(
                    [sys.executable, "-m", "benchmarks.ntxent", "--one", name, str(rows)],
                    capture_output=True,
                    text=True,
                )
                if out.returncode:
                    print(f"{name} at {rows} rows failed: {out.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                    continue
                one = json.loads(out.stdout.splitlines()[-1])
                if name not in best or one["seconds"] < best[name]["seconds"]:
                    best[name] = {**one, "bytes": max(one["bytes"], best.get(name, one)["bytes"])}
        ours, limit = best["nearfar"]["seconds"], best["limit"]["seconds"]
        print(f"\nNT-Xent, forward + backward, {rows} rows x {WIDTH}, float32")
        print(f"{'':26}{'ms':>10}{'peak MiB':>11}{'nearfar/this':>14}{'this/limit':>12}")
        for name, one in best.items():
            print(
                f"{name:<26}{one['seconds'] * 1e3:>10.1f}{one['bytes'] / 2**20:>11.0f}"
                f"{ours / one['seconds']:>14.2f}{one['seconds'] / limit:>12.2f}"
            )
        found[str(rows)] = best
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main(tuple(int(n) for n in sys.argv[1:]) or SIZES)
