"""SimCLR by one process and by two that share every batch: images per second, efficiency, memory and loss curves.

Run: python -m benchmarks.devices [--steps 60] [--batch-size 256] [--threads 2] [--strategy gathered] [--markdown]
The bundled pictures of 28 pixels, encoder `small`, the whole training loop. Processes have the same threads together as
the one, or one thread each. Efficiency is the rate against that of one process, per process where each has one thread
(weak in threads: 1 is twice the rate) and as it is where they share the same threads (1 is the same rate).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from nearfar import methods, modalities
from nearfar.comparing.worker import peak_mib
from nearfar.contrast import Strategy
from nearfar.data import bundled
from nearfar.data.sampling import EpochSampler
from nearfar.training import Trainer, TrainingSettings
from nearfar.training.launching import launch
from nearfar.training.metrics import read_metrics
from nearfar.training.team import Team

LOG_EVERY = 10  # steps; what the log says takes exchanges of its own


def measure(out: Path, steps: int, batch_size: int, threads: int, strategy: str) -> None:
    """Train in whatever team there is, and write down how it went."""
    team, images = Team.here(), modalities.find("images")
    torch.set_num_threads(threads)
    source, _ = images.read_pair(bundled.path("fashion"), images.Options(), None, None, False)
    facts = source.describe()
    torch.manual_seed(0)
    kind = methods.find("simclr")
    method = kind(images.encoder("small", facts)[1], kind.Options())
    if not team.alone:
        method.spread(Strategy(strategy))
    settings = TrainingSettings(steps=steps, batch_size=batch_size, log_every=LOG_EVERY, device="cpu")
    views, sampler = images.views(facts, 2, images.Options()), EpochSampler(len(source), batch_size, 0)
    before = peak_mib()
    result = Trainer(method, source, views, sampler, settings, out, progress=False, team=team).run(resume=True)
    record = {"rate": result.items_per_second, "before": before, "peak": peak_mib()}
    out.with_name(f"{out.name}-{team.rank}.json").write_text(json.dumps(record))


def main() -> None:
    """Measure one after the other, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of all processes together")
    parser.add_argument("--strategy", default="gathered", choices=["ring", "gathered"])
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    bar = "|" if chosen.markdown else ""
    heads = (
        "processes",
        "threads each",
        "images/s",
        "efficiency",
        "peak MiB of each",
        "of it by training",
        "loss off by",
    )
    print(bar + bar.join(f" {head:>17} " for head in heads) + bar)
    if chosen.markdown:
        print("|---" * len(heads) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for total in (chosen.threads, None):
            rates: list[float] = []
            curves: list[list[float]] = []
            for world in (1, 2):
                threads = 1 if total is None else max(1, total // world)
                out = Path(folder, f"{total}-{world}")
                job = {"out": out, "steps": chosen.steps, "batch_size": chosen.batch_size, "threads": threads}
                launch("benchmarks.devices:measure", {**job, "strategy": chosen.strategy}, world)
                told = [json.loads(Path(folder, f"{out.name}-{rank}.json").read_text()) for rank in range(world)]
                rates.append(told[0]["rate"])
                curves.append([line["loss"] for line in read_metrics(out / "metrics.jsonl")])
                share = rates[-1] / rates[0] / (world if total is None else 1)
                off = max(abs(a - b) for a, b in zip(curves[0], curves[-1], strict=True))
                cells = (
                    world,
                    threads,
                    f"{rates[-1]:,.0f}",
                    f"{share:.2f}",
                    ", ".join(f"{one['peak']:.0f}" for one in told),
                    ", ".join(f"{one['peak'] - one['before']:.0f}" for one in told),
                    f"{off:.1e}",
                )
                print(bar + bar.join(f" {cell:>17} " for cell in cells) + bar, flush=True)


if __name__ == "__main__":
    main()
