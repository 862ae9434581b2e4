"""Every objective that a peer has, forward and backward: time and peak memory of both, and nearfar beside its limit.

float32, width 128, one process each. "limit" is the matrix products of nearfar's own tiles alone: the scores in the
forward pass, and again in the backward pass with the products that carry gradients; half of them where anchors are the
candidates. Rows have labels, four to a class, where labels count; proxies are 1,000 classes. What a peer asks for
beyond the memory limit, or takes longer than the time limit for, is said in place of its figures.

    python -m benchmarks.objectives                       all, at 8192 rows
    python -m benchmarks.objectives --rows 2048 NTXent    one, at another size
    python -m benchmarks.objectives --growth              how nearfar's time and memory grow from 8,192 to 65,536 rows
    python -m benchmarks.objectives --cpu NTXent          CPU time of one thread, where others use the machine too
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.ntxent import peak, products, reset
from benchmarks.peers import PEERS, Peer

WIDTH, CLASSES, PER_CLASS = 128, 1000, 4
LIMIT_BYTES, LIMIT_SECONDS = 20 << 30, 150
QUICK = 0.02  # seconds of a step, below which one process says little
MANY = 20  # steps, from which on their median is taken; of fewer the quickest
GROWTH = (8192, 16384, 32768, 65536)
Step = Callable[[], object]


def batch(kind: str, rows: int) -> dict[str, Any]:
    """What an objective of a kind is called with: tensors that want gradients, and the labels of the rows."""
    import torch

    torch.manual_seed(0)
    half = rows // 2
    if kind in ("cross", "pairs"):  # two towers of so many rows each
        return {"views": [torch.randn(rows, WIDTH).requires_grad_() for _ in range(2)]}
    if kind == "proxies":
        items, proxies = (torch.randn(n, WIDTH).requires_grad_() for n in (rows, CLASSES))
        return {"views": [items, proxies], "labels": torch.arange(rows) % CLASSES}
    if kind == "rows":  # as scores with prototypes must be: cosines
        return {"views": [torch.randn(half, WIDTH).tanh().requires_grad_() for _ in range(2)]}
    views = [torch.randn(half, WIDTH).requires_grad_() for _ in range(2)]
    if kind == "labels":
        return {
            "views": [torch.cat([v.detach() for v in views]).requires_grad_()],
            "labels": torch.arange(rows) // PER_CLASS,
        }
    return {"views": views}


def work(side: str, peer: Peer, rows: int) -> Step:
    """One forward and backward pass of one side."""
    import torch

    given = batch(peer.kind, rows)
    views = given["views"]
    if side == "limit":
        return limit(peer.kind, [v.detach() for v in views])
    call = peer.ours() if side == "nearfar" else peer.theirs()

    def step() -> None:
        for view in views:
            view.grad = None
        call(*views, **({"labels": given["labels"]} if "labels" in given else {})).backward()

    assert isinstance(views[0], torch.Tensor)
    return step


def limit(kind: str, views: list[Any]) -> Step:
    """The products alone."""
    import torch

    if kind == "moments":
        a, b = views
        grads = torch.empty(WIDTH, WIDTH), torch.empty_like(a)

        def moments() -> None:
            for _ in range(2):
                torch.mm(a.T, b, out=grads[0])
            for z in (a, b):
                torch.mm(z, grads[0], out=grads[1])

        return moments
    if kind == "rows":
        return lambda: None  # no products
    if kind in ("cross", "pairs", "proxies"):
        return lambda: products(*views)
    return lambda: products(torch.cat(views))


def measure(side: str, name: str, rows: int, cpu: bool = False) -> dict[str, float]:
    """Seconds and peak bytes above the inputs, in this process; CPU seconds of one thread if so wanted."""
    clock = time.process_time if cpu else time.perf_counter
    if cpu:
        import torch

        torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    peer = PEERS[name]
    work(side, peer, 64)()  # lazily made things of the library, thread pools, but nothing of this size
    step = work(side, peer, rows)
    before = reset()
    began = clock()
    step()
    first = clock() - began
    above = peak() - before
    times, budget = [first], clock() + max(1.0, 3 * first)
    while first < 20 and (len(times) < 3 or clock() < budget) and len(times) < 100:
        began = clock()
        step()
        times.append(clock() - began)
    return {"seconds": min(times) if len(times) < MANY else statistics.median(times), "bytes": above}


def run(side: str, name: str, rows: int, cpu: bool = False) -> dict[str, float] | str:
    """`measure` in a process of its own, or why there is nothing to measure."""
    command = [sys.executable, "-m", "benchmarks.objectives", "--one", side, name, "--rows", str(rows)]
    command += ["--cpu"] if cpu else []
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"over {LIMIT_SECONDS} s"
    if out.returncode == 0:
        found: dict[str, float] = json.loads(out.stdout.splitlines()[-1])
        return found
    last = (out.stderr.strip().splitlines() or ["killed"])[-1]
    if "memory" in last.lower() or "alloc" in last.lower() or out.returncode < 0:
        return f"over {LIMIT_BYTES >> 30} GiB"
    return last[:60]


def cells(name: str, rows: int, cpu: bool = False) -> list[str]:
    """The line of one objective."""
    peer = PEERS[name]
    sides = ("nearfar", "peer", "limit")
    found = [run(side, name, rows, cpu) for side in sides]
    if all(isinstance(one, dict) and one["seconds"] < QUICK for one in found):
        # Some milliseconds hang on where memory lies: the middle one of processes in turn.
        more = [[run(side, name, rows, cpu) for side in sides] for _ in range(4)]
        found = [sorted(of_side, key=_seconds)[2] for of_side in zip(found, *more, strict=True)]
    ours, theirs, alone = found
    if isinstance(ours, str) or isinstance(alone, str):
        return [name, peer.library, str(ours), "", "", str(theirs), "", "", ""]
    share = "" if peer.kind == "rows" else f"{ours['seconds'] / alone['seconds']:.2f}"
    line = [name, peer.library, f"{ours['seconds'] * 1e3:,.1f}", f"{ours['bytes'] / 2**20:,.0f}", share]
    if isinstance(theirs, str):
        return [*line, theirs, "", "", ""]
    times, memory = theirs["seconds"] / ours["seconds"], theirs["bytes"] / max(ours["bytes"], 1 << 20)
    return [
        *line,
        f"{theirs['seconds'] * 1e3:,.1f}",
        f"{theirs['bytes'] / 2**20:,.0f}",
        f"{times:.1f}",
        f"{memory:.1f}",
    ]


def _seconds(found: dict[str, float] | str) -> float:
    return math.inf if isinstance(found, str) else found["seconds"]


HEADS = ["objective", "peer", "ms", "MiB", "of limit", "peer ms", "peer MiB", "times", "memory"]
WIDTHS = [20, 24, 8, 7, 9, 14, 10, 7, 8]


def line(parts: list[str], markdown: bool) -> str:
    """A line of the table."""
    if markdown:
        return "| " + " | ".join(parts) + " |"
    return " ".join(p.ljust(w) if k < 2 else p.rjust(w) for k, (p, w) in enumerate(zip(parts, WIDTHS, strict=True)))


def growth(names: list[str], markdown: bool) -> None:
    """Fitted exponents of time and memory over the number of rows."""
    heads = ["objective", *(f"{n:,} rows" for n in GROWTH), "time ~ rows^", "bytes ~ rows^"]
    print(("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|") if markdown else "  ".join(heads))
    for name in names:
        found = [run("nearfar", name, n) for n in GROWTH]
        kept = [(n, one) for n, one in zip(GROWTH, found, strict=True) if not isinstance(one, str)]
        shown = [
            one if isinstance(one, str) else f"{one['seconds']:.2f} s, {one['bytes'] / 2**20:,.0f} MiB" for one in found
        ]
        slopes = [f"{slope([(n, one[what]) for n, one in kept]):.2f}" for what in ("seconds", "bytes")]
        parts = [name, *shown, *slopes]
        print("| " + " | ".join(parts) + " |" if markdown else "  ".join(parts), flush=True)


def slope(points: list[tuple[int, float]]) -> float:
    """The exponent of a power law, by least squares of logarithms."""
    x, y = [math.log(n) for n, _ in points], [math.log(max(v, 1e-9)) for _, v in points]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.one, chosen.names[0], chosen.rows, chosen.cpu)))
        return
    if chosen.growth:
        growth(chosen.names or ["NTXent", "SupCon", "SigLIP", "TripletHard", "AlignUniform"], chosen.markdown)
        return
    print(f"forward + backward, {chosen.rows:,} rows x {WIDTH}, float32")
    print(line(HEADS, chosen.markdown))
    if chosen.markdown:
        print("|---" * len(HEADS) + "|")
    for name in chosen.names or PEERS:
        print(line(cells(name, chosen.rows, chosen.cpu), chosen.markdown), flush=True)


if __name__ == "__main__":
    main()
