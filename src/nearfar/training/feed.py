"""Views of the next batch, prepared by one background thread while the current step runs."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import ConfigError
from nearfar.training.protocols import Batch, Sampler, Source, Views
from nearfar.training.rng import step_generator


@dataclass(frozen=True)
class Feed:
    """Batches as a function of the step alone, whatever thread prepares them."""

    source: Source
    views: Views
    sampler: Sampler
    seed: int

    def prepare(self, step: int) -> tuple[Batch, list[Tensor]]:
        """The batch of one step and its views, on the CPU."""
        index = np.asarray(self.sampler.batch(step))
        views = self.views(self.source.rows(index), step_generator(self.seed, step))
        for view in views:
            if len(view) != len(index):
                raise ConfigError(f"the views gave {len(view)} rows for {len(index)} items at step {step}")
        labels = self.source.labels
        return (
            Batch(
                step=step,
                index=index,
                ids=torch.as_tensor(self.source.ids[index]),
                labels=None if labels is None else torch.as_tensor(labels[index]),
            ),
            views,
        )

    def steps(self, start: int, stop: int) -> Generator[tuple[Batch, list[Tensor], float], None, None]:
        """Batches ``start`` to ``stop - 1`` in order, each with the seconds that were spent waiting for it."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="nearfar-views")
        try:
            ahead = executor.submit(self.prepare, start) if start < stop else None
            for step in range(start, stop):
                assert ahead is not None
                began = time.perf_counter()
                batch, views = ahead.result()
                waited = time.perf_counter() - began
                if step + 1 < stop:
                    ahead = executor.submit(self.prepare, step + 1)
                yield batch, views, waited
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
