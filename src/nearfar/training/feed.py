"""Views of the next batch, prepared by one background thread while the current step runs."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from nearfar.data.batch import Batch
from nearfar.training.protocols import Sampler, Source, Views
from nearfar.training.rng import step_generator


@dataclass(frozen=True)
class Prepared:
    """The batch of one step, on the CPU."""

    step: int
    index: np.ndarray
    """(B,) positions in the source."""
    batch: Batch


@dataclass(frozen=True)
class Feed:
    """Batches as a function of the step alone, whatever thread prepares them."""

    source: Source
    views: Views
    sampler: Sampler
    seed: int

    def prepare(self, step: int) -> Prepared:
        """Rows, views, ids and labels of one step."""
        index = np.asarray(self.sampler.batch(step))
        views = self.views(self.source.rows(index), step_generator(self.seed, step))
        labels = self.source.labels
        batch = Batch(
            views,
            ids=torch.as_tensor(self.source.ids[index]),
            labels=None if labels is None else torch.as_tensor(labels[index]),
            roles=getattr(self.views, "roles", ()),
        )
        return Prepared(step, index, batch)

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
