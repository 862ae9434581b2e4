"""Pieces of a batch side by side on the cores of a CPU: images are independent, and most operations on one short."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch


def side_by_side(work: Callable[[slice], None], pieces: Iterable[slice], threads: int) -> None:
    """Call `work` on every piece, in inference mode, in so many threads of which each computes by itself.

    Raises:
        Exception: what `work` raised first, in order of the pieces, once all of them have ended.
    """
    pieces = list(pieces)
    if threads < 2 or len(pieces) < 2:
        with torch.inference_mode():
            for piece in pieces:
                work(piece)
        return

    def alone(piece: slice) -> None:
        with torch.inference_mode():
            work(piece)

    waiting = [_workers(threads).submit(alone, piece) for piece in pieces]
    failures = [error for error in (one.exception() for one in waiting) if error is not None]
    if failures:
        raise failures[0]


@lru_cache(maxsize=1)
def _workers(threads: int) -> ThreadPoolExecutor:
    """Kept from batch to batch; the number of threads of torch is a thread's own."""
    return ThreadPoolExecutor(threads, "nearfar-pieces", initializer=torch.set_num_threads, initargs=(1,))
