"""What the training engine asks of the others. It knows no modality and no objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Projection = Tensor | dict[str, Tensor]
"""What a method makes of one view: a tensor (B, D), or several by name, of which ``projection`` is watched."""


@dataclass(frozen=True)
class Batch:
    """What is known about the rows of one step besides the rows themselves."""

    step: int
    index: np.ndarray
    """(B,) positions in the source."""
    ids: Tensor
    """(B,) int64: which item a row is."""
    labels: Tensor | None
    """(B,) int64, -1 = unknown; None when the source has no labels."""

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on ``device``."""
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return Batch(self.step, self.index, self.ids.to(device, non_blocking=True), labels)


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
    """A ``torch.nn.Module`` that also has these; all its memory is in buffers and parameters."""

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

    def rows(self, index: np.ndarray) -> Tensor:
        """Raw items."""
        ...

    def fingerprint(self) -> str:
        """Changes when the data does."""
        ...


class Sampler(Protocol):
    """Which rows a step sees, as a function of the step alone."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the data."""
        ...

    def batch(self, step: int) -> np.ndarray:
        """(B,) positions in the source."""
        ...


class Views(Protocol):
    """Random views of some rows that draw from ``generator`` only."""

    def __call__(self, rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        """One tensor per view."""
        ...
