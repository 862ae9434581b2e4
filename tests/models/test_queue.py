from __future__ import annotations

import pytest
import torch

from nearfar.errors import ConfigError
from nearfar.models import Queue


def pushed(size: int, *batches: int) -> Queue:
    """A queue after batches of so many rows; row k of all holds k and is of item k."""
    queue, k = Queue(size, 1), 0
    for count in batches:
        items = torch.arange(k, k + count)
        queue.push(items[:, None].float(), items)
        k += count
    return queue


@pytest.mark.parametrize(
    ("size", "batches"),
    [(5, (2,)), (5, (2, 2, 2)), (5, (3, 3, 3, 3)), (4, (4,)), (4, (4, 4)), (3, (7,)), (3, (2, 8)), (1, (2, 1))],
)
def test_the_newest_rows_are_held_wherever_it_wraps(size: int, batches: tuple[int, ...]) -> None:
    queue, total = pushed(size, *batches), sum(batches)
    vectors, ids = queue.rows()
    assert len(queue) == min(size, total) == len(ids)
    assert sorted(ids.tolist()) == list(range(max(0, total - size), total))
    assert vectors[:, 0].tolist() == ids.tolist()


def test_the_pointer_says_where_the_next_row_goes() -> None:
    queue = pushed(5, 3)
    assert int(queue.pointer) == 3
    queue.push(torch.tensor([[7.0], [8.0], [9.0]]), torch.tensor([7, 8, 9]))
    assert int(queue.pointer) == 1
    assert queue.ids.tolist() == [9, 1, 2, 7, 8]


def test_empty_slots_are_no_candidates() -> None:
    queue = Queue(4, 2)
    vectors, ids = queue.rows()
    assert len(queue) == 0 and vectors.shape == (0, 2) and ids.shape == (0,)
    queries = torch.tensor([[-1.0, 0.0]])
    assert torch.equal(queue.nearest(queries), queries)  # nothing is held: the query stands for itself
    queue.push(torch.tensor([[1.0, 0.0]]), torch.tensor([3]))
    # The empty slots hold zeros, whose cosine of 0 would be larger than the -1 of the one vector.
    assert queue.nearest(queries).tolist() == [[1.0, 0.0]]


def test_the_nearest_is_by_cosine_and_takes_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    held, queries = torch.randn(9, 3, generator=generator), torch.randn(4, 3, generator=generator, requires_grad=True)
    queue = Queue(9, 3)
    queue.push(held, torch.arange(9))
    found = queue.nearest(queries)
    for query, got in zip(queries, found, strict=True):
        cosines = [float(torch.cosine_similarity(query.detach(), h, dim=0)) for h in held]
        assert torch.equal(got, held[cosines.index(max(cosines))])
    assert not found.requires_grad


def test_all_of_it_is_in_the_state() -> None:
    one, other = pushed(5, 3, 3), Queue(5, 1)
    other.load_state_dict(one.state_dict())
    for queue in (one, other):
        queue.push(torch.tensor([[40.0]]), torch.tensor([40]))
    assert torch.equal(one.ids, other.ids) and torch.equal(one.vectors, other.vectors) and len(other) == 5


def test_what_is_pushed_keeps_no_graph() -> None:
    queue = Queue(2, 2)
    queue.push(torch.ones(1, 2, requires_grad=True) * 2, torch.tensor([0]))
    assert not queue.vectors.requires_grad


def test_an_empty_queue_is_refused() -> None:
    with pytest.raises(ConfigError, match="size of 0"):
        Queue(0, 2)
