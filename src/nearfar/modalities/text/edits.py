"""Random edits of texts as ids: (B, L) with -1 behind the end of each text, ids of tokens or of words.

The numbers of a row come from its own seed and from nothing else, so a text is edited alike in any batch, beside any
other texts, and whichever process does it.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

# Each edit has its own numbers, also where several act on one text.
_WINDOW, _LENGTH, _START, _SHUFFLE, _ORDER, _DELETE, _REPEAT, _COPIES, _INSERT, _POOL = range(10)
MASK, VARIANT, TYPO, LETTER, FILL, WORD, _REST = range(10, 17)  # also of the edits in other files


def seeds_of(views: int, rows: int, generator: torch.Generator) -> Tensor:
    """One seed for every view of every row, (V, B) int64: all the randomness that a batch takes from the generator."""
    return torch.randint(2**63 - 1, (views, rows), generator=generator, device=generator.device)


def seeds_of_tokens(tokens: Tensor, salt: int) -> Tensor:
    """One seed for every text of ids (B, L), -1 behind the end, from its ids and `salt` alone: int64 (B,).

    >>> one = seeds_of_tokens(torch.tensor([[5, 6, -1], [6, 5, -1]]), 3)
    >>> one.equal(seeds_of_tokens(torch.tensor([[5, 6], [6, 5]]), 3)), bool(one[0] == one[1])
    (True, False)
    """
    factors = torch.full((tokens.shape[1],), 0x27BB2EE687B0B0FD, device=tokens.device).cumprod(0)  # they wrap around
    return ((tokens + 1) * factors).sum(1) + factors.new_tensor(salt) * 0x2545F4914F6CDD1D


def uniform(seeds: Tensor, stream: int, width: int) -> Tensor:
    """Numbers in [0, 1), each from seed, stream and place alone.

    Args:
        seeds: int64 (B,).
        stream: which of the independent sequences of a seed.
        width: how many numbers; more of them leave the first ones as they are.

    Returns:
        float64 (B, width).

    Source: SplitMix64, Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".

    >>> uniform(torch.tensor([3, 4]), 0, 2)[1].equal(uniform(torch.tensor([4]), 0, 5)[0, :2])
    True
    """
    places = torch.arange(1, width + 1, device=seeds.device) + (stream << 32)
    mixed = seeds[:, None] + places * -0x61C8864680B583EB  # int64 products wrap around, as they should
    mixed = (mixed ^ _shifted(mixed, 30)) * -0x40A7B892E31B1A47
    mixed = (mixed ^ _shifted(mixed, 27)) * -0x6B2FB644ECCEEE15
    return _shifted(mixed ^ _shifted(mixed, 31), 11).double() / 2**53


def free(ids: Tensor, special: Collection[int] = ()) -> Tensor:
    """Which places may be edited, (B, L): those of a text that hold no special token."""
    inside = ids >= 0
    for one in special:
        inside &= ids != one
    return inside


def delete(ids: Tensor, seeds: Tensor, share: float, special: Collection[int] = ()) -> Tensor:
    """Leave out each token with probability `share`; one of every text always stays.

    >>> delete(torch.tensor([[101, 7, 8, 9, 102]]), torch.tensor([5]), 1.0, special=(101, 102)).shape
    torch.Size([1, 3])
    """
    drawn = uniform(seeds, _DELETE, ids.shape[1]).to(ids.device)
    open_ = free(ids, special)
    last = _ranks(1 - drawn, open_) == 0  # which stays: the one that a growing share would take last
    return _compact(ids, (ids >= 0) & (~open_ | (drawn >= share) | last))


def repeat(
    ids: Tensor, seeds: Tensor, rate: float, most: int = 10, special: Collection[int] = (), room: int | None = None
) -> Tensor:
    """Say some tokens twice in place: ``k ~ U{0, ..., K}`` different ones, ``K = min(most, n, max(2, floor(rate·n)))``.

    Args:
        ids: (B, L).
        seeds: (B,).
        rate: share of the n tokens of a text that are said twice at most, from 0 on; 0 repeats nothing.
        most: tokens that are said twice at most.
        special: ids that are neither repeated nor counted.
        room: length that no text outgrows; None for any.

    Source: Wu et al. 2022, ESimCSE; the limit of 10 is that of its code.

    >>> repeat(torch.tensor([[7, 8, 9]]), torch.tensor([1]), 1.0).tolist()
    [[7, 8, 8, 9]]
    """
    open_ = free(ids, special)
    count = open_.sum(1)
    limit = (count * rate).long().clamp(min=2).clamp(max=most).minimum(count) * (rate > 0)
    copies = (uniform(seeds, _COPIES, 1)[:, 0].to(ids.device) * (limit + 1)).long()
    if room is not None:
        copies = copies.minimum((room - (ids >= 0).sum(1)).clamp(min=0))
    return _grown(ids, _ranks(uniform(seeds, _REPEAT, ids.shape[1]).to(ids.device), open_) < copies[:, None], ids)


def insert(ids: Tensor, seeds: Tensor, share: float, pool: Tensor) -> Tensor:
    """Put one of `pool`, an int64 (M,), behind each token with probability `share`."""
    drawn = uniform(seeds, _INSERT, ids.shape[1]).to(ids.device)
    which = (uniform(seeds, _POOL, ids.shape[1]).to(ids.device) * len(pool)).long()
    return _grown(ids, (ids >= 0) & (drawn < share), pool[which])


def shuffle(ids: Tensor, seeds: Tensor, share: float, special: Collection[int] = ()) -> Tensor:
    """Choose each token with probability `share`, and deal those chosen over their places in random order.

    For an encoder that knows the order from position numbers alone, and for `share` 1, it is the shuffle of positions
    of Yan et al. 2021, ConSERT.
    """
    drawn = uniform(seeds, _SHUFFLE, ids.shape[1]).to(ids.device)
    chosen = free(ids, special) & (drawn < share)
    places = torch.argsort((~chosen).long(), dim=1, stable=True)
    order = torch.argsort(torch.where(chosen, uniform(seeds, _ORDER, ids.shape[1]).to(ids.device), 2.0), dim=1)
    taken = ids.gather(1, order)
    dealt = ids.scatter(1, places, taken)
    return torch.where(chosen, dealt, ids)


def mask(ids: Tensor, seeds: Tensor, share: float, by: int, special: Collection[int] = ()) -> Tensor:
    """Put the id `by` in the place of each token with probability `share`."""
    drawn = uniform(seeds, MASK, ids.shape[1]).to(ids.device)
    return ids.masked_fill(free(ids, special) & (drawn < share), by)


def crop(ids: Tensor, start: Tensor, length: Tensor, special: Collection[int] = ()) -> Tensor:
    """Keep tokens `start` to ``start + length - 1`` of each text, counted without special tokens, which all stay.

    >>> crop(torch.tensor([[101, 7, 8, 9, 102]]), torch.tensor([1]), torch.tensor([2]), (101, 102)).tolist()
    [[101, 8, 9, 102]]
    """
    open_ = free(ids, special)
    return _compact(ids, (ids >= 0) & (~open_ | _within(open_, start, length)))


def rest(
    ids: Tensor, start: Tensor, length: Tensor, seeds: Tensor, share: float = 1.0, special: Collection[int] = ()
) -> Tensor:
    """Leave out what `crop` would keep, of each text with probability `share`; a text of which it is all stays.

    >>> rest(torch.tensor([[7, 8, 9]]), torch.tensor([1]), torch.tensor([1]), torch.tensor([5])).tolist()
    [[7, 9]]
    """
    open_ = free(ids, special)
    drawn = uniform(seeds, _REST, 1)[:, 0].to(ids.device)
    away = _within(open_, start, length) & ((drawn < share) & (length < open_.sum(1)))[:, None]
    return _compact(ids, (ids >= 0) & ~away)


def span(
    whole: Tensor,
    seeds: Tensor,
    shortest: Tensor,
    longest: Tensor,
    shape: tuple[int, int] = (1, 1),
    cut: float = 1.0,
    beside: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Where a random part of each text begins, and how long it is.

    ``length = floor(x·longest + (1 - x)·shortest)`` with ``x ~ Beta(shape)``, at least 1 and at most the whole.

    Args:
        whole: int64 (B,), lengths of the texts.
        seeds: (B,).
        shortest: float (B,).
        longest: float (B,).
        shape: the two whole numbers of the Beta distribution; (1, 1) is uniform.
        cut: 1 takes that length, 0 the whole text, and values between a length between.
        beside: start and length of another span; this one then overlaps or touches it. None begins anywhere.

    Returns:
        Start and length, int64 (B,) each.

    Source: Giorgi et al. 2021, DeCLUTR (lengths, and `beside`); Izacard et al. 2022, Contriever (uniform).

    >>> span(torch.tensor([9]), torch.tensor([5]), torch.tensor([4.0]), torch.tensor([4.0]))
    (tensor([0]), tensor([4]))
    """
    first, second = shape
    # The a-th smallest of a + b - 1 uniform numbers has the distribution Beta(a, b).
    share = uniform(seeds, _LENGTH, first + second - 1).sort(1).values[:, first - 1].to(whole.device)
    drawn = share * longest.double() + (1 - share) * shortest.double()
    length = (cut * drawn + (1 - cut) * whole).floor().long().clamp(min=1).minimum(whole)
    low, high = torch.zeros_like(whole), whole - length
    if beside is not None:
        low = (beside[0] - length).clamp(min=0).minimum(high)
        high = high.minimum(beside[0] + beside[1]).maximum(low)
    return low + (uniform(seeds, _START, 1)[:, 0].to(whole.device) * (high - low + 1)).long(), length


def window(whole: Tensor, seeds: Tensor, size: int, cut: float = 1.0) -> tuple[Tensor, Tensor]:
    """Where a window of `size` begins in each text, and how long it is: the whole of a shorter text."""
    length = (cut * whole.clamp(max=size) + (1 - cut) * whole).floor().long()
    start = (uniform(seeds, _WINDOW, 1)[:, 0].to(whole.device) * (whole - length + 1)).long()
    return start, length


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shifted to the right, with zeros coming in also where int64 is negative."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _within(open_: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Which of the open places are those of a part."""
    place = open_.long().cumsum(1) - 1
    return open_ & (place >= start[:, None]) & (place < (start + length)[:, None])


def _ranks(drawn: Tensor, chosen: Tensor) -> Tensor:
    """The place of each number among those chosen in its row; the others come behind."""
    return torch.where(chosen, drawn, 2.0).argsort(1).argsort(1)


def _grown(ids: Tensor, where: Tensor, by: Tensor) -> Tensor:
    """One more id behind each of some places."""
    both, kept = torch.stack([ids, by], 2).flatten(1), torch.stack([ids >= 0, where], 2).flatten(1)
    return _compact(both, kept)


def _compact(ids: Tensor, kept: Tensor) -> Tensor:
    """The ids that are kept, moved up, in their order."""
    order = torch.argsort((~kept).to(torch.uint8), dim=1, stable=True)
    lengths = kept.sum(1)
    width = int(lengths.max()) if len(ids) else 0
    moved = ids.gather(1, order[:, :width])
    return moved.masked_fill(torch.arange(width, device=ids.device) >= lengths[:, None], -1)
