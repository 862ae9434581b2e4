"""A whole training run in seconds, with every kind of memory: batch norm, dropout, a moving copy, a queue.

Also a program, so that a test can kill it: ``python tiny_run.py OUT [--kill-after N] [--where after_step|checkpoint]``.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.data.batch import Batch
from nearfar.training import Trainer, TrainingSettings


@dataclass
class TinyContrast:
    loss: Tensor
    terms: dict[str, Any] = field(default_factory=dict)
    chance: float | None = None


class TinyMethod(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 8))
        self.momentum = copy.deepcopy(self.encoder).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(-1.0))
        self.register_buffer("queue", F.normalize(torch.randn(20, 8), dim=1))
        self.register_buffer("pointer", torch.tensor(0))
        self.calls: list[int] = []

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            key = self.momentum(rows)
        return {"projection": self.encoder(rows), "key": key}

    def contrast(self, projections: list[dict[str, Tensor]], batch: Batch) -> TinyContrast:
        query, key = F.normalize(projections[0]["projection"], dim=1), F.normalize(projections[1]["key"], dim=1)
        logits = torch.cat([query @ key.T, query @ self.queue.T], 1) / self.log_temperature.exp()
        loss = F.cross_entropy(logits, torch.arange(len(query), device=query.device))
        self.key = key.detach()
        return TinyContrast(loss, {"temperature": self.log_temperature.exp()}, float(np.log(logits.shape[1])))

    def after_step(self, step: int, total_steps: int) -> None:
        self.calls.append(step)
        with torch.no_grad():
            for slow, fast in zip(self.momentum.parameters(), self.encoder.parameters(), strict=True):
                slow.lerp_(fast, 0.05)
            places = (self.pointer + torch.arange(len(self.key))) % len(self.queue)
            self.queue[places] = self.key
            self.pointer.copy_((self.pointer + len(self.key)) % len(self.queue))


class TinySource:
    def __init__(self, count: int = 60, seed: int = 1) -> None:
        self.data = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
        self.ids = np.arange(count, dtype=np.int64)
        self.labels: np.ndarray | None = self.ids % 3

    def rows(self, index: np.ndarray) -> Tensor:
        return self.data[torch.as_tensor(index)]

    def fingerprint(self) -> str:
        return hashlib.sha256(self.data.numpy().tobytes()).hexdigest()


class TinySampler:
    def __init__(self, count: int = 60, batch_size: int = 12) -> None:
        self.count, self.batch_size = count, batch_size
        self.steps_per_epoch = count // batch_size

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def batch(self, step: int) -> np.ndarray:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((5, epoch)).permutation(self.count)
        return order[place * self.batch_size : (place + 1) * self.batch_size]


def noisy_views(rows: Tensor, generator: torch.Generator) -> list[Tensor]:
    return [rows + 0.1 * torch.randn(rows.shape, generator=generator) for _ in range(2)]


def tiny_trainer(out: Path, method: nn.Module | None = None, source: Any = None, **settings: Any) -> Trainer:
    given = {"steps": 40, "batch_size": 12, "checkpoint_every": 4, "log_every": 3, "threads": 1, "lr": 0.01}
    given |= {"device": "cpu"} | settings
    return Trainer(
        method or TinyMethod(),
        source or TinySource(),
        noisy_views,
        TinySampler(batch_size=given["batch_size"]),
        TrainingSettings(**given),
        out,
        identity={"method": "tiny"},
        progress=False,
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-after", type=int)
    parser.add_argument("--where", default="after_step")
    given = parser.parse_args()
    trainer = tiny_trainer(given.out)
    if given.kill_after is not None and given.where == "after_step":
        after = trainer.method.after_step

        def dying(step: int, total: int) -> None:
            after(step, total)
            if step + 1 == given.kill_after:
                die()

        trainer.method.after_step = dying  # type: ignore[method-assign]
    if given.kill_after is not None and given.where == "checkpoint":
        from nearfar.training import checkpoint

        write = checkpoint.write_whole

        def half(path: Path, content: bytes) -> None:
            if path.name == f"step-{given.kill_after:08d}.json":  # the tensors are there, the JSON file is not
                die()
            write(path, content)

        checkpoint.write_whole = half
    trainer.run(resume=True)


if __name__ == "__main__":
    main()
