"""Views kept apart: rows of one item are near across views, rows of other items far within a view alone."""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import Weights
from .relation import WeightRelation


def _met(anchors: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Near and far of (key, view) against (key, view), whatever is unknown and whoever belongs to no view."""
    (key, view), (other, where) = anchors.T[:, :, None], candidates.T[:, None, :]
    known, same = (key >= 0) & (other >= 0), key == other
    return known & same, known & ~same & ((view == where) | (view < 0) | (where < 0))


class _InOneBatch(WeightRelation):
    """The same where all keys are known and all rows have a view, as in most batches: with half of the passes."""

    def weights(self, over: str, rows: slice, columns: slice) -> Weights:
        """See `Relation.weights`; only what is asked for is worked out."""
        if over == "any":
            return super().weights(over, rows, columns)
        (key, view), (other, where) = self.anchors[rows].T, self.candidates[columns].T
        if over == "far":
            return Weights((key[:, None] != other[None, :]).logical_and_(view[:, None] == where[None, :]))
        near = key[:, None] == other[None, :]
        near.diagonal(rows.start - columns.start).fill_(False)  # a row against itself
        return Weights(near)


def within_views(keys: Tensor, views: Tensor, more: Tensor | None = None) -> WeightRelation:
    """Near means "same key"; of the rows of other keys only those of the same view are far, the rest is ignored.

    Args:
        keys: (R,) integer keys; a negative key is unknown and ignored with everyone.
        views: (R,) the view that each row belongs to.
        more: (M,) keys of further candidates, behind the rows, that belong to no view, such as a queue: far from all
            rows of other keys.

    >>> counts = within_views(torch.tensor([7, 8, 9, 7, 8, 9]), torch.tensor([0, 0, 0, 1, 1, 1])).counts()
    >>> counts.near.tolist(), counts.far.tolist(), counts.ignored.tolist()
    ([1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2], [2, 2, 2, 2, 2, 2])
    """
    rows = torch.stack([keys, views], 1)
    if more is None:
        plain = not bool((rows < 0).any())
        made = (_InOneBatch if plain else WeightRelation)(_met, rows, symmetric=True)
        made.keys = keys, keys
        return made
    made = WeightRelation(_met, rows, torch.cat([rows, torch.stack([more, torch.full_like(more, -1)], 1)]))
    made.own, made.keys = torch.arange(len(rows), device=rows.device), (keys, torch.cat([keys, more]))
    return made
