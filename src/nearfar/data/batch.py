"""One training step's worth of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, get_args

import torch
from torch import Tensor

from nearfar.errors import DataError

Role = Literal["whole", "small", "far"]
"""What a view is for: a "whole" view shows most of an item and may be a target; a "small" one shows a part of it; a
"far" one is no view of the item at all, but what was given as far from it."""


@dataclass
class Batch:
    """Several views of B items.

    Attributes:
        views: V tensors (B, ...), row i of each made from item `ids[i]`.
        ids: (B,) int64, which item; equal ids are never far apart.
        labels: (B,) int64 with -1 for unknown, or None.
        roles: for every view what it is for, "whole", "small" or "far"; all are whole unless given.
        boxes: for every view (B, 4) where in its items it was cut, top, left, bottom, right in their own units; of a
            mirrored view left is the larger one. None where views do not say it.
        targets: (B,) how alike the first two views of each item are, in the data's own units; None where nobody said.
        domains: (B,) int64, where each item comes from (a hospital, a camera), with -1 for unknown, or None.
        taught: (B, P, D) what a teacher makes of the P parts of each item, one for all views or one for each; None
            where there is no teacher.
        weights: (B,) how much each item counts beside the others, >= 0; None where all count alike.

    Raises:
        DataError: when the lengths differ, there is no view, or none is whole.

    Example:
        >>> batch = Batch([torch.zeros(4, 3), torch.ones(4, 3)], ids=torch.arange(4))
        >>> len(batch), len(batch.to("cpu").views)
        (4, 2)
    """

    views: list[Tensor]
    ids: Tensor
    labels: Tensor | None = None
    roles: Sequence[Role] = ()
    boxes: list[Tensor] | None = None
    targets: Tensor | None = None
    taught: Tensor | None = None
    domains: Tensor | None = None
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        columns = (self.labels, self.targets, self.taught, self.domains, self.weights)
        given = [column for column in columns if column is not None]
        lengths = [len(column) for column in (*self.views, *given)]
        if not self.views or any(length != len(self.ids) for length in lengths):
            raise DataError(f"a batch of {len(self.ids)} ids has columns of lengths {lengths}")
        if self.boxes is not None and [tuple(box.shape) for box in self.boxes] != [(len(self), 4)] * len(self.views):
            shapes = [tuple(box.shape) for box in self.boxes]
            raise DataError(f"{len(self.views)} views of {len(self)} items have boxes of shapes {shapes}")
        self.roles = list(self.roles) or ["whole"] * len(self.views)
        if len(self.roles) != len(self.views) or not set(self.roles) <= set(get_args(Role)) or not self.whole:
            raise DataError(
                f"{len(self.views)} views have the roles {self.roles}; each is 'whole', 'small' or 'far', "
                "one at least 'whole'"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def whole(self) -> list[int]:
        """The numbers of the whole views.

        >>> Batch([torch.zeros(2, 3)] * 3, torch.arange(2), roles=["whole", "whole", "small"]).whole
        [0, 1]
        """
        return [number for number, role in enumerate(self.roles) if role == "whole"]

    def given(self, number: int) -> Tensor:
        """(B,) bool: which items have something in a view; a row with nothing is -1 (whole numbers) or NaN throughout.

        >>> Batch([torch.zeros(2, 3), torch.tensor([[7, 8], [-1, -1]])], torch.arange(2)).given(1).tolist()
        [True, False]
        """
        view = self.views[number].flatten(1)
        return ~(view.isnan() if view.is_floating_point() else view == -1).all(1)

    def onto_whole(self) -> list[tuple[int, int]]:
        """(i, j): every view i beside every whole view j other than itself, as methods with targets compare them.

        >>> Batch([torch.zeros(2, 3)] * 3, torch.arange(2), roles=["whole", "whole", "small"]).onto_whole()
        [(0, 1), (1, 0), (2, 0), (2, 1)]
        """
        whole = set(self.whole)
        return [(i, j) for i, j in permutations(range(len(self.views)), 2) if j in whole]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        return Batch(
            [view.to(device, non_blocking=non_blocking) for view in self.views],
            self.ids.to(device, non_blocking=non_blocking),
            None if self.labels is None else self.labels.to(device, non_blocking=non_blocking),
            self.roles,
            None if self.boxes is None else [box.to(device, non_blocking=non_blocking) for box in self.boxes],
            None if self.targets is None else self.targets.to(device, non_blocking=non_blocking),
            None if self.taught is None else self.taught.to(device, non_blocking=non_blocking),
            None if self.domains is None else self.domains.to(device, non_blocking=non_blocking),
            None if self.weights is None else self.weights.to(device, non_blocking=non_blocking),
        )
