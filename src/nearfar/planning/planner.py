"""`plan`: the bytes and seconds of a run before it is run, as a table with a recommendation."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import methods, modalities, starting, teaching
from ..contrast import Composition
from ..data import bundled
from ..data.source import ArraySource, Source
from ..errors import ConfigError
from ..fitting import check_labels, check_views, views_for
from ..methods.method import Method
from ..mining.settings import MiningSettings
from ..models import MomentumCopy, Queue
from ..run import recognised, training_source
from ..settings import Settings, sort_settings
from ..training import TrainingSettings
from ..training.engines import check_norms
from ..training.optimisers import optimiser, parameter_groups
from ..training.rng import preserved, seed_all
from ..training.stages import freeze
from .costs import GIVEN_BACK, Costs, Held, Job, Prediction, predict
from .measuring import Bench

GIB, MIB = 2**30, 2**20
TRIED = (16, 64, 256, 1024, 4096)  # micro-batches that a plan compares


@dataclass(frozen=True)
class Plan:
    """What a run will take. ``print(plan)`` shows it.

    Attributes:
        job: what is to be run; held, costs: what it was worked out from.
        prediction: bytes on every device and seconds of a step.
        memory: bytes that there are.
    """

    job: Job
    held: Held
    costs: Costs
    memory: float

    @property
    def prediction(self) -> Prediction:
        """Of the job as it was asked for."""
        return predict(self.job, self.held, self.costs)

    @property
    def peak(self) -> float:
        """Bytes at the highest point, on every device."""
        return self.prediction.peak

    @property
    def seconds(self) -> float:
        """Of the whole run, without evaluation and checkpoints."""
        return self.prediction.step * self.job.steps

    @property
    def fits(self) -> bool:
        """Whether there is enough memory."""
        return self.peak <= self.memory

    def with_micro_batch(self, rows: int | None) -> Plan:
        """The same run with another micro-batch."""
        return replace(self, job=replace(self.job, micro_batch=rows))

    @property
    def others(self) -> list[Plan]:
        """The same run with other micro-batches, and without."""
        sizes = [n for n in TRIED if n < self.job.local and n != self.job.micro_batch]
        found = [self.with_micro_batch(n) for n in sizes]
        return found if self.job.micro_batch is None else [*found, self.with_micro_batch(None)]

    @property
    def advice(self) -> str:
        """What to do, in a sentence."""
        if self.fits:
            return f"It fits: {_size(self.peak)} of {_size(self.memory)} that are there."
        fitting = [other for other in self.others if other.fits]
        why = f"It does not fit: {_size(self.peak)} of {_size(self.memory)}."
        if not fitting:
            least = min([self, *self.others], key=lambda other: other.peak)
            return (
                f"{why} The least is {_size(least.peak)}, with {_named(least.job.micro_batch)}. Take a smaller batch "
                "or encoder, or more devices."
            )
        # Of the same speed, as it is worked out, the largest: small ones leave a device idle.
        best = max(fitting, key=lambda other: (-other.prediction.step, other.job.micro_batch or other.job.local))
        return (
            f"{why} With {_named(best.job.micro_batch)} it needs {_size(best.peak)}, and "
            f"{_time(best.prediction.step)} a step."
        )

    def to_json(self) -> dict[str, Any]:
        """All figures as plain data."""
        made = self.prediction
        return {
            "batch_size": self.job.batch_size,
            "micro_batch": self.job.micro_batch,
            "devices": self.job.devices,
            "steps": self.job.steps,
            "standing_bytes": made.standing,
            "passing_bytes": made.passing,
            "peak_bytes": made.peak,
            "memory_bytes": self.memory,
            "step_seconds": made.step,
            "seconds_of_a_step": made.seconds,
            "run_seconds": self.seconds,
            "fits": self.fits,
        }

    def __str__(self) -> str:
        made, job = self.prediction, self.job
        spread = f" over {job.devices} devices" if job.devices > 1 else ""
        lines = [f"batch of {job.batch_size}{spread}, {_named(job.micro_batch)}, {job.steps} steps", ""]
        lines += [f"  {name:<18}{_size(value):>12}" for name, value in made.standing.items() if value]
        lines += [
            f"  {name:<18}{_size(value):>12}   in turn: the largest counts" for name, value in made.passing.items()
        ]
        lines += [f"  {'peak':<18}{_size(made.peak):>12}" + ("   on every device" if job.devices > 1 else ""), ""]
        lines += [f"  {name:<18}{_time(value):>12}" for name, value in made.seconds.items()]
        lines += [f"  {'a step':<18}{_time(made.step):>12}", f"  {'the run':<18}{_time(self.seconds):>12}", ""]
        for other in self.others:
            text = f"{_size(other.peak):>12}{_time(other.prediction.step):>12} a step"
            lines.append(f"  {_named(other.job.micro_batch):<18}{text}")
        return "\n".join([*lines, "", self.advice] if self.others else [*lines, self.advice])


def plan(
    data: str | Path | Source | Sequence[int],
    *,
    method: str = "simclr",
    encoder: str | None = None,
    modality: str | None = None,
    devices: int = 1,
    spread: str = "gathered",
    memory: float | None = None,
    **settings: Any,
) -> Plan:
    """Predict the memory and time of ``fit`` with the same arguments, from a few seconds of measurement.

    Weights, optimiser, copies, queues, views and projections are counted. What cannot be known is measured with the
    real method: encoder and head at two sizes, carried on by rows; the objective at two sizes, carried on by items and
    by pairs of items; the making of views; an update.

    Args:
        data: what `fit` takes, "bundled:glosses" too; or only the shape of images: (60000, 1, 28, 28) or
            "60000x1x28x28".
        method, encoder, modality, settings: as of `fit`.
        devices: processes that share the batch; spread: how their rows meet, "gathered" as in `fit`, or "ring". What
            they take is worked out, not measured, and the time of sending is left out.
        memory: bytes that there are on a device; those that are free now when None.

    Raises:
        ConfigError: an unknown setting or shape. DataError: the data cannot be read.

    On a CPU, memory is measured as what the process takes, so plan in a process that has done nothing large before.

    >>> made = nf.plan("60000x1x28x28", batch_size=8192, micro_batch=256, epochs=1)        # doctest: +SKIP
    >>> print(made)                                                                         # doctest: +SKIP
    """
    kind = methods.find(method)
    data = bundled.located(data)
    shape = _shape(data)
    if shape is not None:
        made = modalities.find(modality or "images")
    else:
        made = modalities.find(modality) if modality else recognised(data, settings)
    mined = MiningSettings.among(settings)
    if mined:
        raise ConfigError(
            f"{', '.join(sorted(mined))}: plan measures steps, and not what is mined or planned between them; leave "
            "that out, and add the time of embedding all texts for each mining (every `refresh` updates) or once (for "
            "`batches`)"
        )
    if spread not in ("gathered", "ring"):
        raise ConfigError(f"spread = {spread!r}: rows of several devices are gathered, or go round in a ring")
    if kind is methods.AR2:
        raise ConfigError("ar2 mines and takes turns while it learns, which plan does not measure; plan pairs instead")
    kinds: list[type[Settings]] = [TrainingSettings, kind.Options, made.Options, *methods.AROUND.values()]
    training, method_options, options, *beside = sort_settings(settings, *kinds, elsewhere=modalities.elsewhere(made))
    around = dict(zip(methods.AROUND, beside, strict=True))
    if around["mixing"].asked and devices > 1:
        raise ConfigError(
            "mixing mixes the rows of all devices on each of them, which plan does not work out; plan one"
        )
    source = _source(data, shape, made, options, training)
    source = around["domains"].learned(source)
    check_labels(kind, source)
    facts = source.describe()
    items = len(source) if shape is None else shape[0]
    method_options = method_options.for_batch(min(training.batch_size, items))
    method_options = method_options.settled(facts, facts.get("views") or getattr(options, "count", None))
    method_options, _ = teaching.settled(kind, method_options, source)
    device = training.resolve_device()
    with preserved():
        seed_all(training.seed)
        _, net, start = starting.build(made, encoder and starting.full_name(encoder), facts, options)
        check_views(kind, made, made.views(facts, method_options.views, options, net))
        if start is not None:
            usual = getattr(net, "fine_tuning", starting.FINE_TUNING)
            training = TrainingSettings(**{**usual, **TrainingSettings.among(settings)})
        asked = {name: said.model_dump() for name, said in around.items()}
        learner = methods.around(kind(net, method_options), asked).to(device).train()
        views = views_for(learner, made, facts, options)
        freeze(learner, training.freeze)
        check_norms(learner, training.micro_batch)
        groups = parameter_groups(learner, training.layer_decay)
        steps = optimiser(training.optimiser, groups, training.lr, training.weight_decay, training.momentum)
        if kind.supervised:
            source = source.select(np.flatnonzero(source.labels >= 0))
            items = len(source)
        batch_size, each = min(training.batch_size, items), max(1, items // training.batch_size)
        if shape is None:
            sampler = learner.sampler(source, training.batch_size, training.seed)
            batch_size, each = sampler.batch_size, sampler.steps_per_epoch
        if devices < 1 or devices > batch_size:
            raise ConfigError(f"devices = {devices}, but a batch of {batch_size} has rows for 1 to {batch_size}")
        bench = Bench(learner, source, views, steps, device, training.resolve_precision(device))
        local = -(-batch_size // devices)
        costs = bench.costs(min(training.micro_batch or local, local), local)
        held = held_by(learner, steps)
        costs = replace(costs, process=max(0, costs.process - held.saved))
    job = Job(
        items=items,
        batch_size=batch_size,
        micro_batch=training.micro_batch,
        row=bench.row_bytes(),
        views=[view.numel() * view.element_size() for view in bench.views],
        projection=bench.projection_bytes(),
        steps=training.total_steps(each),
        devices=devices,
        spread=spread,
        symmetric=isinstance(learner.objective, Composition) and learner.objective.layout == "joint",
        on_cpu=device.type == "cpu",
        prepared=sum(view.numel() * view.element_size() for view in bench.samples) if bench.prepares else 0,
    )
    return Plan(job, held, costs, float(memory) if memory is not None else _free(device))


def held_by(method: Method, steps: torch.optim.Optimizer) -> Held:
    """Bytes of weights with their buffers, gradients, what the optimiser keeps, moving copies and queues."""
    copies = _own(part for part in method.modules() if isinstance(part, MomentumCopy))
    queues = _own(part for part in method.modules() if isinstance(part, Queue))
    every = _own([method])
    apart = copies.keys() | queues.keys()
    kept = [value for state in steps.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    saved = [*every.values(), *(t.numel() * t.element_size() for t in kept)]
    return Held(
        weights=sum(size for key, size in every.items() if key not in apart),
        gradients=sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad),
        optimiser=sum(t.numel() * t.element_size() for t in kept),
        copies=sum(copies.values()),
        queues=sum(queues.values()),
        large=sum(size for size in saved if size >= GIVEN_BACK),
    )


def _own(modules: Any) -> dict[int, int]:
    """Bytes of parameters and buffers, each once."""
    found: dict[int, int] = {}
    for module in modules:
        assert isinstance(module, nn.Module)
        for tensor in (*module.parameters(), *module.buffers()):
            found[id(tensor)] = tensor.numel() * tensor.element_size()
    return found


def _shape(data: Any) -> list[int] | None:
    """The shape of data of which nothing else is there: N x C x H x W."""
    if isinstance(data, str):
        if not re.fullmatch(r"\d+(x\d+)+", data) or Path(data).exists():
            return None
        data = data.split("x")
    elif isinstance(data, Path | Source):
        return None
    shape = [int(side) for side in data]
    if len(shape) < 2 or min(shape) < 1:
        raise ConfigError(f"a shape is the number of items and that of a row, such as 60000x1x28x28, not {shape}")
    return shape


def _source(data: Any, shape: list[int] | None, modality: Any, options: Any, training: TrainingSettings) -> Source:
    """What is learned from; noise in the shape of the data where nothing else is there."""
    if shape is None:
        return training_source(data, modality, options, None, False, training)
    if modality.name != "images" or len(shape) != 4:
        raise ConfigError(
            f"{'x'.join(map(str, shape))} is not items x channels x height x width of images, the only data that a "
            "shape describes; give the data themselves"
        )
    if options.generated:
        raise ConfigError("generated pictures belong to pictures that are there; give the data themselves")
    noise = np.random.default_rng(0).integers(0, 256, (min(shape[0], 64), *shape[1:]), np.uint8)
    return ArraySource("images", noise)


def _free(device: torch.device) -> float:
    """Bytes that this process could have."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_allocated(device))
    try:
        with open("/proc/meminfo") as file:
            free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
        with open("/proc/self/statm") as file:
            return float(free + int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _named(micro_batch: int | None) -> str:
    return "no micro-batches" if micro_batch is None else f"micro-batch {micro_batch}"


def _size(count: float) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"


def _time(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
