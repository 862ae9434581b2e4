"""What the training engine asks of the others. It knows no modality and no objective."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nearfar.data.batch import Batch

Projection = Tensor | dict[str, Tensor]
"""What a method makes of one view: a tensor (B, D), or several by name, of which ``projection`` is watched."""


class Contrast(Protocol):
    """What an objective says about one batch; ``chance``, ``near_mean`` and ``far_mean`` are read when present."""

    @property
    def loss(self) -> Tensor:
        """Scalar, differentiable."""
        ...

    @property
    def terms(self) -> Any:
        """Named parts of the loss and other scalars for the log: dict of float or scalar tensor."""
        ...


class Method(Protocol):
    """A ``torch.nn.Module`` that also has these; all its memory is in buffers and parameters.

    It may also have ``order(rows) -> (B,)``, numbers such as lengths: rows of similar ones then share micro-batches;
    ``prepare(batch) -> Batch``, what it makes of a batch before the views are projected; and ``watched_margin``, by how
    much far rows should be farther than near ones and whether in squared distance: the log then says whether learning
    by it collapses.
    """

    def project(self, rows: Tensor) -> Projection:
        """Encoder and head on some rows of one view."""
        ...

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Objective on the projections of the whole batch, one per view."""
        ...

    def after_step(self, step: int, total_steps: int) -> None:
        """Called after the update of step ``step`` (0 to total_steps - 1): moving copies, queues."""
        ...


class Source(Protocol):
    """Rows that can be fetched by position; any modality."""

    ids: np.ndarray
    labels: np.ndarray | None

    def rows(self, index: np.ndarray) -> Any:
        """Raw items, as the views take them."""
        ...

    def fingerprint(self) -> str:
        """Changes when the data does."""
        ...


class Sampler(Protocol):
    """Which rows a step sees, as a function of the step alone."""

    @property
    def batch_size(self) -> int:
        """Rows of a full batch."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the data."""
        ...

    def state(self) -> dict[str, Any]:
        """What decides the batches, as JSON."""
        ...

    def batch(self, step: int) -> np.ndarray:
        """(B,) positions in the source."""
        ...


class Watch(Protocol):
    """Looks at the method while it is trained; what it finds stands in the metrics under ``watched``."""

    @property
    def every(self) -> int:
        """Steps between two looks."""
        ...

    def __call__(self) -> dict[str, float]:
        """Look now. The time it takes is not counted as training, and the random generators are put back."""
        ...


class Renewal(Protocol):
    """Changes what rows of the source hold while a method is trained; what it finds is logged under ``renewed``."""

    def due(self, step: int) -> bool:
        """Whether it is called before this update, from 0."""
        ...

    def __call__(self, step: int) -> dict[str, float]:
        """Change the rows now, as a function of the method, its own state and the step; in every process alike."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        ...


class Taught(Protocol):
    """What a teacher makes of rows."""

    def __call__(self, index: np.ndarray) -> Tensor:
        """(B, P, D) vectors of the P parts of the rows at these positions of the source."""
        ...


class Views(Protocol):
    """Random views of rows, drawn from ``generator`` only; a run's identity holds its ``config()`` if it has one.

    One that also takes ``part=slice(...)`` makes the views of these rows only, the same ones as without it: processes
    that share a batch then share that work too, where otherwise each makes all views and keeps its own.
    """

    def __call__(self, rows: Any, generator: torch.Generator) -> list[Tensor]:
        """One tensor per view."""
        ...
