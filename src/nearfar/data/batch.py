"""One training step's worth of data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.errors import DataError


@dataclass
class Batch:
    """Several views of B items.

    Attributes:
        views: V tensors (B, ...), row i of each made from item `ids[i]`.
        ids: (B,) int64, which item; equal ids are never far apart.
        labels: (B,) int64 with -1 for unknown, or None.

    Raises:
        DataError: when the lengths differ, or there is no view.

    Example:
        >>> batch = Batch([torch.zeros(4, 3), torch.ones(4, 3)], ids=torch.arange(4))
        >>> len(batch), len(batch.to("cpu").views)
        (4, 2)
    """

    views: list[Tensor]
    ids: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        lengths = [len(column) for column in (*self.views, *(() if self.labels is None else (self.labels,)))]
        if not self.views or any(length != len(self.ids) for length in lengths):
            raise DataError(f"a batch of {len(self.ids)} ids has views and labels of lengths {lengths}")

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        return Batch(
            [view.to(device, non_blocking=non_blocking) for view in self.views],
            self.ids.to(device, non_blocking=non_blocking),
            None if self.labels is None else self.labels.to(device, non_blocking=non_blocking),
        )
