"""Arranging a batch: every way to say who is near, and every message where it cannot be understood."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nearfar.contrast import KeyRelation, WeightRelation, paired, same_key
from nearfar.contrast.arrange import arrange, check_views
from nearfar.objectives import InfoNCE, NTXent, SupCon


def rows(n: int, width: int = 3) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NTXent()(), "NTXent needs at least one tensor of rows"),
        (lambda: NTXent()(torch.zeros(3)), r"NTXent: view 1 must be a matrix \(N, D\), got \(3,\)"),
        (lambda: NTXent()(rows(3), [[1.0, 2.0, 3.0]] * 3), r"view 2 must be a matrix \(N, D\), got list"),
        (lambda: NTXent()(rows(3), rows(3, 4)), r"one width, got \[3, 4\]; project them to the same width first"),
        (lambda: NTXent()(rows(3), rows(4)), r"rows of the views must match one to one, got \[3, 4\] rows"),
        (lambda: NTXent()(rows(3)), "does not say who is near; pass a second view, ids=, labels= or relation="),
        (lambda: InfoNCE()(rows(3)), "InfoNCE: one tensor alone does not say who is near"),
        (
            lambda: InfoNCE()(rows(3), rows(3), rows(3)),
            "InfoNCE compares two views, got 3; pass all rows in one tensor",
        ),
        (lambda: NTXent()(rows(3), rows(3), ids=torch.arange(6)), r"ids must be one per row, got \(6,\) for 3 rows"),
        (lambda: SupCon()(rows(3), labels=torch.zeros(3, 1)), r"labels must be one per row, got \(3, 1\) for 3 rows"),
        (
            lambda: NTXent()(rows(3), rows(3), negatives=rows(4, 5)),
            r"negatives must be \(M, 3\) like the rows, got \(4, 5\)",
        ),
        (
            lambda: NTXent()(rows(3), rows(3), negatives=torch.zeros(3)),
            r"negatives must be \(M, 3\) like the rows, got \(3,\)",
        ),
        (
            lambda: NTXent()(rows(3), rows(3), negatives=rows(4), negative_ids=torch.arange(3)),
            r"negative_ids \(ids\) must be one per row, got \(3,\) for 4",
        ),
        (
            lambda: InfoNCE()(rows(3), rows(3), labels=[0, 1, 2], negatives=rows(4), negative_ids=torch.arange(3)),
            r"negative_ids \(labels\) must be one per row",
        ),
        (lambda: InfoNCE()(rows(3), rows(3), negative_ids=torch.arange(3)), "negative_ids without negatives"),
        (
            lambda: NTXent()(rows(3), relation=same_key(torch.arange(4))),
            r"relation is over \(4, 4\) anchors and candidates, the rows are \(3, 3\)",
        ),
        (
            lambda: NTXent()(rows(3), relation=same_key(torch.arange(3)), ids=torch.arange(3)),
            "already says who is near",
        ),
        (lambda: NTXent()(rows(3), rows(3), rows(3), relation=paired(3)), "over one tensor of rows or two, got 3"),
        (
            lambda: NTXent()(rows(3), rows(3), relation=same_key(torch.arange(3))),
            "over one set of rows.*pass one tensor",
        ),
        (
            lambda: NTXent()(
                rows(3), rows(3), relation=WeightRelation(lambda a, c: (a, c), torch.eye(3), symmetric=True)
            ),
            "over one set of rows",
        ),
    ],
)
def test_what_cannot_be_understood_says_why(call, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def near(made, over: str = "near") -> Tensor:  # type: ignore[no-untyped-def]
    shape = made.relation.shape
    return made.relation.weights(over, slice(0, shape[0]), slice(0, shape[1])).full(torch.empty(shape))


def made(layout: str, *views: Tensor, **how):  # type: ignore[no-untyped-def]
    names = ("ids", "labels", "relation", "negatives", "negative_ids")
    return arrange("Objective", layout, views, *(how.get(name) for name in names))


def test_one_set_of_rows_stays_one_tensor_and_is_seen_as_symmetric():
    for views in ((rows(4),), (rows(2), rows(2))):
        arranged = made("joint", *views, ids=torch.arange(len(views[0])) // (3 - len(views)))
        assert arranged.candidates is arranged.anchors and arranged.relation.symmetric


def test_two_views_of_a_cross_layout_stay_two():
    a, b = rows(3), rows(3)
    arranged = made("cross", a, b)
    assert arranged.anchors is a and arranged.candidates is b and not arranged.relation.symmetric
    assert torch.equal(near(arranged), torch.eye(3))


def test_views_that_are_kept_apart_are_far_within_a_view_alone():
    item, view = torch.tensor([0, 1, 2] * 3), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    same_item, same_view = item[:, None] == item, view[:, None] == view
    arranged = made("apart", rows(3), rows(3), rows(3))
    assert torch.equal(near(arranged) > 0, same_item & ~torch.eye(9).bool())
    assert torch.equal(near(arranged, "far") > 0, same_view & ~same_item)
    assert arranged.relation.complete and arranged.relation.symmetric
    assert not made("apart", rows(1), rows(1)).relation.complete  # no item but one
    assert torch.equal(
        near(made("apart", rows(3), ids=[1, 2, 1]), "far"), near(made("joint", rows(3), ids=[1, 2, 1]), "far")
    )


def test_candidates_that_are_held_take_no_gradient_and_leave_the_relation_of_others_alone():
    views = [rows(3).requires_grad_(), rows(3).requires_grad_()]
    arranged = made("joint", *views)
    held = arranged.held()
    assert held.anchors is arranged.anchors and not held.candidates.requires_grad
    assert torch.equal(held.candidates, arranged.candidates)
    assert arranged.relation.symmetric and not held.relation.symmetric
    assert torch.equal(near(held), near(arranged)) and torch.equal(near(held, "far"), near(arranged, "far"))


def test_lists_and_arrays_do_for_ids_and_labels():
    for ids in ([1, 2, 1], torch.tensor([1, 2, 1], dtype=torch.int32).numpy()):
        assert made("joint", rows(3), ids=ids).relation.counts().near.tolist() == [1, 0, 1]
    extra = made("joint", rows(3), ids=[1, 2, 1], negatives=rows(2), negative_ids=[1, 5])
    assert extra.relation.counts().near.tolist() == [2, 0, 2]


def test_labels_decide_where_ids_are_given_too():
    arranged = made("joint", rows(4), ids=torch.arange(4), labels=torch.tensor([0, 0, 1, 1]))
    assert arranged.relation.counts().near.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("layout", ["joint", "apart", "cross"])
@pytest.mark.parametrize("keys", [{}, {"ids": [5, 2, 9]}, {"labels": [-1, -1, -1]}, {"labels": [3, -1, 3]}])
def test_further_candidates_are_new_items_unless_ids_say_otherwise(layout: str, keys: dict):
    arranged = made(layout, rows(3), rows(3), negatives=rows(4), **keys)
    queue = arranged.candidates.shape[0] - 4
    known = torch.tensor([k >= 0 for k in keys.get("labels", [0, 0, 0])] * (len(arranged.anchors) // 3))
    assert not near(arranged)[:, queue:].any()
    assert torch.equal(near(arranged, "far")[:, queue:] > 0, known[:, None].expand(-1, 4))


def test_a_queue_of_nothing_changes_nothing():
    for layout in ("joint", "apart", "cross"):
        arranged, plain = made(layout, rows(3), rows(3), negatives=rows(3)[:0]), made(layout, rows(3), rows(3))
        assert torch.equal(near(arranged), near(plain)) and torch.equal(near(arranged, "far"), near(plain, "far"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64], ids=str)
def test_rows_are_widened_to_float32(dtype: torch.dtype):
    z = (rows(3) * 4).to(dtype)
    (seen,) = check_views("Objective", (z,))
    assert seen.dtype == torch.float32 and torch.equal(seen, z.float())
    assert (seen is z) == (dtype == torch.float32)


def test_double_precision_is_kept_and_shared():
    seen = check_views("Objective", (rows(3).double(), rows(3)))
    assert [v.dtype for v in seen] == [torch.float64, torch.float64]
    assert made("joint", rows(3).double(), rows(3), negatives=rows(2)).candidates.dtype == torch.float64
    assert made("cross", rows(3), rows(3), negatives=rows(2).double()).candidates.dtype == torch.float32


def test_a_relation_of_two_sets_may_be_over_the_same_rows():
    z, y = rows(4), torch.tensor([0, 0, 1, 1])
    arranged = made("joint", z, z.clone(), relation=KeyRelation(y, y.clone()))
    assert torch.equal(near(arranged), (y[:, None] == y[None, :]).float())
