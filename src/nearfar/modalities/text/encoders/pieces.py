"""No wasted padding: a batch of texts is encoded in pieces of similar length."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

ROWS = 64  # texts in a piece at most


def lengths_of(tokens: Tensor) -> Tensor:
    """(B,) numbers of tokens of texts (B, L), which end where -1 begins.

    >>> lengths_of(torch.tensor([[7, 8, -1], [7, -1, -1], [-1, -1, -1]])).tolist()
    [2, 1, 0]
    """
    return (tokens >= 0).sum(1)


def pieces(lengths: Tensor, budget: int) -> Iterator[tuple[Tensor, int]]:
    """Rows that are encoded together, and the length of the longest of them, from the shortest texts to the longest.

    A piece holds at most `ROWS` texts and at most `budget` tokens with its padding, but one text at least.

    >>> [(rows.tolist(), longest) for rows, longest in pieces(torch.tensor([9, 2, 3, 8]), budget=18)]
    [([1, 2], 3), ([3, 0], 9)]
    """
    order = lengths.argsort(stable=True)
    sizes = lengths[order].clamp(min=1).tolist()
    start = 0
    while start < len(sizes):
        stop = start + 1
        while stop < len(sizes) and stop - start < ROWS and sizes[stop] * (stop + 1 - start) <= budget:
            # Not much longer than the shortest one, or padding would cost more than another piece.
            if sizes[stop] > 2 * sizes[start] + 8:
                break
            stop += 1
        yield order[start:stop], sizes[stop - 1]
        start = stop
