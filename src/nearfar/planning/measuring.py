"""A few seconds of encoding, of scores and of views, at sizes that this machine does quickly."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from nearfar.data.batch import Batch
from nearfar.data.source import Source
from nearfar.methods.method import Method
from nearfar.methods.mixed import Mixed
from nearfar.models import Queue, contradicting
from nearfar.training.feed import Feed
from nearfar.training.trees import put_together, take_apart

from .costs import GIVEN_BACK, Costs, Curve, Encoding, Line

ROWS = 512  # most rows that are encoded at a time, and
MANY = 1024  # rows whose lengths stand for those of all,
ITEMS = 4096  # most items whose scores are computed
FAR_AWAY = 2**40  # ids that no item of a batch has
SECONDS = 1.5  # about the longest that one measurement may take


class Meter:
    """Bytes of memory in use: of a CUDA device by its allocator, else of this process as the system counts them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(self) -> int:
        """Forget the peak, and what was freed; returns the bytes in use now."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        with suppress(OSError, AttributeError):  # what the allocator keeps of earlier work is none of that to come
            ctypes.CDLL(None).malloc_trim(0)
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:  # not Linux: the peak so far stays the lowest that can be told
            pass
        return self.peak()

    def peak(self) -> int:
        """The most bytes in use since the start."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return torch.cuda.max_memory_allocated(self.device)
        try:
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
        except OSError:
            unit = 1 if os.uname().sysname == "Darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def seconds(self, work: Callable[[], object], repeats: int = 1) -> float:
        """The least time of some work; on a CPU, time of this thread, which other programs do not lengthen."""
        clock = time.perf_counter if self.device.type == "cuda" else time.thread_time
        times = []
        for _ in range(repeats):
            self._wait()
            began = clock()
            work()
            self._wait()
            times.append(clock() - began)
        return max(min(times), 1e-9)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Made(TorchDispatchMode):
    """Counts the bytes of all tensors made inside, while they live, whatever the device.

    >>> with Made() as made:
    ...     x = torch.zeros(100) + 1
    >>> made.most, made.alive
    (800, 400)
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at what it gives: an old tensor, a view of one, or a new one."""
        out = func(*args, **(kwargs or {}))
        old = {_key(tensor) for tensor in _tensors([args, kwargs])}
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if _key(tensor) not in old and storage not in self._known:
                self._known.add(storage)
                self.alive += storage.nbytes()
                self.most = max(self.most, self.alive)
                weakref.finalize(storage, self._gone, storage.nbytes())
        return out

    def _gone(self, size: int) -> None:
        self.alive -= size


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


class Few:
    """Rows of some data in a random order, always the same: step n holds the first n of them, over again if need be."""

    def __init__(self, items: int) -> None:
        self.order = np.random.default_rng(0).permutation(items)

    def batch(self, n: int) -> np.ndarray:
        """(n,) rows."""
        taken: np.ndarray = self.order[np.arange(n) % len(self.order)]
        return taken


class Bench:
    """One method on one device, with the data it learns from, to be measured.

    Args:
        method: as it is before the first step, perhaps with others around it; measuring changes it.
        source: the rows. views: makes views of them.
        optimiser: of the method's parameters. dtype: the precision of the run.
    """

    def __init__(
        self,
        method: Method,
        source: Source,
        views: Any,
        optimiser: torch.optim.Optimizer,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.method, self.source = method, source
        self.optimiser, self.device, self.dtype = optimiser, device, dtype
        self.few = Few(len(source))
        self.feed = Feed(source, views, self.few, 0)  # type: ignore[arg-type]
        self.meter = Meter(device)
        self.process = 0
        raw = self._raw(2)
        self.views = [view[:1] for view in raw.views]  # one row of every view,
        ready = method.prepare(raw)
        self.samples = [view[:1] for view in ready.views]  # and as the method prepares it
        # Whole numbers say how long a row is, so that no row can stand for all.
        listed = not all(view.is_floating_point() for view in ready.views)
        self.rows = self._raw(min(len(source), MANY)).views if listed else []
        self.prepares = ready is not raw
        self.weighed = ready.weights is not None
        self.roles = ready.roles
        self.shape: list[Any] = []  # what a row of every view is projected to

    def costs(self, rows: int, items: int) -> Costs:
        """All of them, for micro-batches of so many rows and batches of so many items."""
        self.step(8)  # makes what is made once
        for part in self.method.modules():
            if isinstance(part, Queue):  # as in all but the first steps of a run: full, of other items
                part.push(torch.randn_like(part.vectors), torch.arange(part.size, device=self.device) + FAR_AWAY)
        self.process = self.meter.start()
        known: dict[Any, Encoding] = {}
        kinds = [view if self.rows else sample.shape for view, sample in enumerate(self.samples)]
        for view, kind in enumerate(kinds):
            if kind not in known:
                known[kind] = self.encoding(view, rows)
        scores_bytes, scores_seconds = self.scores(items)
        preparing_bytes, preparing_seconds = self.preparing(items)
        count = min(256, items)
        return Costs(
            process=self.process,
            encoding=[known[kind] for kind in kinds],
            scores_bytes=scores_bytes,
            scores_seconds=scores_seconds,
            views_seconds=self.meter.seconds(lambda: self.feed.prepare(count), 3) / count,
            update_seconds=self.meter.seconds(self._update, 2),
            update_bytes=self._update(),
            fresh_seconds=self.fresh(),
            aside=(os.cpu_count() or 1) > 1,
            preparing_bytes=preparing_bytes,
            preparing_seconds=preparing_seconds,
        )

    def step(self, items: int) -> None:
        """A whole step of a few items."""
        batch = self.method.prepare(self._raw(items))
        made = [self.project(view) for view in batch.views]
        leaves: list[Tensor] = []
        self.shape = [take_apart(one, leaves) for one in made]
        self.leaves = [leaf.detach()[:1] for leaf in leaves]
        self.learned = [leaf.requires_grad for leaf in leaves]
        loss = self.method.contrast(made, batch).loss
        if loss.requires_grad:
            loss.backward()
        self.method.train()
        self._update()

    def project(self, rows: Tensor) -> Any:
        """Encoder and head in the precision of the run."""
        half = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype if half else None, enabled=half):
            return self.method.project(rows)

    def encoding(self, view: int, most: int) -> Encoding:
        """Rows of one view, at two sizes; of rows that are longer and shorter, a mean one counts 1."""
        lengths = self._lengths(view)
        few = min(8, most)
        each = self.meter.seconds(lambda: self._learn(view, few), 2) / few
        large = max(few, min(most, ROWS, int(SECONDS / 4 / each)))
        small = min(large, max(2, large // 4))  # one row is nothing to a batch norm
        peaks, learning, forward = [], [], []
        for n in (small, large):
            size = float(lengths[torch.arange(n) % len(lengths)].sum())
            start = self.meter.start()
            self._learn(view, n)
            peaks.append((size, float(self.meter.peak() - start)))
            learning.append((size, self.meter.seconds(lambda n=n: self._learn(view, n), 3)))  # type: ignore[misc]
            with torch.no_grad():
                rows = self._rows(view, n)
                forward.append((size, self.meter.seconds(lambda rows=rows: self.project(rows), 2)))  # type: ignore[misc]
        return Encoding(
            Line.through(*peaks),
            tuple(block * large / size for block in self._blocks(view, large)),
            Line.through(*learning),
            Line.through(*forward),
            measured=size,
            lengths=tuple(lengths.sort(descending=True).values.tolist()),
        )

    def _lengths(self, view: int) -> Tensor:
        """Of the rows of a view, in parts of their mean; 1 where all are alike."""
        lengths = self.method.order(self.rows[view]) if self.rows else None
        if lengths is None:
            return torch.ones(1)
        lengths = lengths.clamp(min=1).float().cpu()
        return lengths / lengths.mean()

    def fresh(self) -> float:
        """Seconds for each byte of a large block that the system has to give, beside one that is there."""
        if self.device.type == "cuda":
            return 0.0
        there = torch.ones(2 * GIVEN_BACK, dtype=torch.uint8)
        taken = self.meter.seconds(lambda: torch.empty_like(there).fill_(1), 3)
        return max(0.0, taken - self.meter.seconds(lambda: there.fill_(1), 3)) / there.nbytes

    def scores(self, most: int) -> tuple[Curve, Curve]:
        """Bytes and seconds of the objective on projections of items, at two sizes."""
        large = min(most, 256)
        self._judge(large)
        while large < min(most, ITEMS) and self.meter.seconds(lambda n=large: self._judge(n)) < SECONDS / 2:  # type: ignore[misc]
            large = min(2 * large, most, ITEMS)
        small = min(large, max(2, large // 2))
        bytes_, seconds = [], []
        for n in (small, large):
            with Made() as made:
                self._judge(n)
            bytes_.append((float(n), float(made.most)))
            seconds.append((float(n), self.meter.seconds(lambda n=n: self._judge(n), 2)))  # type: ignore[misc]
        return Curve.through(*bytes_), Curve.through(*seconds)

    def preparing(self, most: int) -> tuple[list[Curve], Curve]:
        """Bytes, in turn, and seconds of what a method makes of a batch before it projects anything."""
        if not self.prepares:
            return [], Curve(0, 0)
        bytes_, seconds = self._curves(self._prepares, most)
        if not (isinstance(self.method, Mixed) and self.method.biased is not None):
            return [bytes_], seconds
        # All rows meet, which is little beside the encoder in the batches that were measured, and much in large ones.
        meeting, longer = self._curves(self._chooses, most)
        return [bytes_, meeting], Curve(seconds.each, max(seconds.pair, longer.pair))

    def _curves(self, work_of: Callable[[int], Callable[[], object]], most: int) -> tuple[Curve, Curve]:
        """Bytes and seconds of some work on so many items, at two sizes."""
        large = min(most, 64)
        while large < min(most, ROWS) and self.meter.seconds(work_of(large)) < SECONDS / 4:
            large = min(2 * large, most, ROWS)
        bytes_, seconds = [], []
        for n in (min(large, max(2, large // 2)), large):
            work = work_of(n)
            with Made() as made:
                work()
            bytes_.append((float(n), float(made.most)))
            seconds.append((float(n), self.meter.seconds(work, 2)))
        return Curve.through(*bytes_), Curve.through(*seconds)

    def _chooses(self, n: int) -> Callable[[], object]:
        rows, labels = torch.randn(n, self.method.options.projection), torch.arange(n) % 10
        return lambda: contradicting(rows.to(self.device), labels.to(self.device), True)

    def projection_bytes(self) -> int:
        """Bytes of what all views of an item are projected to."""
        return sum(leaf.numel() * max(leaf.element_size(), 4) for leaf in self.leaves)

    def row_bytes(self) -> int:
        """Bytes of an item as it was read, with what was generated of it."""
        row = self.source.rows(self.few.batch(1))
        size = row.numel() * row.element_size() if isinstance(row, Tensor) else 0
        return 2 * size if hasattr(self.source, "material") else size

    def _learn(self, view: int, n: int) -> None:
        leaves: list[Tensor] = []
        take_apart(self.project(self._rows(view, n)), leaves)
        learned = [leaf for leaf in leaves if leaf.requires_grad]
        if learned:
            torch.autograd.backward(learned, [torch.ones_like(leaf) for leaf in learned])

    def _blocks(self, view: int, n: int) -> tuple[float, ...]:
        """Bytes per row of what a forward pass leaves for the backward pass, weights and rows not counted."""
        rows = self._rows(view, n)
        own = {_key(t) for t in (*self.method.parameters(), *self.method.buffers(), rows)}
        found: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            if _key(tensor) not in own:
                found[_key(tensor)] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            self.project(rows)
        return tuple(size / n for size in found.values())

    def _judge(self, n: int) -> None:
        """The objective forward and backward on random projections of n items."""
        made = [
            torch.randn(n, *leaf.shape[1:], device=self.device)
            if leaf.is_floating_point()
            else leaf.repeat_interleave(n, 0)
            for leaf in self.leaves
        ]
        for leaf, learned in zip(made, self.learned, strict=True):
            leaf.requires_grad_(learned)
        loss = self.method.contrast([put_together(form, made) for form in self.shape], self._batch(n)).loss
        if loss.requires_grad:
            loss.backward()

    def _update(self) -> int:
        """The optimiser and what follows it; returns the bytes that come and go."""
        for group in self.optimiser.param_groups:
            group["lr"] = 0.0
            for parameter in group["params"]:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        with Made() as made:
            self.optimiser.step()
        self.method.after_step(0, 10)
        self.optimiser.zero_grad(set_to_none=True)
        return made.most

    def _raw(self, n: int) -> Batch:
        """A batch of real items on the device, with all that the data say of them."""
        batch = self.feed.prepare(n).batch.to(self.device)
        batch.taught = self._taught(n)
        return batch

    def _prepares(self, n: int) -> Callable[[], object]:
        batch = self._raw(n)
        return lambda: self.method.prepare(batch)

    def _rows(self, view: int, n: int) -> Tensor:
        """Rows of noise in the shape of a view; of whole numbers, those of the data."""
        if self.rows:
            rows = self.rows[view]
            return rows[torch.arange(n) % len(rows)]
        return torch.randn(n, *self.samples[view].shape[1:], device=self.device)

    def _batch(self, n: int) -> Batch:
        """What an objective is told of n items; every view is one row again and again, which takes no memory."""
        index = self.few.batch(n)
        told = {name: getattr(self.source, name, None) for name in ("labels", "targets", "domains")}
        columns = {
            name: None if column is None else torch.as_tensor(column[index]).to(self.device)
            for name, column in told.items()
        }
        views = [sample.to(self.device).expand(n, *sample.shape[1:]) for sample in self.samples]
        boxes = [torch.tensor([0.0, 0, 1, 1], device=self.device).expand(n, 4) for _ in views]
        weights = torch.ones(n, device=self.device) if self.weighed else None
        if isinstance(self.method, Mixed):
            self.method.own = columns["labels"]
        ids = torch.arange(n, device=self.device)
        return Batch(views, ids, roles=self.roles, boxes=boxes, taught=self._taught(n), weights=weights, **columns)

    def _taught(self, n: int) -> Tensor | None:
        options = self.method.options
        if "teacher" not in type(options).model_fields:
            return None
        return torch.randn(n, 1, options.projection, device=self.device)
