"""Views of the next batch, prepared by one background thread while the current step runs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nearfar.data.batch import Batch
from nearfar.training.protocols import Sampler, Source, Taught, Views
from nearfar.training.rng import step_generator
from nearfar.training.team import Team

Made = tuple[list[Tensor], list[Tensor] | None, Tensor | None]


@dataclass(frozen=True)
class Prepared:
    """The batch of one step, on the CPU."""

    step: int
    index: np.ndarray
    """(B,) positions in the source of the whole batch."""
    batch: Batch
    """This process's share of it."""


@dataclass(frozen=True)
class Feed:
    """Batches as a function of the step alone, whatever thread prepares them."""

    source: Source
    views: Views
    sampler: Sampler
    seed: int
    team: Team = field(default_factory=Team)
    taught: Taught | None = None

    def prepare(self, step: int) -> Prepared:
        """Rows, views, ids, labels and what a teacher says of one step."""
        index = np.asarray(self.sampler.batch(step))
        share = self.team.share(len(index))
        own, labels = index[share], self.source.labels
        targets, domains = (getattr(self.source, name, None) for name in ("targets", "domains"))
        views, boxes, weights = self._views_of(index, share, step_generator(self.seed, step))
        batch = Batch(
            views,
            ids=torch.as_tensor(self.source.ids[own]),
            labels=None if labels is None else torch.as_tensor(labels[own]),
            targets=None if targets is None else torch.as_tensor(targets[own]),
            roles=getattr(self.views, "roles", ()),
            boxes=boxes,
            taught=None if self.taught is None else self.taught(own),
            domains=None if domains is None else torch.as_tensor(domains[own]),
            weights=weights,
        )
        return Prepared(step, index, batch)

    def _views_of(self, index: np.ndarray, share: slice, generator: torch.Generator) -> Made:
        """Views of a share of the batch, those that the whole batch would have given it, their boxes, and weights.

        Views with weights are made of what the source offers beside its rows.
        """
        if hasattr(self.views, "with_weights") and hasattr(self.source, "material"):
            made: Made = self.views.with_weights(self.source.material(index), generator, part=share)
            return made
        rows = self.source.rows(index)
        if hasattr(self.views, "with_boxes"):
            views, boxes = self.views.with_boxes(rows, generator, part=share)
            return views, boxes, None
        if self.team.alone:
            return self.views(rows, generator), None, None
        if "part" in inspect.signature(self.views).parameters:
            return self.views(rows, generator, part=share), None, None  # type: ignore[call-arg]
        return [view[share] for view in self.views(rows, generator)], None, None

    def steps(self, start: int, stop: int) -> Generator[tuple[Prepared, float], None, None]:
        """Steps ``start`` to ``stop - 1`` in order, each with the seconds that were spent waiting for it."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="nearfar-views")
        try:
            ahead = executor.submit(self.prepare, start) if start < stop else None
            while ahead is not None:
                began = time.perf_counter()
                prepared = ahead.result()
                waited = time.perf_counter() - began
                following = prepared.step + 1
                ahead = executor.submit(self.prepare, following) if following < stop else None
                yield prepared, waited
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
