"""What a process of a team does in the tests: SimCLR on tiny rows, with uneven batches; and ways to fail."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_run import TinySource, noisy_views
from torch import Tensor, nn

from nearfar.contrast import Strategy
from nearfar.errors import DataError
from nearfar.methods import find
from nearfar.training import Trainer, TrainingSettings
from nearfar.training.team import Team

STEPS = 20


class UnevenSampler:
    """Batches of 11 rows, and the last of an epoch of 5."""

    batch_size, steps_per_epoch = 11, 6

    def state(self) -> dict[str, Any]:
        return {"uneven": True}

    def batch(self, step: int) -> np.ndarray:
        epoch, place = divmod(step, self.steps_per_epoch)
        return np.random.default_rng((5, epoch)).permutation(60)[place * 11 : (place + 1) * 11]


def encoder(dropout: float, norm: bool) -> nn.Module:
    """Without batch norm a row's projection is its own, and micro-batches change nothing."""
    first = nn.BatchNorm1d(16) if norm else nn.LayerNorm(16)
    net = nn.Sequential(nn.Linear(6, 16), first, nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 8))
    net.width = 8  # type: ignore[assignment]
    return net


def precise_views(rows: Tensor, generator: torch.Generator) -> list[Tensor]:
    """In float64, in which different orders of sums stay equal to many digits over a whole run."""
    return [view.double() for view in noisy_views(rows, generator)]


def trainer(out: Path, team: Team, dropout: float = 0.0, norm: bool = False, **settings: Any) -> Trainer:
    torch.manual_seed(0)
    kind = find("simclr")
    method = kind(encoder(dropout, norm), kind.Options(projection=4))
    method.head = nn.Linear(8, 4)
    method.double()
    if not team.alone:
        method.spread(Strategy("ring"))
    given = {"steps": STEPS, "batch_size": 11, "log_every": 1, "checkpoint_every": 4, "device": "cpu", "lr": 0.01}
    chosen = TrainingSettings(**{**given, **settings})
    return Trainer(method, TinySource(), precise_views, UnevenSampler(), chosen, out, progress=False, team=team)


def train(
    out: Path,
    dropout: float = 0.0,
    norm: bool = False,
    kill: tuple[int, int] | None = None,
    fail: tuple[int, int] | None = None,
    stop: tuple[int, int] | None = None,
    **settings: Any,
) -> None:
    """Train in whatever team there is; in the process and at the step that are named something happens."""
    team = Team.here()
    made = trainer(out, team, dropout, norm, **settings)
    after = made.method.after_step

    def after_step(step: int, total: int) -> None:
        after(step, total)
        here = (team.rank, step + 1)
        if here == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if here == fail:
            raise DataError("row 7 is broken")
        if here == stop:
            signal.raise_signal(signal.SIGTERM)

    made.method.after_step = after_step  # type: ignore[method-assign]
    made.run(resume=True)


def crash(rank: int) -> None:
    """One process fails by a mistake in the code, while the other waits for it."""
    if Team.here().rank == rank:
        raise ZeroDivisionError("by hand")
    Team.here().wait()


def sleep(beside: str) -> None:
    """Say who this is, and wait to be ended."""
    Path(beside, f"{os.getpid()}.pid").touch()
    time.sleep(120)
