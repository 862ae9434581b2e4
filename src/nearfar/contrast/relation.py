"""Relations: who is near, who is far and who does not count, for any block of anchors and candidates.

A relation is computed from small arrays (ids, labels, a list of pairs) for the block at hand; no N x N mask is ever
stored.
Every pair is in one of three states:

    near     with a weight w > 0 (1 unless given),
    far      with a weight (1 unless given),
    ignored  it appears in no sum: a row against itself, a known duplicate, an unlabelled row.

A `WeightRelation` may call a pair near to a degree and far to the rest (soft labels): it then has a part in both sums,
and among "any" it stands once, like every near pair with weight 1.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import lru_cache

import torch
from torch import Tensor

from .pairs import Counts, Pairs, TilePairs, Weights

COUNTED = 2**18  # pairs that are counted at a time: on a CPU, torch makes 8 bytes of every boolean that it sums
NEAR_PAIRS_LISTED = 8  # near pairs are listed one by one up to this many per row; above, blocks compare keys


class Relation:
    """Base: the shape (R anchors, C candidates), the weights of any block, and the number of pairs of each kind."""

    shape: tuple[int, int]
    symmetric: bool = False  # anchors are the candidates and the relation is the same from both sides
    near: Pairs | None = None  # the near pairs one by one, where they are few
    keys: tuple[Tensor, Tensor] | None = None  # group keys of anchors and candidates where near means "same key"
    complete: bool = False  # every anchor and candidate is known to have near and far ones
    one_each: bool = False  # the k-th near pair is known to be that of anchor k, which has no other

    def weights(self, over: str, rows: slice, columns: slice) -> Weights:
        """Weights of one block over "near", "far" or "any" (near and far together)."""
        raise NotImplementedError

    def in_tiles(self, tile: int) -> Relation:
        """The same relation, prepared to be asked for the tiles of a grid of that side only."""
        return self

    def counts(self) -> Counts:
        """Candidates of each kind per anchor, (R,) each."""
        raise NotImplementedError

    @property
    def t(self) -> Relation:
        """The same relation with anchors and candidates exchanged."""
        raise NotImplementedError

    def part(self, rows: Tensor, columns: Tensor) -> Relation:
        """The relation between some of the anchors and some of the candidates, given by number, each once."""
        raise NotImplementedError


class PairRelation(Relation):
    """Near pairs and ignored pairs are listed; every other pair is far, or ignored when `far` lists the far ones too.

    Args:
        shape: (R, C).
        near: the near pairs, with optional weights.
        ignored: pairs that do not count.
        far: if given, only these pairs are far and every pair that is not listed is ignored.
        own: (R,) for each anchor the column that is the anchor itself, -1 if none; always ignored.

    Raises:
        ValueError: a pair lies outside the shape, or is listed twice.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        near: Pairs,
        ignored: Pairs | None = None,
        far: Pairs | None = None,
        own: Tensor | None = None,
        symmetric: bool = False,
    ) -> None:
        self.shape, self.own, self.symmetric, self.keys = shape, own, symmetric, None
        near = near.in_order()
        self.near, self.ignored, self.far = near, ignored and ignored.in_order(), far and far.in_order()
        mine = near.rows[:0] if own is None else (own >= 0).nonzero().squeeze(1)
        itself = Pairs(mine, mine if own is None else own[mine])
        self._outside = _together(itself, self.ignored)
        self._not_far = _together(self._outside, near)
        _check_listed(shape, _together(self._not_far, far))
        self._in_tiles: dict[tuple[int, bool], Relation] = {}
        self._counts: Counts | None = None

    def _listed(self, pairs: Pairs, rows: slice, columns: slice) -> Tensor:
        r, c, w = pairs.within(rows, columns)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        dtype = torch.bool if w is None else w.dtype
        block = torch.zeros(size, dtype=dtype, device=r.device)
        block[r, c] = True if w is None else w
        return block

    def weights(self, over: str, rows: slice, columns: slice) -> Weights:
        """See `Relation.weights`."""
        assert self.near is not None
        if over == "near":
            return Weights(self._listed(self.near, rows, columns))
        if self.far is not None:
            far = self._listed(self.far, rows, columns)
            if over == "far":
                return Weights(far)
            return Weights(far.masked_fill(self._listed(self.near, rows, columns) != 0, 1))
        r, c, _ = (self._outside if over == "any" else self._not_far).within(rows, columns)
        return Weights(None, (r, c) if len(r) else None)

    def in_tiles(self, tile: int) -> Relation:
        """See `Relation.in_tiles`; kept, since a relation of matching views serves every step."""
        key = tile, self.symmetric  # a copy may have taken its symmetry away
        if key not in self._in_tiles:
            self._in_tiles[key] = self._sorted_by_tile(tile)
        return self._in_tiles[key]

    def _sorted_by_tile(self, tile: int) -> Relation:
        made = copy(self)
        for name in ("near", "far", "_outside", "_not_far"):
            pairs = getattr(self, name)
            setattr(made, name, pairs and TilePairs.by_tile(pairs, self.shape, tile))
        return made

    def counts(self) -> Counts:
        """See `Relation.counts`."""
        if self._counts is None:
            self._counts = self._counted()
        return self._counts

    def _counted(self) -> Counts:
        assert self.near is not None
        r, c = self.shape

        def per_row(pairs: Pairs | None) -> Tensor:
            if pairs is None:
                return torch.zeros(r, dtype=torch.long, device=self._outside.rows.device)
            return torch.bincount(pairs.rows, minlength=r)

        near, outside = per_row(self.near), per_row(self._outside)
        has_own = (self.own >= 0).long() if self.own is not None else torch.zeros_like(near)
        far = per_row(self.far) if self.far is not None else c - near - outside
        return Counts(near, far, c - near - far - has_own)

    @property
    def t(self) -> Relation:
        """See `Relation.t`."""
        assert self.near is not None
        own = _own_of_candidates(self.own, self.shape[1])
        ignored, far = self.ignored and self.ignored.t, self.far and self.far.t
        return PairRelation(self.shape[::-1], self.near.t, ignored, far, own, self.symmetric)

    def part(self, rows: Tensor, columns: Tensor) -> Relation:
        """See `Relation.part`."""
        assert self.near is not None
        r, c = _places(rows, self.shape[0]), _places(columns, self.shape[1])
        near, ignored, far = (p and _pairs_within(p, r, c) for p in (self.near, self.ignored, self.far))
        assert near is not None
        own = None if self.own is None else _own_within(self.own[rows], c)
        shape = (len(rows), len(columns))
        return PairRelation(shape, near, ignored, far, own, self.symmetric and torch.equal(rows, columns))


class KeyRelation(Relation):
    """Near means "same key" (an item id, a label); a negative key is unknown and ignored with everyone.

    Args:
        anchors: (R,) integer keys.
        candidates: (C,) integer keys; None when the anchors are the candidates.
        own: (R,) the column of each anchor itself, -1 if none; the diagonal when the anchors are the candidates.
    """

    def __init__(self, anchors: Tensor, candidates: Tensor | None = None, own: Tensor | None = None) -> None:
        self.symmetric = candidates is None
        if candidates is None:
            candidates, own = anchors, torch.arange(len(anchors), device=anchors.device)
        self.keys = (anchors, candidates)
        self.own, self.shape, self.near = own, (len(anchors), len(candidates)), None
        self._unknown = bool((anchors < 0).any() or (candidates < 0).any())
        mine = anchors.new_empty(0) if own is None else (own >= 0).nonzero().squeeze(1)
        self._itself = Pairs(mine, mine if own is None else own[mine])

    def weights(self, over: str, rows: slice, columns: slice) -> Weights:
        """See `Relation.weights`."""
        assert self.keys is not None
        a, c = self.keys[0][rows], self.keys[1][columns]
        own = self._itself.within(rows, columns)[:2]
        if over == "any" and not self._unknown:
            return Weights(None, own if len(own[0]) else None)
        block = (a[:, None] == c[None, :]) if over == "near" else (a[:, None] != c[None, :])
        if over == "any":
            block = torch.ones_like(block)
        if self._unknown:
            block &= (a >= 0)[:, None] & (c >= 0)[None, :]
        if over != "far":
            block[own] = False
        return Weights(block)

    def in_tiles(self, tile: int) -> Relation:
        """See `Relation.in_tiles`."""
        made = copy(self)
        made._itself = TilePairs.by_tile(self._itself, self.shape, tile)
        return made

    def counts(self) -> Counts:
        """See `Relation.counts`."""
        assert self.keys is not None
        a, c = self.keys
        keys, inverse = torch.unique(torch.cat([a, c]), return_inverse=True)
        sizes = torch.bincount(inverse[len(a) :], minlength=len(keys))
        known = a >= 0
        has_own = (self.own >= 0).long() if self.own is not None else torch.zeros_like(a)
        near = torch.where(known, sizes[inverse[: len(a)]] - has_own, 0)
        far = torch.where(known, (c >= 0).sum() - near - has_own, 0)
        return Counts(near, far, len(c) - near - far - has_own)

    @property
    def t(self) -> Relation:
        """See `Relation.t`."""
        assert self.keys is not None
        if self.symmetric:
            return self
        own = _own_of_candidates(self.own, self.shape[1])
        return KeyRelation(self.keys[1], self.keys[0], own)

    def part(self, rows: Tensor, columns: Tensor) -> Relation:
        """See `Relation.part`."""
        assert self.keys is not None
        if self.symmetric and torch.equal(rows, columns):
            return KeyRelation(self.keys[0][rows])
        own = None if self.own is None else _own_within(self.own[rows], _places(columns, self.shape[1]))
        return KeyRelation(self.keys[0][rows], self.keys[1][columns], own)


class WeightRelation(Relation):
    """Weights by an explicit function of small arrays: graded scores, kernels on targets, distances in time.

    Args:
        weight: (anchor rows, candidate rows) -> (near, far), two (r, c) matrices of weights >= 0; both 0 means ignored.
        anchors: (R, ...) whatever the function needs of the anchors.
        candidates: (C, ...) the same of the candidates; None when the anchors are the candidates (self is then
            ignored).
        symmetric: set when weight(a, b) is the transpose of weight(b, a); half of the blocks are then enough.
    """

    def __init__(
        self,
        weight: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        anchors: Tensor,
        candidates: Tensor | None = None,
        symmetric: bool = False,
    ) -> None:
        self.weight, self.anchors = weight, anchors
        self.own = torch.arange(len(anchors), device=anchors.device) if candidates is None else None
        self.symmetric = symmetric and candidates is None
        self.candidates = anchors if candidates is None else candidates
        self.shape, self.near, self.keys = (len(anchors), len(self.candidates)), None, None

    def _block(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        near, far = (w.clone() for w in self.weight(self.anchors[rows], self.candidates[columns]))
        size = (rows.stop - rows.start, columns.stop - columns.start)
        if near.shape != size or far.shape != size:
            raise ValueError(f"weight must give two matrices {size}, got {tuple(near.shape)} and {tuple(far.shape)}")
        if self.own is not None:
            mine = self.own[rows, None] == torch.arange(columns.start, columns.stop, device=near.device)[None, :]
            near.masked_fill_(mine, 0)
            far.masked_fill_(mine, 0)
        return near, far

    def weights(self, over: str, rows: slice, columns: slice) -> Weights:
        """See `Relation.weights`."""
        near, far = self._block(rows, columns)
        if over == "any":
            return Weights(far.masked_fill(near > 0, 1))
        return Weights(near if over == "near" else far)

    def counts(self, panel: int | None = None) -> Counts:
        """See `Relation.counts`; this one visits the blocks, `panel` rows at a time."""
        r, c = self.shape
        panel = panel or max(1, COUNTED // max(1, c))
        # Made beforehand: small pieces kept between large ones that come and go would leave holes in the memory.
        near, far, ignored = torch.zeros(3, r, dtype=torch.long, device=self.anchors.device)
        for start in range(0, r, panel):
            rows = slice(start, min(start + panel, r))
            n, f = self._block(rows, slice(0, c))
            near[rows], far[rows], ignored[rows] = ((n > 0).sum(1), (f > 0).sum(1), ((n == 0) & (f == 0)).sum(1))
        return Counts(near, far, ignored - (0 if self.own is None else (self.own >= 0).long()))

    @property
    def t(self) -> Relation:
        """See `Relation.t`."""
        made = WeightRelation(lambda a, c: _both_t(self.weight(c, a)), self.candidates, self.anchors)
        made.own, made.symmetric = _own_of_candidates(self.own, self.shape[1]), self.symmetric
        return made

    def part(self, rows: Tensor, columns: Tensor) -> Relation:
        """See `Relation.part`."""
        made = WeightRelation(self.weight, self.anchors[rows], self.candidates[columns])
        if self.own is not None:
            made.own = _own_within(self.own[rows], _places(columns, self.shape[1]))
        made.symmetric = self.symmetric and torch.equal(rows, columns)
        return made


def _own_of_candidates(own: Tensor | None, count: int) -> Tensor | None:
    """For each candidate the anchor that is itself, -1 if none."""
    if own is None:
        return None
    out = own.new_full((count,), -1)
    mine = (own >= 0).nonzero().squeeze(1)
    out[own[mine]] = mine
    return out


def _places(chosen: Tensor, count: int) -> Tensor:
    """For each of `count` rows its place among the chosen ones, -1 where it was not chosen."""
    out = torch.full((count,), -1, dtype=torch.long, device=chosen.device)
    out[chosen] = torch.arange(len(chosen), device=chosen.device)
    return out


def _own_within(own: Tensor, places: Tensor) -> Tensor:
    return torch.where(own >= 0, places[own.clamp_min(0)], -1)


def _pairs_within(pairs: Pairs, rows: Tensor, columns: Tensor) -> Pairs:
    """Pairs of which both ends were chosen, by their new places."""
    r, c = rows[pairs.rows], columns[pairs.columns]
    kept = (r >= 0) & (c >= 0)
    return Pairs(r[kept], c[kept], None if pairs.weights is None else pairs.weights[kept])


def _together(one: Pairs, other: Pairs | None) -> Pairs:
    """Two lists in one, without weights."""
    if other is None:
        return one
    return Pairs.of(torch.cat([one.rows, other.rows]), torch.cat([one.columns, other.columns]))


def _check_listed(shape: tuple[int, int], listed: Pairs) -> None:
    r, c = listed.rows, listed.columns
    outside = (r < 0) | (r >= shape[0]) | (c < 0) | (c >= shape[1])
    if bool(outside.any()):
        k = int(outside.nonzero()[0])
        raise ValueError(
            f"pair ({int(r[k])}, {int(c[k])}) lies outside the {shape[0]} anchors and {shape[1]} candidates"
        )
    place = (r * shape[1] + c).sort().values
    twice = place[1:] == place[:-1]
    if bool(twice.any()):
        k = int(place[1:][twice][0])
        raise ValueError(
            f"pair ({k // shape[1]}, {k % shape[1]}) is listed twice; a pair is near, far or ignored, once"
        )


def _both_t(blocks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return blocks[0].T, blocks[1].T


def _same_key_pairs(anchors: Tensor, candidates: Tensor) -> Pairs:
    """All (row, column) with equal non-negative keys, by sorting: O((R + C) log C + pairs)."""
    order = torch.argsort(candidates, stable=True)
    ordered = candidates[order]
    first, last = torch.searchsorted(ordered, anchors), torch.searchsorted(ordered, anchors, right=True)
    sizes = torch.where(anchors >= 0, last - first, 0)
    rows = torch.repeat_interleave(torch.arange(len(anchors), device=anchors.device), sizes)
    within = torch.arange(len(rows), device=rows.device) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return Pairs(rows, order[first[rows] + within])


def same_key(anchors: Tensor, candidates: Tensor | None = None, own: Tensor | None = None) -> Relation:
    """Near means "same key"; few near pairs are listed, many are compared block by block. Arguments as `KeyRelation`.

    >>> relation = same_key(torch.tensor([7, 8, 7, 8]))       # two views of two items
    >>> relation.counts().near.tolist(), relation.counts().far.tolist()
    ([1, 1, 1, 1], [2, 2, 2, 2])
    """
    by_key = KeyRelation(anchors, candidates, own)
    counts = by_key.counts()
    if by_key._unknown or int(counts.near.sum()) > NEAR_PAIRS_LISTED * len(anchors):
        return by_key
    assert by_key.keys is not None
    pairs = _same_key_pairs(*by_key.keys)
    if by_key.own is not None:
        keep = by_key.own[pairs.rows] != pairs.columns
        pairs = Pairs(pairs.rows[keep], pairs.columns[keep])
    listed = PairRelation(by_key.shape, pairs, own=by_key.own, symmetric=by_key.symmetric)
    listed.keys = by_key.keys
    return listed


@lru_cache(maxsize=16)
def matching(n: int, views: int, device: torch.device) -> Relation:
    """Rows of `views` views of n different items, view after view: the relation of most training steps, made once.

    >>> matching(2, 3, torch.device("cpu")).counts().near.tolist()
    [2, 2, 2, 2, 2, 2]
    """
    # Kept from step to step, so it must not be made of tensors that only inference may use.
    with torch.inference_mode(False):
        relation = same_key(torch.arange(n, device=device).repeat(views))
    relation.complete = n > 1 and views > 1
    relation.one_each = views == 2 and relation.near is not None
    return relation


@lru_cache(maxsize=16)
def opposite(n: int, device: torch.device) -> Relation:
    """Row i of one view is near to row i of the other, all else is far; made once per size."""
    with torch.inference_mode(False):
        row = torch.arange(n, device=device)
        relation = PairRelation((n, n), Pairs(row, row))
    relation.complete, relation.one_each = n > 1, True
    return relation


def paired(n: int, anchors: Tensor | None = None, candidates: Tensor | None = None) -> Relation:
    """Row i is near to candidate i alone; other pairs with the same id are known duplicates and ignored.

    Args:
        n: anchors; the first n candidates are their partners.
        anchors: (n,) ids of the anchors, None when no duplicates are known.
        candidates: (C,) ids of the candidates, C >= n (extra ones, such as a queue, are far unless the id says they are
            the anchor's own item); the anchors' ids when None.
    """
    if anchors is None:
        row = torch.arange(n, device=None if candidates is None else candidates.device)
        return PairRelation((n, n if candidates is None else len(candidates)), Pairs(row, row))
    row = torch.arange(n, device=anchors.device)
    candidates = anchors if candidates is None else candidates
    same = _same_key_pairs(anchors, candidates)
    other = same.rows != same.columns
    ignored = Pairs(same.rows[other], same.columns[other])
    return PairRelation((n, len(candidates)), Pairs(row, row), ignored)
