"""Batches in every arrangement that a user may hand over, each with the same arrangement made pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import oracles
import torch
from cases import rows
from oracles import Arranged
from torch import Tensor

from nearfar.contrast import PairRelation, Pairs, WeightRelation, same_key


@dataclass(frozen=True)
class Scene:
    """`sizes` are the rows of each leaf matrix; the leaves make the views of the call, the last one may be a queue."""

    name: str
    sizes: tuple[int, ...]
    how: Callable[[], dict[str, Any]] = dict
    naive: Callable[[str, list[Tensor]], Arranged] | None = None
    naive_how: dict[str, Any] = field(default_factory=dict)
    views: Callable[[list[Tensor]], list[Tensor]] = list
    queue: bool = False
    layouts: tuple[str, ...] = ("joint", "apart", "cross")
    listed: bool = True  # near pairs can be listed one by one

    def leaves(self, width: int = 3) -> list[Tensor]:
        return [rows(10 + k, n, width).requires_grad_() for k, n in enumerate(self.sizes)]

    def call(self, objective: Callable, leaves: list[Tensor], **more: Any) -> Any:
        given = self.views(leaves[:-1] if self.queue else leaves)
        extra = {"negatives": leaves[-1]} if self.queue else {}
        return objective(*given, **self.how(), **extra, **more)

    def arranged(self, layout: str, leaves: list[Tensor]) -> Arranged:
        if self.naive is not None:
            return self.naive(layout, leaves)
        queue = leaves[-1] if self.queue else None
        return oracles.arrange(layout, leaves[:-1] if self.queue else leaves, queue=queue, **self.naive_how)


def keyed(
    name: str,
    sizes: tuple[int, ...],
    *,
    queue: bool = False,
    layouts: tuple[str, ...] = ("joint", "apart", "cross"),
    listed: bool = True,
    **keys: list[int],
) -> Scene:
    names = {"queue_ids": "negative_ids"}
    return Scene(
        name, sizes, lambda: {names.get(k, k): torch.tensor(v) for k, v in keys.items()}, None, keys, queue=queue,
        layouts=layouts, listed=listed,
    )  # fmt: skip


def explicit(
    name: str,
    sizes: tuple[int, ...],
    near: list[list[float]],
    far: list[list[float]],
    relation: Callable[[], Any],
    *,
    own: bool = False,
    views: Callable = list,
    listed: bool = True,
    classes: list[int] | None = None,
) -> Scene:
    def naive(layout: str, leaves: list[Tensor]) -> Arranged:
        given = views(leaves)
        columns = list(range(len(near))) if own else [-1] * len(near)
        return Arranged(list(given[0]), list(given[-1]), near, far, columns, classes=classes)

    return Scene(name, sizes, lambda: {"relation": relation()}, naive, views=views, listed=listed)


def table(near: list[list[float]], far: list[list[float]]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Weights looked up by row and column number."""
    p, f = torch.tensor(near, dtype=torch.float64), torch.tensor(far, dtype=torch.float64)
    return lambda a, c: (p[a][:, c], f[a][:, c])


def pairs_of(weights: list[list[float]], weighted: bool = False) -> Pairs:
    """The pairs of a dense matrix, deliberately not in order of rows."""
    listed = [(i, j, w) for i, row in enumerate(weights) for j, w in enumerate(row) if w > 0][::-1]
    i, j, w = zip(*listed, strict=True)
    values = torch.tensor(w, dtype=torch.float64) if weighted else None
    return Pairs(torch.tensor(i), torch.tensor(j), values)


SOFT_NEAR = [[0.7, 0, 0, 0.2, 0], [0, 1.5, 0, 0, 0], [0.3, 0, 0.4, 0, 0.1], [0, 0, 0, 0, 0]]
SOFT_FAR = [[0, 1, 0.5, 0, 0], [1, 0, 2, 0, 1], [0, 0.6, 0, 1, 0], [1, 0, 1, 1, 0]]
# Soft labels: the same pair is near to a degree and far to the rest.
BOTH_FAR = [[0.3, 1, 0.5, 0.8, 0], [1, 0, 2, 0, 1], [0.7, 0.6, 0.6, 1, 0.9], [1, 0, 1, 1, 0]]
KERNEL = [[0, 0.9, 0.1, 0, 0], [0.9, 0, 0, 0.4, 0], [0.1, 0, 0, 0, 0.5], [0, 0.4, 0, 0, 0], [0, 0, 0.5, 0, 0]]
REST = [[0, 0, 0, 1, 1], [0, 0, 1, 0, 0.5], [0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [1, 0.5, 0, 1, 0]]
NEAR = [[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
IGNORED = [[0, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
FAR = [[1.0 if not (p or x) else 0 for p, x in zip(*r, strict=True)] for r in zip(NEAR, IGNORED, strict=True)]
FEW_FAR = [[0, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [1, 0, 0, 0, 0]]
WEIGHTED_NEAR = [[0.5, 0, 0, 0, 2], [0, 1, 0, 0, 0], [0, 0, 0, 0.25, 0], [0, 0, 0, 0, 0]]
ONE_WAY_NEAR = [[1.0 if j == i + 3 else 0 for j in range(6)] for i in range(3)]
ONE_WAY_FAR = [[1.0 if j not in (i, i + 3) else 0 for j in range(6)] for i in range(3)]

JOINT = ("joint", "apart")
SCENES = [
    keyed("views", (4, 4)),
    keyed("duplicate ids", (4, 4), ids=[5, 6, 5, 7]),
    keyed("all one id", (3, 3), ids=[4, 4, 4]),
    keyed("three views", (3, 3, 3), layouts=JOINT),
    keyed("three views, duplicate ids", (3, 3, 3), ids=[2, 0, 2], layouts=JOINT),
    keyed("rows with ids", (7,), ids=[3, 1, 3, 1, 2, 3, 9]),
    keyed("labels", (4, 4), labels=[0, 0, 1, 1]),
    keyed("many of one label", (6, 6), labels=[0, 0, 0, 0, 0, 1], listed=False),
    keyed("unknown labels", (4, 4), labels=[0, -1, 0, 1], listed=False),
    keyed("rows with labels", (6,), labels=[1, 0, 1, 0, 0, 2]),
    keyed("nobody is known", (3, 3), labels=[-1, -1, -1], listed=False),
    keyed("queue", (3, 3, 4), queue=True),
    keyed("queue with ids", (3, 3, 4), ids=[7, 8, 9], queue_ids=[8, 1, 2, 9], queue=True),
    keyed("queue with labels", (3, 3, 4), labels=[0, 1, 0], queue_ids=[1, 0, 5, -1], queue=True, listed=False),
    keyed("no near", (4,), ids=[0, 1, 2, 3]),
    keyed("no far", (4,), ids=[1, 1, 1, 1]),
    keyed("one row", (1,), ids=[0]),
    keyed("one item", (1, 1)),
    keyed("two items", (2, 2)),
    explicit("soft weights", (4, 5), SOFT_NEAR, SOFT_FAR,
             lambda: WeightRelation(table(SOFT_NEAR, SOFT_FAR), torch.arange(4), torch.arange(5)), listed=False),
    explicit("soft labels", (4, 5), SOFT_NEAR, BOTH_FAR,
             lambda: WeightRelation(table(SOFT_NEAR, BOTH_FAR), torch.arange(4), torch.arange(5)), listed=False),
    explicit("symmetric kernel", (5,), KERNEL, REST,
             lambda: WeightRelation(table(KERNEL, REST), torch.arange(5), symmetric=True), own=True, listed=False),
    explicit("kernel", (5,), KERNEL, REST, lambda: WeightRelation(table(KERNEL, REST), torch.arange(5)), own=True,
             listed=False),
    explicit("pairs", (4, 5), NEAR, FAR, lambda: PairRelation((4, 5), pairs_of(NEAR), pairs_of(IGNORED))),
    explicit("pairs, far listed", (4, 5), NEAR, FEW_FAR,
             lambda: PairRelation((4, 5), pairs_of(NEAR), far=pairs_of(FEW_FAR))),
    explicit("weighted pairs", (4, 5), WEIGHTED_NEAR, FAR,
             lambda: PairRelation((4, 5), pairs_of(WEIGHTED_NEAR, True), pairs_of(IGNORED))),
    explicit("one way", (3, 3), ONE_WAY_NEAR, ONE_WAY_FAR,
             lambda: same_key(torch.arange(3), torch.arange(3).repeat(2), torch.arange(3)), own=True,
             views=lambda z: [z[0], torch.cat(z)], classes=[0, 1, 2, 0, 1, 2]),
]  # fmt: skip
SCENE = {scene.name: scene for scene in SCENES}
