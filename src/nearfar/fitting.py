"""From the configuration of a run to its trainer, in this process, in those of torchrun, or in processes of its own."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .alternating import Alternation, Turns
from .contrast import Strategy
from .data.source import Source
from .data.split import apart_by_id
from .errors import ConfigError, DataError
from .methods import AROUND, Mixed, catalogue, innermost
from .methods.ar2 import AR2
from .methods.method import Method
from .methods.pnda import PNDA
from .mining.settings import MiningSettings
from .modalities import Modality, Views
from .renewing import Renewal, planned
from .replacing import Replacing
from .teaching import Taught
from .training import Interrupted, Trainer, TrainingSettings
from .training.checkpoint import write_whole
from .training.launching import launch
from .training.protocols import Sampler, Watch
from .training.team import Team, check_devices, joined

if TYPE_CHECKING:
    from .run import Run

SPREAD = "gathered"  # how rows are compared over processes; see docs/devices.md
TURNED = "turned.csv"  # in the folder of a run: what `pnda` found of each picture


def team_for(devices: int | None) -> AbstractContextManager[Team]:
    """The processes that this one works with: those it was started with, or none where one device is asked for."""
    return nullcontext(Team()) if devices == 1 else joined()


def parts_of(source: Source, training: TrainingSettings) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pairs to learn from, and rows that `held_out` keeps for the end.

    Raises:
        ConfigError: data that are no pairs. DataError: pairs that all belong together.
    """
    if len(source.parts()) < 2:
        raise ConfigError(f"held_out keeps pairs out of training, and these {source.kind} are no pairs; leave it out")
    return apart_by_id(source.ids, training.held_out, training.seed)


def check_labels(kind: type[Method], source: Source) -> None:
    """Refuse data without the labels that a method learns from."""
    if kind.supervised and (source.labels is None or len(np.unique(source.labels[source.labels >= 0])) < 2):
        raise DataError(
            f"{kind.name} learns from labels of two or more classes and these data have "
            f"{'none' if source.labels is None else 'one class'}; use simclr, class folders, or --label-column"
        )


def check_views(kind: type[Method], modality: Modality, views: Views) -> None:
    """Refuse views without what a method asks of them, or with what it has no use for."""
    if "far" in getattr(views, "roles", ()) and not kind.takes_far:
        raise ConfigError(
            f"{kind.name} has no use for what these data give as far from their items; use the method pairs, or leave "
            "those columns out"
        )
    if getattr(views, "weighed", False) and not kind.weighs:
        able = [name for name, method in catalogue().items() if method.weighs]
        raise ConfigError(
            f"{kind.name} counts all items alike; leave out generated_weight, or take one of {', '.join(able)}"
        )
    lacking = [asked for asked in kind.asks if not hasattr(views, asked)]
    if lacking:
        raise ConfigError(
            f"{kind.name} asks for views {' and '.join(lacking)}, which those of {modality.name} do not offer; see "
            "nearfar methods --grid for what runs on what"
        )


def views_for(method: Method, modality: Modality, facts: dict[str, Any], options: Any) -> Views:
    """The views that a method learns from, where nothing is mined for it while it is trained.

    Raises:
        ConfigError: these data have no such views.
    """
    views: Any = modality.views(facts, method.options.views, options, method.encoder)
    if isinstance(method, Mixed) and not getattr(views, "mixable", False):
        raise ConfigError(f"mixing is for pictures, and these data are {modality.name}; leave it out")
    if "joint" in method.asks and method.name != AR2.name:
        views = views.joint()
        if "far" not in views.roles:
            raise ConfigError(
                f"{method.name} learns from given negatives, and these pairs have none; nearfar mine --training FILE "
                "writes them"
            )
    made: Views = views
    return made


def trainer_of(
    run: Run,
    source: Source,
    team: Team,
    progress: bool,
    watch: Callable[[Run, Method], Watch] | None = None,
) -> Trainer:
    """What trains a run.

    Raises:
        ConfigError: its settings are impossible, alone or together.
    """
    training = TrainingSettings(**run.config["training"])
    method = run.fresh_method()
    rows = source
    if method.supervised:
        assert source.labels is not None
        rows = source.select(np.flatnonzero(source.labels >= 0))
    mining = MiningSettings(**run.config.get("mining", {}))
    if mining.batches == "random":
        sampler: Sampler = method.sampler(rows, training.batch_size, training.seed)
    else:
        sampler = planned(run, method, rows, mining)
    renewal: Renewal | None = None
    if run.config["method"] == AR2.name:
        renewal = Alternation(run, method, rows, mining, sampler)
    elif mining.mines:
        renewal = (Renewal if mining.refresh else Replacing)(run, method, rows, mining)
    devices = training.devices or 1
    if devices > 1:
        here = (
            devices if team.alone else int(os.environ.get("LOCAL_WORLD_SIZE", devices))
        )  # torchrun's, of this machine
        check_devices(here, training.resolve_device())
        if devices > sampler.batch_size:
            raise ConfigError(
                f"devices = {devices}, but a batch has {sampler.batch_size} rows, and each device takes one at least"
            )
        if team.alone and watch is not None:
            raise ConfigError(f"a watch looks at the method in this process, and devices = {devices} trains in others")
        method.spread(Strategy(SPREAD))
    facts = run.config["source"] if renewal is None else renewal.source.facts()
    if "joint" in method.asks and renewal is not None and not isinstance(renewal, Alternation):
        raise ConfigError(f"{method.name} judges pairs and finds none; mine for it: nearfar mine --training FILE")
    views: Any = views_for(method, run.modality, facts, run.options)
    if isinstance(renewal, Alternation):
        views = renewal.turns = Turns(views)
    identity = {k: run.config[k] for k in ("modality", "method", "method_options", "encoder", "shape")}
    identity |= {k: run.config[k] for k in ("start", *AROUND, "teacher") if k in run.config}
    if mining.given():
        identity["mining"] = mining.given()
    looking: Watch | None = renewal.watch() if isinstance(renewal, Alternation) else None
    if watch is not None:
        looking = watch(run, method)
    learned = rows if renewal is None else renewal.source
    taught = Taught(run, source) if "teacher" in run.config else None
    return Trainer(
        method, learned, views, sampler, training, run.path, identity, progress, looking, team, renewal, taught
    )


def train(run: Run, trainer: Trainer, source: Source, team: Team, resume: bool) -> None:
    """Train a run, whose configuration is written, to the end."""
    devices = trainer.settings.devices or 1
    if devices > 1 and team.alone:
        job = {"out": run.path, "data": source, "progress": trainer.progress}
        launch("nearfar.run:resume", job, devices, trainer.settings.threads)
    else:
        try:
            trainer.run(resume=resume or not team.alone)  # of several, the first may be a checkpoint ahead
        except Interrupted as stop:
            stop.args = (f"{stop}: nearfar fit --resume {run.path}",)
            raise
        method = innermost(trainer.method)
        if isinstance(method, PNDA) and method.judge is not None and team.first:
            _write_turned(run.path / TURNED, method, source)
    run.__dict__.pop("method", None)


def _write_turned(path: Path, method: PNDA, source: Source) -> None:
    """A line for each row: its name, the entropy of the classifier of turns, and whether its turned copies are near."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["name", "entropy", "copies"])
    entropy, near = (found.cpu()[torch.as_tensor(source.ids)].tolist() for found in method.chosen())
    for name, value, alike in zip(source.names, entropy, near, strict=True):
        unseen = math.isnan(value)
        lines.writerow([name, "" if unseen else f"{value:.6f}", "" if unseen else "near" if alike else "far"])
    write_whole(path, text.getvalue().encode())
