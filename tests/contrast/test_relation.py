"""Every relation, on any block, against the matrix of weights written out pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from nearfar.contrast import KeyRelation, PairRelation, Pairs, Relation, WeightRelation, paired, same_key
from nearfar.contrast.blocks import slices
from nearfar.contrast.relation import NEAR_PAIRS_LISTED


@dataclass
class Known:
    """A relation with its matrices."""

    make: Callable[[], Relation]
    near: Tensor
    far: Tensor
    own: dict[int, int]

    def any(self) -> Tensor:
        return torch.where(self.near > 0, 1.0, self.far)


def by_keys(anchors: list[int], candidates: list[int], own: dict[int, int]) -> tuple[Tensor, Tensor]:
    near, far = torch.zeros(len(anchors), len(candidates)), torch.zeros(len(anchors), len(candidates))
    for i, a in enumerate(anchors):
        for j, c in enumerate(candidates):
            if a >= 0 and c >= 0 and own.get(i) != j:
                (near if a == c else far)[i, j] = 1.0
    return near, far


def of_keys(
    make: Callable, anchors: list[int], candidates: list[int] | None = None, own: dict[int, int] | None = None
) -> Known:
    if candidates is None:
        itself = {i: i for i in range(len(anchors))}
        return Known(lambda: make(torch.tensor(anchors)), *by_keys(anchors, anchors, itself), itself)
    columns = None if own is None else torch.tensor([own.get(i, -1) for i in range(len(anchors))])
    near, far = by_keys(anchors, candidates, own or {})
    return Known(lambda: make(torch.tensor(anchors), torch.tensor(candidates), columns), near, far, own or {})


def dense(size: tuple[int, int], entries: dict[tuple[int, int], float], rest: float = 0.0) -> Tensor:
    out = torch.full(size, rest)
    for (i, j), w in entries.items():
        out[i, j] = w
    return out


def pairs(entries: dict[tuple[int, int], float], weighted: bool = False) -> Pairs:
    i, j = zip(*entries, strict=True)
    return Pairs(torch.tensor(i), torch.tensor(j), torch.tensor(list(entries.values())) if weighted else None)


# In no order of rows, on purpose.
NEAR = {(3, 1): 2.0, (0, 2): 0.5, (0, 0): 1.0, (4, 4): 0.25}
IGNORED = {(4, 0): 1.0, (0, 1): 1.0, (2, 3): 1.0, (2, 2): 1.0}
FAR = {(2, 1): 1.0, (0, 3): 0.5, (1, 4): 3.0}
ONES = dict.fromkeys(NEAR, 1.0)
NOT_FAR = {**dict.fromkeys(NEAR, 0.0), **dict.fromkeys(IGNORED, 0.0)}
GAPS = torch.tensor([0.0, 1.0, 1.5, 4.0, 9.0, 9.5])


def in_time(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Near within 2 by degrees, ignored up to 4, far beyond."""
    gap = (a[:, None] - c[None, :]).abs()
    return (1 - gap / 2).clamp_min(0), (gap > 4).float()


def time_matrices(a: Tensor, c: Tensor, same: bool) -> tuple[Tensor, Tensor]:
    near, far = torch.zeros(len(a), len(c)), torch.zeros(len(a), len(c))
    for i in range(len(a)):
        for j in range(len(c)):
            gap = abs(float(a[i]) - float(c[j]))
            if not (same and i == j):
                near[i, j], far[i, j] = max(0.0, 1 - gap / 2), float(gap > 4)
    return near, far


FEW, MANY = [3, 1, 3, 0, 1, 7], [0] * 9 + [1, 1, 2]
HALF = [2, -1, 2, 0, -1]
KNOWN = {
    "keys": of_keys(KeyRelation, FEW),
    "keys, unknown": of_keys(KeyRelation, HALF),
    "keys, rectangular": of_keys(KeyRelation, [5, 6, 5], [6, 5, 4, 5]),
    "keys, rectangular, unknown": of_keys(KeyRelation, [5, -1, 5], [6, 5, -1, 5]),
    "keys, own column": of_keys(KeyRelation, [5, 6, 5], [4, 5, 6, 5, 6], {0: 1, 1: 2, 2: 3}),
    "keys, own column of some": of_keys(KeyRelation, [5, 6, 5], [5, 6, 5, 6], {0: 2}),
    "same key, listed": of_keys(same_key, FEW),
    "same key, too many to list": of_keys(same_key, MANY),
    "same key, unknown": of_keys(same_key, HALF),
    "same key, nobody": of_keys(same_key, [4, 3, 2]),
    "same key, rectangular": of_keys(same_key, [5, 6, 5], [6, 5, 4, 5]),
    "same key, own column": of_keys(same_key, [5, 6, 5], [4, 5, 6, 5, 6], {0: 1, 1: 2, 2: 3}),
    "pairs": Known(
        lambda: PairRelation((5, 5), pairs(NEAR)), dense((5, 5), ONES), dense((5, 5), dict.fromkeys(NEAR, 0.0), 1), {}
    ),
    "pairs, ignored": Known(
        lambda: PairRelation((5, 5), pairs(NEAR), pairs(IGNORED)), dense((5, 5), ONES), dense((5, 5), NOT_FAR, 1), {}
    ),
    "pairs, weighted": Known(
        lambda: PairRelation((5, 6), pairs(NEAR, True), pairs(IGNORED)),
        dense((5, 6), NEAR),
        dense((5, 6), NOT_FAR, 1),
        {},
    ),
    "pairs, far listed": Known(
        lambda: PairRelation((5, 5), pairs(NEAR), far=pairs(FAR)),
        dense((5, 5), ONES),
        dense((5, 5), dict.fromkeys(FAR, 1.0)),
        {},
    ),
    "pairs, far weighted": Known(
        lambda: PairRelation((5, 5), pairs(NEAR, True), pairs(IGNORED), pairs(FAR, True)),
        dense((5, 5), NEAR),
        dense((5, 5), FAR),
        {},
    ),
    "pairs, own column": Known(
        lambda: PairRelation((5, 5), pairs(NEAR), own=torch.tensor([4, 1, -1, 3, -1])),
        dense((5, 5), ONES),
        dense((5, 5), {**dict.fromkeys(NEAR, 0.0), (0, 4): 0, (1, 1): 0, (3, 3): 0}, 1),
        {0: 4, 1: 1, 3: 3},
    ),
    "paired": Known(lambda: paired(3), torch.eye(3), 1 - torch.eye(3), {}),
    "paired, ids": Known(
        lambda: paired(3, torch.tensor([4, 5, 4])), torch.eye(3), torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]), {}
    ),
    "paired, unknown ids": Known(lambda: paired(3, torch.tensor([-1, 5, -1])), torch.eye(3), 1 - torch.eye(3), {}),
    "paired, queue": Known(
        lambda: paired(2, torch.tensor([4, 5]), torch.tensor([4, 5, 5, 9])),
        torch.eye(2, 4),
        torch.tensor([[0.0, 1, 1, 1], [1, 0, 0, 1]]),
        {},
    ),
    "weights": Known(lambda: WeightRelation(in_time, GAPS[:3], GAPS), *time_matrices(GAPS[:3], GAPS, False), {}),
    "weights, one set": Known(
        lambda: WeightRelation(in_time, GAPS), *time_matrices(GAPS, GAPS, True), dict(enumerate(range(6)))
    ),
    "weights, symmetric": Known(
        lambda: WeightRelation(in_time, GAPS, symmetric=True),
        *time_matrices(GAPS, GAPS, True),
        dict(enumerate(range(6))),
    ),
}
everyone = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN.keys())


def blocks(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Every block there is."""
    return [
        (slice(r, s), slice(c, d))
        for r in range(shape[0])
        for s in range(r + 1, shape[0] + 1)
        for c in range(shape[1])
        for d in range(c + 1, shape[1] + 1)
    ]


@everyone
def test_weights_of_any_block_are_those_of_the_matrix(known: Known):
    relation = known.make()
    assert relation.shape == tuple(known.near.shape)
    picked = blocks(relation.shape)
    for rows, columns in picked[:: max(1, len(picked) // 400)]:
        for over, matrix in (("near", known.near), ("far", known.far), ("any", known.any())):
            weights, want = relation.weights(over, rows, columns), matrix[rows, columns]
            values = torch.arange(1.0, want.numel() + 1).reshape(want.shape)
            assert torch.equal(weights.full(values), want)
            assert torch.equal(weights.zero_(values.clone()), values * want)
            assert torch.equal(weights.fill(values, -9.0), torch.where(want > 0, values, -9.0))
            assert torch.equal(weights.total(values), want.sum(1))
            assert torch.equal(weights.t.full(values.T), want.T)
            assert torch.equal(weights.t.total(values.T), want.sum(0))


@everyone
@pytest.mark.parametrize("tile", [1, 2, 3, 50])
def test_a_relation_prepared_for_tiles_says_the_same_of_them(known: Known, tile: int):
    relation = known.make()
    prepared = relation.in_tiles(tile)
    for rows in slices(relation.shape[0], tile):
        for columns in slices(relation.shape[1], tile):
            like = torch.empty(rows.stop - rows.start, columns.stop - columns.start)
            for over, matrix in (("near", known.near), ("far", known.far), ("any", known.any())):
                assert torch.equal(prepared.weights(over, rows, columns).full(like), matrix[rows, columns])
    # Preparing leaves the relation itself as it was: any block may still be asked of it.
    odd, like = (slice(1, 2), slice(0, 2)), torch.empty(1, 2)
    assert torch.equal(relation.weights("any", *odd).full(like), known.any()[odd])


@everyone
def test_counts_are_those_of_the_matrix(known: Known):
    near, far = (known.near > 0).sum(1), (known.far > 0).sum(1)
    neither = ((known.near == 0) & (known.far == 0)).sum(1)
    own = torch.tensor([int(i in known.own) for i in range(len(near))])
    counts = known.make().counts()
    assert counts.near.tolist() == near.tolist()
    assert counts.far.tolist() == far.tolist()
    assert counts.ignored.tolist() == (neither - own).tolist()


@everyone
def test_the_other_side_sees_the_transpose(known: Known):
    other = known.make().t
    assert other.shape == tuple(known.near.T.shape)
    for rows, columns in blocks(other.shape)[::7]:
        like = torch.empty(rows.stop - rows.start, columns.stop - columns.start)
        for over, matrix in (("near", known.near), ("far", known.far), ("any", known.any())):
            assert torch.equal(other.weights(over, rows, columns).full(like), matrix.T[rows, columns])
    counts, again = other.counts(), other.t.counts()
    assert counts.near.tolist() == (known.near > 0).sum(0).tolist()
    assert counts.far.tolist() == (known.far > 0).sum(0).tolist()
    mine = known.make().counts()
    assert again.near.tolist() == mine.near.tolist() and again.ignored.tolist() == mine.ignored.tolist()


@everyone
def test_a_row_is_never_near_or_far_from_itself(known: Known):
    relation = known.make()
    whole = slice(0, relation.shape[0]), slice(0, relation.shape[1])
    for i, j in known.own.items():
        for over in ("near", "far", "any"):
            assert relation.weights(over, *whole).full(torch.empty(relation.shape))[i, j] == 0


@everyone
def test_pairs_and_keys_tell_what_the_blocks_tell(known: Known):
    relation = known.make()
    if relation.near is not None:
        listed = torch.zeros(relation.shape)
        weights = relation.near.weights if relation.near.weights is not None else torch.ones(len(relation.near))
        listed[relation.near.rows, relation.near.columns] = weights
        assert torch.equal(listed, known.near)
        assert (relation.near.rows[1:] >= relation.near.rows[:-1]).all()
    if relation.keys is not None:
        assert (len(relation.keys[0]), len(relation.keys[1])) == relation.shape


@everyone
def test_symmetric_relations_are(known: Known):
    if known.make().symmetric:
        assert torch.equal(known.near, known.near.T) and torch.equal(known.far, known.far.T)
        assert all(known.own[i] == i for i in range(len(known.near)))


def test_few_near_pairs_are_listed_and_many_are_not():
    group = NEAR_PAIRS_LISTED + 1
    assert same_key(torch.arange(20) // group).near is not None
    assert same_key(torch.arange(3 * (group + 1)) // (group + 1)).near is None


def test_renaming_labels_changes_nothing():
    one, other = same_key(torch.tensor([0, 1, 0, 2])), same_key(torch.tensor([7, 3, 7, 99]))
    whole = slice(0, 4), slice(0, 4)
    for over in ("near", "far"):
        like = torch.empty(4, 4)
        assert torch.equal(one.weights(over, *whole).full(like), other.weights(over, *whole).full(like))


def test_a_list_of_all_pairs_of_a_label_is_the_label():
    labels = torch.tensor([0, 1, 0, 0, 1])
    i, j = (labels[:, None] == labels[None, :]).fill_diagonal_(False).nonzero(as_tuple=True)
    listed, by_label = PairRelation((5, 5), Pairs(i, j), own=torch.arange(5)), KeyRelation(labels)
    for rows, columns in blocks((5, 5)):
        like = torch.empty(rows.stop - rows.start, columns.stop - columns.start)
        for over in ("near", "far", "any"):
            one, other = listed.weights(over, rows, columns), by_label.weights(over, rows, columns)
            assert torch.equal(one.full(like), other.full(like))


def test_soft_labels_stand_once_among_any():
    relation = WeightRelation(lambda a, c: (a + 0 * c.T + 0.3, a + 0 * c.T + 0.7), torch.zeros(2, 1), torch.zeros(3, 1))
    whole, like = (slice(0, 2), slice(0, 3)), torch.empty(2, 3)
    assert torch.equal(relation.weights("any", *whole).full(like), torch.ones(2, 3))
    counts = relation.counts()
    assert (counts.near.tolist(), counts.far.tolist(), counts.ignored.tolist()) == ([3, 3], [3, 3], [0, 0])


def test_the_weight_function_is_left_its_own_tensors():
    near, far = torch.ones(3, 3), torch.ones(3, 3)
    WeightRelation(lambda a, c: (near, far), torch.arange(3)).weights("near", slice(0, 3), slice(0, 3))
    assert near.all() and far.all()


def test_weights_of_many_candidates_are_counted_a_few_rows_at_a_time():
    sizes = []

    def weight(anchors: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(anchors) * len(candidates))
        same = anchors[:, None] == candidates[None, :]
        return same, ~same

    counts = WeightRelation(weight, torch.arange(300), torch.arange(3000) % 600).counts()
    assert sum(sizes) == 300 * 3000 and max(sizes) <= 2**18
    assert counts.near.tolist() == [5] * 300 and counts.far.tolist() == [2995] * 300 and not counts.ignored.any()


def test_panels_do_not_change_the_counts_of_weights():
    relation = WeightRelation(in_time, GAPS)
    small, large = relation.counts(panel=2), relation.counts()
    assert torch.equal(small.near, large.near) and torch.equal(small.ignored, large.ignored)


@pytest.mark.parametrize(
    ("near", "more", "message"),
    [
        ({(0, 3): 1.0}, {}, r"pair \(0, 3\) lies outside the 2 anchors and 3 candidates"),
        ({(-1, 0): 1.0}, {}, r"pair \(-1, 0\) lies outside"),
        ({(0, 1): 1.0}, {"ignored": {(2, 0): 1.0}}, r"pair \(2, 0\) lies outside"),
        ({(1, 2): 1.0}, {"ignored": {(1, 2): 1.0}}, r"pair \(1, 2\) is listed twice; a pair is near, far or ignored"),
        ({(1, 2): 1.0}, {"far": {(0, 0): 1.0, (1, 2): 1.0}}, r"pair \(1, 2\) is listed twice"),
        ({(1, 1): 1.0}, {"own": torch.tensor([0, 1])}, r"pair \(1, 1\) is listed twice"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(near: dict, more: dict, message: str):
    given = {k: pairs(v) if isinstance(v, dict) else v for k, v in more.items()}
    with pytest.raises(ValueError, match=message):
        PairRelation((2, 3), pairs(near), **given)


def test_weights_must_fill_the_block():
    relation = WeightRelation(lambda a, c: (a[:, None], c[None, :]), torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"two matrices \(2, 3\), got \(2, 1\) and \(1, 3\)"):
        relation.counts()


def test_a_pair_listed_twice_is_refused():
    with pytest.raises(ValueError, match="listed twice"):
        PairRelation((2, 3), Pairs(torch.tensor([0, 0]), torch.tensor([1, 1])))
