"""Edits of ids: what they keep, what they draw, and that a row knows nothing of its neighbours."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.modalities.text import edits

CLS, SEP, MASK = 101, 102, 103
SPECIAL = (CLS, SEP, MASK, 0)
PLAIN = st.lists(st.integers(1, 99), max_size=12)
ROWS = st.lists(PLAIN, min_size=1, max_size=5)
SEED = st.integers(0, 2**63 - 1)
SHARE = st.floats(0, 1)
EDITS = {
    "delete": lambda ids, seeds: edits.delete(ids, seeds, 0.5, SPECIAL),
    "repeat": lambda ids, seeds: edits.repeat(ids, seeds, 0.5, special=SPECIAL),
    "shuffle": lambda ids, seeds: edits.shuffle(ids, seeds, 0.7, SPECIAL),
    "mask": lambda ids, seeds: edits.mask(ids, seeds, 0.5, MASK, SPECIAL),
    "insert": lambda ids, seeds: edits.insert(ids, seeds, 0.5, torch.tensor([5, 6])),
}


def batch(rows: list[list[int]], wrap: bool = True) -> Tensor:
    wrapped = [[CLS, *row, SEP] if wrap else row for row in rows]
    width = max(map(len, wrapped))
    return torch.tensor([row + [-1] * (width - len(row)) for row in wrapped], dtype=torch.int64).view(len(rows), width)


def plain(ids: Tensor, wrap: bool = True) -> list[list[int]]:
    """Rows without their ends, which must be where they were."""
    rows = []
    for row in ids.tolist():
        length = sum(one >= 0 for one in row)
        assert all(one == -1 for one in row[length:])
        if wrap:
            assert row[0] == CLS and row[length - 1] == SEP
        rows.append(row[1 : length - 1] if wrap else row[:length])
    return rows


def seeds(count: int, seed: int) -> Tensor:
    return edits.seeds_of(1, count, torch.Generator().manual_seed(seed))[0]


def subsequence(part: list[int], whole: list[int]) -> bool:
    rest = iter(whole)
    return all(one in rest for one in part)


def split_mix(seed: int, stream: int, place: int) -> float:
    """SplitMix64 on Python's own numbers."""
    most = 2**64 - 1
    state = (seed + (place + 1 + (stream << 32)) * 0x9E3779B97F4A7C15) & most
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & most
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & most
    return ((state ^ (state >> 31)) >> 11) / 2**53


@given(SEED, st.integers(0, 20), st.integers(1, 20))
def test_numbers_are_those_of_splitmix(seed: int, stream: int, width: int):
    expected = [split_mix(seed, stream, place) for place in range(width)]
    assert edits.uniform(torch.tensor([3, seed]), stream, width)[1].tolist() == expected


def test_the_first_number_of_a_known_seed():
    """The published generator gives 6457827717110365317 first when it starts from 1234567."""
    assert edits.uniform(torch.tensor([1234567]), 0, 1).item() == (6457827717110365317 >> 11) / 2**53


def test_numbers_are_uniform_and_streams_differ():
    drawn = [edits.uniform(seeds(1000, 1), stream, 20) for stream in (0, 1)]
    for numbers in drawn:
        counts = torch.histc(numbers.float(), 20, 0, 1)
        # chi-squared with 19 degrees of freedom: mean 19, standard deviation 6.2
        assert ((counts - 1000) ** 2 / 1000).sum() < 19 + 4 * 6.2
    assert abs(torch.corrcoef(torch.stack([one.flatten() for one in drawn]))[0, 1]) < 4 / 20000**0.5
    assert abs(torch.corrcoef(drawn[0].T).triu(1)).max() < 5 / 1000**0.5


@pytest.mark.parametrize("name", EDITS)
@settings(max_examples=25, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 2**32))
def test_a_row_is_edited_alike_alone_and_among_others(name: str, rows: list[list[int]], seed: int):
    wrap = name != "insert"
    drawn = seeds(len(rows), seed)
    together = plain(EDITS[name](batch(rows, wrap), drawn), wrap)
    alone = [plain(EDITS[name](batch([row], wrap), drawn[i : i + 1]), wrap)[0] for i, row in enumerate(rows)]
    assert together == alone


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(0, 2**32), SHARE)
def test_deletion_keeps_a_subsequence_and_something(rows: list[list[int]], seed: int, share: float):
    for before, after in zip(
        rows, plain(edits.delete(batch(rows), seeds(len(rows), seed), share, SPECIAL)), strict=True
    ):
        assert subsequence(after, before)
        assert len(after) >= min(1, len(before))
        if share == 0:
            assert after == before
    for before, after in zip(rows, plain(edits.delete(batch(rows), seeds(len(rows), seed), 1.0, SPECIAL)), strict=True):
        assert len(after) == min(1, len(before))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(0, 2**32), SHARE, st.integers(1, 12))
def test_repetition_grows_by_few_and_falls_back(sizes: list[int], seed: int, rate: float, most: int):
    rows = [list(range(1, size + 1)) for size in sizes]  # no two neighbours are alike
    for before, after in zip(
        rows, plain(edits.repeat(batch(rows), seeds(len(rows), seed), rate, most, SPECIAL)), strict=True
    ):
        assert [one for one, _ in itertools.groupby(after)] == before
        assert max((len(list(same)) for _, same in itertools.groupby(after)), default=1) <= 2
        limit = min(most, len(before), max(2, int(rate * len(before)))) if rate else 0
        assert 0 <= len(after) - len(before) <= limit


def test_how_many_are_repeated_is_uniform_and_which_too():
    row, count = list(range(1, 21)), 7000
    after = plain(edits.repeat(batch([row] * count), seeds(count, 3), 0.32, special=SPECIAL))
    grown = torch.tensor([len(one) - 20 for one in after])
    counts = torch.bincount(grown, minlength=7)
    assert len(counts) == 7  # floor(0.32 * 20) = 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 6 + 4 * 12**0.5
    twice = torch.tensor([one for ids in after for one, same in itertools.groupby(ids) if len(list(same)) == 2])
    share = torch.bincount(twice, minlength=21)[1:] / len(twice)
    assert (share - 1 / 20).abs().max() < 5 * (0.05 / len(twice)) ** 0.5


def test_repetition_keeps_to_the_room():
    after = plain(edits.repeat(batch([list(range(1, 21)), [1, 2]] * 50), seeds(100, 3), 1.0, 10, SPECIAL, room=24))
    assert {len(one) for one in after[::2]} == {20, 21, 22} and max(len(one) for one in after[1::2]) == 4
    assert plain(edits.repeat(batch([[1, 2, 3]]), seeds(1, 3), 1.0, special=SPECIAL, room=2)) == [[1, 2, 3]]


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(0, 2**32), SHARE)
def test_shuffling_keeps_the_multiset(rows: list[list[int]], seed: int, share: float):
    for before, after in zip(
        rows, plain(edits.shuffle(batch(rows), seeds(len(rows), seed), share, SPECIAL)), strict=True
    ):
        assert sorted(after) == sorted(before)
        if share == 0:
            assert after == before


def test_a_whole_shuffle_is_uniform_over_orders():
    count = 6000
    after = plain(edits.shuffle(batch([[1, 2, 3]] * count), seeds(count, 5), 1.0, SPECIAL))
    counts = torch.tensor([sum(one == list(order) for one in after) for order in itertools.permutations((1, 2, 3))])
    assert counts.sum() == count and ((counts - 1000) ** 2 / 1000).sum() < 5 + 4 * 10**0.5


@pytest.mark.parametrize("share", [0.15, 0.6, 1.0])
def test_shares_are_as_set(share: float):
    ids = batch([list(range(1, 51))] * 200)
    error = 4 * (share * (1 - share) / 10000) ** 0.5
    masked = plain(edits.mask(ids, seeds(200, 1), share, MASK, SPECIAL))
    assert abs(sum(one == MASK for row in masked for one in row) / 10000 - share) <= error
    gone = 10000 - sum(map(len, plain(edits.delete(ids, seeds(200, 1), share, SPECIAL))))
    assert abs(gone / 10000 - share) < error + 0.021  # one in fifty always stays
    inside = batch([list(range(1, 51))] * 200, wrap=False)
    added = plain(edits.insert(inside, seeds(200, 1), share, torch.tensor([77, 88])), wrap=False)
    new = [one for row in added for one in row if one > 50]
    assert abs(len(new) / 10000 - share) <= error
    assert abs(new.count(77) / len(new) - 0.5) < 4 * 0.5 / len(new) ** 0.5
    assert [[one for one in row if one <= 50] for row in added] == [list(range(1, 51))] * 200


@settings(max_examples=50, deadline=None)
@given(PLAIN, st.integers(0, 12), st.integers(1, 12))
def test_a_crop_is_a_slice(row: list[int], start: int, length: int):
    cropped = edits.crop(batch([row]), torch.tensor([start]), torch.tensor([length]), SPECIAL)
    assert plain(cropped) == [row[start : start + length]]


@settings(max_examples=50, deadline=None)
@given(PLAIN, st.integers(0, 12), st.integers(1, 12))
def test_the_rest_is_what_a_crop_leaves(row: list[int], start: int, length: int):
    around = row[:start] + row[start + length :]
    left = edits.rest(batch([row]), torch.tensor([start]), torch.tensor([length]), seeds(1, 1), special=SPECIAL)
    assert plain(left) == [around if length < len(row) else row]


def test_the_rest_is_taken_as_often_as_said():
    ids, one = batch([[1, 2, 3]] * 1000), torch.ones(1000, dtype=torch.int64)
    rows = plain(edits.rest(ids, one, one, seeds(1000, 1), 0.9, SPECIAL))
    assert all(row in ([1, 3], [1, 2, 3]) for row in rows)
    assert abs(rows.count([1, 3]) - 900) < 4 * 90**0.5


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 2**32), st.tuples(*[st.integers(1, 40)] * 2)
)
def test_spans_lie_within_and_spans_beside_touch(sizes: list[int], seed: int, ends: tuple[int, int]):
    whole, (short, long) = torch.tensor(sizes), sorted(ends)
    ends_of = torch.full((2, len(sizes)), 1.0) * torch.tensor([[short], [long]])
    first = edits.span(whole, seeds(len(sizes), seed), *ends_of)
    second = edits.span(whole, seeds(len(sizes), seed + 1), *ends_of, beside=first)
    for start, length in (first, second):
        assert (start >= 0).all() and (start + length <= whole).all()
        assert (length >= whole.clamp(max=short)).all() and (length <= whole.clamp(max=long)).all()
    assert (second[0] <= first[0] + first[1]).all() and (second[0] + second[1] >= first[0]).all()


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (1, 1)])
def test_lengths_have_the_moments_of_the_beta_distribution(shape: tuple[int, int]):
    count, (a, b) = 20000, shape
    whole = torch.full((count,), 10000)
    start, length = edits.span(whole, seeds(count, 2), torch.full((count,), 0.0), torch.full((count,), 5000.0), shape)
    share = length / 5000
    assert abs(share.mean() - a / (a + b)) < 0.01
    assert abs(share.var() - a * b / ((a + b) ** 2 * (a + b + 1))) < 0.002
    assert abs((start / (whole - length)).mean() - 0.5) < 0.01


def test_cut_leads_from_the_whole_text_to_the_part():
    whole, ends = torch.tensor([100]), (torch.tensor([20.0]), torch.tensor([20.0]))
    lengths = [edits.span(whole, seeds(1, 2), *ends, cut=cut)[1].item() for cut in (0.0, 0.25, 0.5, 1.0)]
    assert lengths == [100, 80, 60, 20]
    assert [edits.window(whole, seeds(1, 2), 20, cut)[1].item() for cut in (0.0, 0.5, 1.0)] == [100, 60, 20]
    assert edits.window(torch.tensor([7]), seeds(1, 2), 20) == (0, 7)


@pytest.mark.parametrize("name", EDITS)
def test_nothing_to_edit(name: str):
    wrap = name != "insert"
    assert plain(EDITS[name](batch([[], []], wrap), seeds(2, 1)), wrap) == [[], []]
    assert EDITS[name](torch.zeros(0, 3, dtype=torch.int64), seeds(0, 1)).shape[0] == 0
    ids = batch([[4, 5, 6]], wrap)
    before = ids.clone()
    EDITS[name](ids, seeds(1, 1))
    assert torch.equal(ids, before)
