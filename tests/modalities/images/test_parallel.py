"""Pieces side by side are the pieces one after another."""

from __future__ import annotations

import threading

import pytest
import torch

from nearfar.modalities.images.parallel import side_by_side
from nearfar.modalities.images.views import ImageViews

PIECES = [slice(i, i + 3) for i in range(0, 20, 3)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_piece_is_worked_on_once_without_gradients(threads: int):
    out = torch.zeros(20)

    def work(piece: slice) -> None:
        assert torch.is_inference_mode_enabled()
        out[piece] += torch.arange(20.0)[piece] + 1

    side_by_side(work, PIECES, threads)
    assert torch.equal(out, torch.arange(20.0) + 1)


def test_several_threads_are_at_work_and_each_computes_by_itself():
    seen: set[tuple[str, int]] = set()
    together = threading.Barrier(2, timeout=20)  # passed only when two pieces are in work at the same time

    def work(piece: slice) -> None:
        together.wait()
        seen.add((threading.current_thread().name, torch.get_num_threads()))

    side_by_side(work, PIECES[:4], 2)
    assert len(seen) == 2 and {count for _, count in seen} == {1}


def test_the_first_failure_is_raised_when_all_have_ended():
    done = []

    def work(piece: slice) -> None:
        if piece.start in (3, 9):
            raise ValueError(f"piece {piece.start}")
        done.append(piece.start)

    with pytest.raises(ValueError, match="piece 3"):
        side_by_side(work, PIECES, 2)
    assert sorted(done) == [0, 6, 12, 15, 18]


@pytest.mark.parametrize("size", [32, 160])
def test_views_are_the_same_with_any_number_of_threads(size: int):
    rows = torch.randint(0, 256, (70, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    views = ImageViews(size=size, channels=3, recipe="simclr")
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(views(rows, torch.Generator().manual_seed(0)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
