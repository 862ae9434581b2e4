"""Arrange: from what a user hands over (views, ids, labels, a relation) to anchors, candidates and a relation."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .apart import within_views
from .ranks import Shares
from .relation import Relation, matching, opposite, paired, same_key


@dataclass(frozen=True)
class Arrangement:
    """Anchors (R, D), candidates (C, D; the same tensor where they are the anchors) and the relation between them."""

    anchors: Tensor
    candidates: Tensor
    relation: Relation
    shares: Shares | None = None  # who holds which rows, where the batch is spread over several processes
    weights: Tensor | None = None  # how much each anchor counts, of all processes and on both sides

    def held(self) -> Arrangement:
        """The same with candidates that take no gradient, so that a pair is no longer the same from both sides."""
        relation = copy(self.relation)
        relation.symmetric = False
        return replace(self, candidates=self.candidates.detach(), relation=relation)


def check_views(name: str, views: tuple[Tensor, ...]) -> list[Tensor]:
    """Views as float32 (or float64) matrices of one width.

    Raises:
        ValueError: a view is not a matrix, or widths or rows differ.
    """
    if not views:
        raise ValueError(f"{name} needs at least one tensor of rows (N, D)")
    for k, view in enumerate(views):
        if not isinstance(view, Tensor) or view.ndim != 2:
            shape = tuple(view.shape) if isinstance(view, Tensor) else type(view).__name__
            raise ValueError(f"{name}: view {k + 1} must be a matrix (N, D), got {shape}")
        if view.shape[1] != views[0].shape[1]:
            widths = [v.shape[1] for v in views]
            raise ValueError(f"{name}: views must have one width, got {widths}; project them to the same width first")
    # Half precision is widened here, once: sums of exponentials need the range, and rows are small beside scores.
    wide = torch.float64 if any(v.dtype == torch.float64 for v in views) else torch.float32
    return [v.to(wide) for v in views]


def arrange(
    name: str,
    layout: str,
    views: tuple[Tensor, ...],
    ids: Tensor | None,
    labels: Tensor | None,
    relation: Relation | None,
    negatives: Tensor | None,
    negative_ids: Tensor | None,
    views_of: Tensor | None = None,
) -> Arrangement:
    """Decide who is an anchor, who a candidate and who is near; see `Composition.inspect` for the arguments.

    `views_of` (R,) says which view each row is of where one tensor holds them all, for the layout "apart".
    """
    rows = check_views(name, views)
    if relation is not None:
        return _given(name, rows, relation, ids is not None or labels is not None or negatives is not None)
    n = len(rows[0])
    if len(rows) > 1 and any(len(v) != n for v in rows):
        raise ValueError(f"{name}: rows of the views must match one to one, got {[len(v) for v in rows]} rows")
    keys = labels if labels is not None else ids
    what = "labels" if labels is not None else "ids"
    if keys is not None:
        keys = torch.as_tensor(keys, device=rows[0].device).long()
        if keys.shape != (n,):
            raise ValueError(f"{name}: {what} must be one per row, got {tuple(keys.shape)} for {n} rows")
    extra = None if negatives is None else _extra(name, rows[0], negatives)
    extra_keys = _extra_keys(name, what, n if keys is None else keys, extra, negative_ids)
    if layout == "cross" and len(rows) == 2:
        return _cross(rows, keys, what, extra, extra_keys)
    if layout == "cross" and len(rows) > 2:
        raise ValueError(f"{name} compares two views, got {len(rows)}; pass all rows in one tensor with ids instead")
    if keys is None:
        if len(rows) == 1:
            raise ValueError(
                f"{name}: one tensor alone does not say who is near; pass a second view, ids=, labels= or relation="
            )
        keys = torch.arange(n, device=rows[0].device)
    if layout == "apart":
        return _apart(rows, keys, extra, extra_keys, views_of)
    if len(rows) > 1 and extra is None and _all_different(keys):
        z = torch.cat(rows)
        return Arrangement(z, z, matching(n, len(rows), z.device))
    z, keys = (rows[0], keys) if len(rows) == 1 else (torch.cat(rows), keys.repeat(len(rows)))
    if extra is None:
        return Arrangement(z, z, same_key(keys))
    own = torch.arange(len(z), device=z.device)
    return Arrangement(z, torch.cat([z, extra]), same_key(keys, torch.cat([keys, extra_keys]), own))


def _apart(
    rows: list[Tensor], keys: Tensor, extra: Tensor | None, extra_keys: Tensor, views_of: Tensor | None
) -> Arrangement:
    """All rows are anchors; those of other items are far within a view, further candidates far from all views."""
    z, count = torch.cat(rows) if len(rows) > 1 else rows[0], len(rows)
    if views_of is None:
        views_of = torch.arange(count, device=z.device).repeat_interleave(len(keys))
    relation = within_views(keys.repeat(count), views_of, None if extra is None else extra_keys)
    relation.complete = count > 1 and len(keys) > 1 and _all_different(keys)
    return Arrangement(z, z if extra is None else torch.cat([z, extra]), relation)


def _all_different(keys: Tensor) -> bool:
    """True when every row is known and of its own item, as in most batches."""
    ordered = keys.sort().values
    return len(keys) > 0 and not bool((ordered[1:] == ordered[:-1]).any() | (ordered[0] < 0))


def _extra(name: str, rows: Tensor, negatives: Tensor) -> Tensor:
    if negatives.ndim != 2 or negatives.shape[1] != rows.shape[1]:
        raise ValueError(f"{name}: negatives must be (M, {rows.shape[1]}) like the rows, got {tuple(negatives.shape)}")
    return negatives.to(rows.dtype)


def _extra_keys(name: str, what: str, keys: Tensor | int, extra: Tensor | None, given: Tensor | None) -> Tensor:
    """Keys of the further candidates: as given, else new ones; `keys` is the number of rows where they have none."""
    if extra is None:
        if given is not None:
            raise ValueError(f"{name}: negative_ids without negatives; pass the rows they belong to")
        return torch.empty(0, dtype=torch.long)
    if given is None:
        first = keys if isinstance(keys, int) else int(keys.max()) + 1 if len(keys) else 0
        return torch.arange(max(first, 0), max(first, 0) + len(extra), device=extra.device)
    given = torch.as_tensor(given, device=extra.device).long()
    if given.shape != (len(extra),):
        raise ValueError(
            f"{name}: negative_ids ({what}) must be one per row, got {tuple(given.shape)} for {len(extra)}"
        )
    return given


def _given(name: str, rows: list[Tensor], relation: Relation, more: bool) -> Arrangement:
    if more:
        raise ValueError(f"{name}: a relation already says who is near; leave out ids, labels and negatives")
    if len(rows) > 2:
        raise ValueError(f"{name}: a relation is over one tensor of rows or two, got {len(rows)}")
    shape = (len(rows[0]), len(rows[-1]))
    if relation.shape != shape:
        raise ValueError(f"{name}: the relation is over {relation.shape} anchors and candidates, the rows are {shape}")
    if relation.symmetric and rows[-1] is not rows[0]:
        raise ValueError(
            f"{name}: the relation is over one set of rows, which are never their own candidates; pass one tensor, "
            f"or a relation of two sets such as same_key(keys, keys.clone())"
        )
    return Arrangement(rows[0], rows[-1], relation)


def _cross(rows: list[Tensor], keys: Tensor | None, what: str, extra: Tensor | None, extra_keys: Tensor) -> Arrangement:
    n, device = len(rows[0]), rows[0].device
    candidates = rows[1] if extra is None else torch.cat([rows[1], extra])
    if extra is None:
        if keys is None or (what == "ids" and _all_different(keys)):
            return Arrangement(rows[0], candidates, opposite(n, device))
        relation = same_key(keys, keys.clone()) if what == "labels" else paired(n, keys)
        return Arrangement(rows[0], candidates, relation)
    first = torch.arange(n, device=device) if keys is None else keys
    every = torch.cat([first, extra_keys])
    relation = same_key(first, every) if what == "labels" else paired(n, first, every)
    return Arrangement(rows[0], candidates, relation)
