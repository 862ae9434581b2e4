"""The training loop: any method, any modality, any objective; it can be killed at any step and resumed."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, NearfarError
from nearfar.training import state as states
from nearfar.training.checkpoint import checkpoint_paths, load_checkpoint, save_checkpoint, write_whole
from nearfar.training.engines import Order, check_norms, engine, norms_explained, whole
from nearfar.training.feed import Feed, Prepared
from nearfar.training.margins import observe_margin
from nearfar.training.metrics import NAME, MetricsLog, TensorBoardLog, read_metrics
from nearfar.training.monitors import observe, verdicts, watched_part
from nearfar.training.optimisers import optimiser, parameter_groups
from nearfar.training.protocols import Contrast, Method, Projection, Renewal, Sampler, Source, Taught, Views, Watch
from nearfar.training.rng import preserved, seed_all, step_seed
from nearfar.training.schedules import learning_rate
from nearfar.training.settings import TrainingSettings
from nearfar.training.stages import freeze
from nearfar.training.stopping import Interrupted, StopSignal
from nearfar.training.team import Team


class Diverged(NearfarError):
    """The loss or the gradient of step ``step`` is not finite; the weights are those before that step."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class TrainResult:
    """What a finished run came to; speed and waiting are those since the start or the last resume."""

    out: Path
    steps: int
    loss: float | None
    seconds: float
    items_per_second: float
    wait_share: float
    checkpoint: Path
    verdicts: dict[str, str]


@dataclass
class _Window:
    """Items, and seconds spent waiting for data, since some moment."""

    began: float = field(default_factory=time.perf_counter)
    items: int = 0
    waited: float = 0.0

    def add(self, items: int, waited: float) -> None:
        self.items += items
        self.waited += waited

    def rates(self) -> tuple[float, float]:
        seconds = max(time.perf_counter() - self.began, 1e-9)
        return self.items / seconds, self.waited / seconds


@dataclass(frozen=True)
class _Step:
    """What one update leaves behind for the log."""

    contrast: Contrast
    loss: float
    projections: list[Projection]
    """Of this process's share of the batch."""
    grad_norm: float
    lr: float


class Trainer:
    """Trains ``method`` on views of ``source`` in the folder ``out``.

    Args:
        method: a module with ``project``, ``contrast`` and ``after_step`` (see `nearfar.training.protocols.Method`).
        source: the rows; ``views``: makes random views of some of them; ``sampler``: which rows a step sees.
        settings: see `TrainingSettings`.
        out: gets ``metrics.jsonl``, ``checkpoints/`` and, on request, ``tensorboard/``.
        identity: whatever else decides the result, as JSON (the configuration of the method, say). A run can only be
            resumed with an equal one; ``sampler.state()`` and ``views.config()`` are added to it.
        progress: show a progress bar; None shows it on a terminal only.
        watch: looks at the method every so many steps (kNN accuracy, say); in the first process only.
        renewal: changes what rows hold before some updates (negatives that are mined again, say); its state is saved.
        taught: what a teacher makes of the rows, for methods that learn from one.
        team: the processes that share every batch, each with a trainer like this one and a method that compares rows
            over all of them (see `nearfar.contrast.ring`). Each takes its share of the rows; the first one writes.

    The state after step s is a function of the method given, the data, the settings and ``identity``: resuming after a
    kill gives the same bits on the same machine with the same number of threads and processes. The caller's global
    random generators are left as they were.
    """

    def __init__(
        self,
        method: nn.Module,
        source: Source,
        views: Views,
        sampler: Sampler,
        settings: TrainingSettings,
        out: Path | str,
        identity: dict[str, Any] | None = None,
        progress: bool | None = None,
        watch: Watch | None = None,
        team: Team | None = None,
        renewal: Renewal | None = None,
        taught: Taught | None = None,
    ) -> None:
        self.settings = settings
        self.team = team or Team()
        self.out = Path(out)
        self.checkpoints = self.out / "checkpoints"
        self.device = settings.resolve_device()
        self.precision = settings.resolve_precision(self.device)
        self.module = method.to(self.device)
        self.method = cast(Method, method)
        self.prepare: Callable[[Batch], Batch] = getattr(method, "prepare", lambda batch: batch)
        self.order: Order = getattr(method, "order", lambda rows: None)
        self.source = source
        self.feed = Feed(source, views, sampler, settings.seed, self.team, taught)
        self.sampler = sampler
        self.total_steps = settings.total_steps(sampler.steps_per_epoch)
        self.warmup = round(settings.warmup * self.total_steps)
        self.progress = progress
        self.watch = watch
        self.renewal = renewal
        self._renewed: dict[str, float] | None = None  # what it found, until it is logged
        self.frozen = freeze(method, settings.freeze)
        check_norms(method, settings.micro_batch)
        self.engine = engine(settings.engine, method, self.team, self.precision)
        groups = parameter_groups(method, settings.layer_decay)
        self.optimiser = optimiser(settings.optimiser, groups, settings.lr, settings.weight_decay, settings.momentum)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        # Through JSON, so that what is compared on resume has the same types as what a checkpoint gives back.
        self.identity: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "settings": settings.identity(),
                    "total_steps": self.total_steps,
                    "sampler": sampler.state(),
                    "views": views.config() if hasattr(views, "config") else None,
                    **(identity or {}),
                }
            )
        )
        self._seconds_before = 0.0
        self._history: list[dict[str, Any]] = []

    def run(self, resume: bool = False) -> TrainResult:
        """Train to the end, from the newest whole checkpoint when ``resume``.

        Raises ConfigError when ``out`` holds a run and ``resume`` is off, or a run of other data or settings; Diverged
        when a loss or gradient is not finite; Interrupted after Ctrl-C or SIGTERM; CheckpointError when a checkpoint
        cannot be written or none can be read.
        """
        with (
            preserved(),
            _threads(self._own_threads()),
            StopSignal(aloud=self.team.first) as stop,
            ExitStack() as stack,
        ):
            self.data = self.source.fingerprint()
            start, metrics_length = self._begin(resume)
            metrics = None
            if self.team.first:
                metrics = stack.enter_context(closing(MetricsLog(self.out / NAME, metrics_length)))
            self.team.wait()
            self._history = read_metrics(self.out / NAME)
            if start == 0:
                # Before the first step: a disk that cannot be written shows now, and not after an hour.
                self._save(0, metrics)
            return self._train(start, metrics, stop)

    def _own_threads(self) -> int | None:
        """This process's part of the threads that are asked for."""
        return self.settings.threads and max(1, self.settings.threads // self.team.world)

    def _begin(self, resume: bool) -> tuple[int, int]:
        """Fresh or restored state; returns the step to go on from and the length of the metrics file."""
        self.out.mkdir(parents=True, exist_ok=True)
        if not resume and checkpoint_paths(self.checkpoints):
            raise ConfigError(f"{self.out} already holds a run: resume it, or choose another folder")
        checkpoint = load_checkpoint(self.checkpoints) if resume else None
        seed_all(self.settings.seed)
        self._seconds_before = 0.0
        step = 0 if checkpoint is None else checkpoint.step
        if self.team.most(step, -step) != [step, -step]:
            raise ConfigError(f"the processes find different checkpoints in {self.out}; give them one folder")
        if checkpoint is None:
            return 0, 0
        state = checkpoint.state
        states.check_same(self.out, state, self.identity, self.data)
        states.restore(state, self.module, self.optimiser, self.scaler)
        if self.renewal is not None:
            self.renewal.load_state(state["renewal"])
        self._seconds_before = state["seconds"]
        return checkpoint.step, state["metrics_bytes"]

    def _train(self, start: int, metrics: MetricsLog | None, stop: StopSignal) -> TrainResult:
        settings, total = self.settings, self.total_steps
        self._training_mode()
        self.began = saved_at = time.perf_counter()
        saved_step = start
        all_time, window = _Window(), _Window()
        board = None
        if settings.tensorboard and self.team.first:
            board = TensorBoardLog(self.out / "tensorboard", start)
        loss = self._history[-1].get("loss") if self._history else None
        batches = self._batches(start, total)
        with closing(batches), self._bar(start) as bar:
            for prepared, waited in batches:
                batch = prepared.batch.to(self.device, non_blocking=True)
                step = self._step(prepared, batch)
                done, loss = prepared.step + 1, step.loss
                all_time.add(len(prepared.index), waited)
                window.add(len(prepared.index), waited)
                bar.set_postfix(loss=f"{loss:.4g}", waiting=f"{all_time.rates()[1]:.0%}", refresh=False)
                bar.update(len(prepared.index))
                look = self.watch is not None and (done % self.watch.every == 0 or done == total)
                if look or self._renewed or done == 1 or done % settings.log_every == 0 or done == total:
                    watched = self._look(all_time, window) if look and self.team.first else None
                    self._log(done, step, batch, window, metrics, board, watched)
                    window = _Window()
                due = settings.checkpoint_every is not None and done % settings.checkpoint_every == 0
                late, signalled = self._agreed(time.perf_counter() - saved_at >= settings.checkpoint_seconds, stop)
                if due or late or signalled or done == total:
                    self._save(done, metrics)
                    saved_step, saved_at = done, time.perf_counter()
                if signalled and done < total:
                    raise Interrupted(done, signalled, self.out)
        if board is not None:
            board.close()
        speed, wait_share = all_time.rates()
        return TrainResult(
            out=self.out,
            steps=total,
            loss=loss,
            seconds=self._seconds(),
            items_per_second=speed,
            wait_share=wait_share,
            checkpoint=self.checkpoints / f"step-{saved_step:08d}.json",
            verdicts={kind: text for record in self._history for kind, text in record.get("verdicts", {}).items()},
        )

    def _batches(self, start: int, total: int) -> Generator[tuple[Prepared, float], None, None]:
        """All batches that are left; none is prepared before the rows are renewed that it is made of."""
        due = [] if self.renewal is None else [step for step in range(start, total) if self.renewal.due(step)]
        for first, last in pairwise(sorted({start, *due, total})):
            if self.renewal is not None and first in due:
                self._renewed = self.renewal(first)
                self._training_mode()
            with closing(self.feed.steps(first, last)) as batches:
                yield from batches

    def _agreed(self, late: bool, stop: StopSignal) -> tuple[bool, str | None]:
        """Whether it is time for a checkpoint, and which signal has come: in any process, for all in the same step."""
        requested = stop.requested
        number = signal.Signals[requested].value if requested else 0
        late_anywhere, number_anywhere = self.team.most(late, number)
        return bool(late_anywhere), signal.Signals(int(number_anywhere)).name if number_anywhere else None

    def _training_mode(self) -> None:
        """Training mode for all but what is frozen."""
        self.module.train()
        for part in self.frozen:
            part.eval()

    def _step(self, prepared: Prepared, batch: Batch) -> _Step:
        """One update of the weights; ``batch`` is that of ``prepared`` on the device."""
        settings, batch = self.settings, self.prepare(batch)
        contrasts: list[Contrast] = []

        def loss_of(projections: list[Projection]) -> Tensor:
            # All processes contrast the same batch, and draw the same numbers where a method draws any.
            seed_all(step_seed(settings.seed, prepared.step, 0))
            contrast = self.method.contrast(projections, batch)
            contrasts.append(contrast)
            self._check_finite("loss", contrast.loss.item(), prepared)
            return self.scaler.scale(contrast.loss)

        lr = learning_rate(prepared.step, self.total_steps, settings.lr, self.warmup, settings.schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)
        self.optimiser.zero_grad(set_to_none=True)
        micro_batch = self.team.micro_batch(len(prepared.index), settings.micro_batch)
        seed_all(step_seed(settings.seed, prepared.step, 1 + self.team.rank))
        with norms_explained(micro_batch):
            projections = self.engine.gradients(self._project, batch.views, loss_of, micro_batch, self.order)
        self.scaler.unscale_(self.optimiser)
        limit = math.inf if settings.clip_norm is None else settings.clip_norm
        grad_norm = whole(nn.utils.clip_grad_norm_(self.module.parameters(), limit)).item()
        if not self.scaler.is_enabled():  # the scaler expects an overflow now and then, and skips that update
            self._check_finite("gradient norm", grad_norm, prepared)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.method.after_step(prepared.step, self.total_steps)
        return _Step(contrasts[0], contrasts[0].loss.item(), projections, grad_norm, lr)

    def _look(self, *windows: _Window) -> dict[str, float]:
        """What the watch sees; the time it takes is taken out of all clocks."""
        assert self.watch is not None
        began = time.perf_counter()
        with preserved():
            watched = self.watch()
        self._training_mode()
        spent = time.perf_counter() - began
        self.began += spent
        for window in windows:
            window.began += spent
        return watched

    def _project(self, rows: Tensor) -> Projection:
        """Encoder and head in the precision of the run; the objective gets float32 or better."""
        half = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision if half else None, enabled=half):
            projection = self.method.project(rows)
        if isinstance(projection, dict):
            return {name: _widened(value) for name, value in projection.items()}
        return _widened(projection)

    def _check_finite(self, what: str, value: float, prepared: Prepared) -> None:
        if math.isfinite(value):
            return
        path = self.out / "diverged.json"
        record = {
            "step": prepared.step + 1,
            "what": what,
            "value": str(value),
            "index": prepared.index.tolist(),
            "ids": self.source.ids[prepared.index].tolist(),
        }
        if self.team.first:
            write_whole(path, json.dumps(record).encode())
        paths = checkpoint_paths(self.checkpoints)
        raise Diverged(
            f"the {what} of step {prepared.step + 1} is {value}; its rows are listed in {path}. The newest "
            f"checkpoint is {paths[-1].name if paths else 'none'}. Lower the learning rate, set clip_norm, raise the "
            "temperature, or look for rows that are not finite",
            prepared.step + 1,
        )

    def _log(
        self,
        done: int,
        step: _Step,
        batch: Batch,
        window: _Window,
        metrics: MetricsLog | None,
        board: TensorBoardLog | None,
        watched: dict[str, float] | None,
    ) -> None:
        contrast = step.contrast
        speed, wait_share = window.rates()
        histograms = done % (self.settings.log_every * self.settings.histogram_every) == 0 or done == self.total_steps
        record: dict[str, Any] = {
            "step": done,
            "epoch": done / self.sampler.steps_per_epoch,
            "loss": step.loss,
            "terms": {name: _number(value) for name, value in contrast.terms.items()},
            "lr": step.lr,
            "grad_norm": step.grad_norm,
            "items_per_second": speed,
            "wait_share": wait_share,
            "seconds": self._seconds(),
        }
        seen = [self.team.rows(watched_part(projection)) for projection in step.projections[:2]]
        record |= observe(seen, self.team.rows(batch.ids), histograms)
        margin = getattr(self.method, "watched_margin", None)
        if margin is not None and batch.labels is not None:
            record |= observe_margin(seen, self.team.rows(batch.labels), *margin)
        # what the objective itself says of its scores stands above the plain cosines
        for name in ("chance", "near_mean", "far_mean"):
            value = getattr(contrast, name, None)
            if value is not None:
                record[name] = _number(value)
        if watched is not None:
            record["watched"] = watched
        if self._renewed is not None:
            record["renewed"], self._renewed = self._renewed, None
        self._history.append(record)
        said = {kind for earlier in self._history for kind in earlier.get("verdicts", {})}
        new = {kind: text for kind, text in verdicts(self._history).items() if kind not in said}
        if new:
            record["verdicts"] = new
            for text in new.values() if self.team.first else ():
                tqdm.write(f"step {done}: {text}", file=sys.stderr)
        if metrics is not None:
            metrics.write(record)
        if board is not None:
            board.write(record)

    def _save(self, step: int, metrics: MetricsLog | None) -> None:
        tree = states.collect(self.module, self.optimiser, self.scaler)
        if metrics is None:
            return
        tree |= {
            "identity": self.identity,
            "data": self.data,
            "seconds": self._seconds() if step else 0.0,
            "metrics_bytes": metrics.sync(),
        }
        if self.renewal is not None:
            tree["renewal"] = self.renewal.state()
        save_checkpoint(self.checkpoints, step, tree)

    def _seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._seconds_before + time.perf_counter() - self.began

    def _bar(self, start: int) -> tqdm[Any]:
        size = self.sampler.batch_size
        disable = True if not self.team.first else None if self.progress is None else not self.progress
        total = self.total_steps * size
        return tqdm(total=total, initial=start * size, unit=" items", unit_scale=True, disable=disable, desc="training")


def _number(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
