"""Embedding over many machines: Ray Data hands out blocks of rows, and one process writes them to the store."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .storing import Made, Part, Work


def spread(work: Work, parts: Sequence[Part]) -> Iterator[Made]:
    """What each part comes to, in their order.

    The cluster is that of RAY_ADDRESS, else one on this machine, which ends with the work. Every machine must see the
    files of the data under the same names. Vectors are those of one process, to rounding.

    Raises:
        ImportError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("embedding over a cluster needs Ray: pip install 'nearfar[cluster]'") from error
    own = not ray.is_initialized()
    if own:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)), len(parts)))
        numbers = ray.data.from_items(
            [{"part": number} for number in range(len(parts))], override_num_blocks=len(parts)
        )
        made = numbers.map_batches(
            _Worker, batch_size=1, concurrency=workers, fn_constructor_args=(ray.put(work), ray.put(list(parts))),
            batch_format="numpy",
        )  # fmt: skip
        for batch in made.iter_rows():
            yield batch["made"]
    finally:
        if own:
            ray.shutdown()


class _Worker:
    """One on each processor of the cluster, which keeps the encoder."""

    def __init__(self, work: Any, parts: Any) -> None:
        import ray

        self.work, self.parts = ray.get(work), ray.get(parts)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = np.empty(1, dtype=object)
        found[0] = self.work(self.parts[int(batch["part"][0])])
        return {"made": found}
