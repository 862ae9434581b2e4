"""What holds for objectives over many views of an item, beyond the battery."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.objectives import GroupOrdering, MultiViewDHEL, MultiViewInfoNCE, NTXent
from nearfar.objectives.ordering import kept_in_place


def many(views: int, n: int = 6) -> list[Tensor]:
    return [rows(60 + k, n) for k in range(views)]


# One term for each item ---------------------------------------------------------


def test_one_softmax_for_an_item_is_never_below_one_for_each_of_its_two_rows():
    views = many(2)
    assert float(MultiViewInfoNCE(temperature=0.2)(*views)) > float(NTXent(temperature=0.2)(*views))
    mirrored = [views[0], views[0] * torch.tensor([1.0, 1.0, -1.0])]  # each view sees of the other what it sees of it
    torch.testing.assert_close(MultiViewInfoNCE(temperature=0.2)(*mirrored), NTXent(temperature=0.2)(*mirrored))


def test_an_item_counts_once_however_many_rows_it_has():
    """Three rows of one item and two of each of two others: the mean is over items."""
    z, ids = rows(70, 7), torch.tensor([4, 4, 4, 1, 1, 9, 9])
    s = (normalize(z, dim=1) @ normalize(z, dim=1).T / 0.5).exp().fill_diagonal_(0)
    same = ids[:, None] == ids
    values = [-(s[ids == k][:, ids == k].sum() / s[ids == k].sum()).log() for k in (4, 1, 9)]
    torch.testing.assert_close(MultiViewInfoNCE()(z, ids=ids), torch.stack(values).mean())
    seen = MultiViewInfoNCE().inspect(z, ids=ids)
    assert seen.weight.tolist() == pytest.approx([1 / 3] * 3 + [1 / 2] * 4)
    assert seen.near_count.tolist() == (same.sum(1) - 1).tolist()


def test_the_spread_of_a_view_does_not_see_the_other_views():
    views = many(3)
    before = MultiViewDHEL().terms(*views)
    turned, _ = torch.linalg.qr(rows(80, 3))
    after = MultiViewDHEL().terms(views[0], views[1], views[2] @ turned)  # the third view is turned as a whole
    torch.testing.assert_close(after["spread"], before["spread"])
    assert abs(float(after["attract"] - before["attract"])) > 0.01


def test_a_queue_is_far_from_all_views():
    views, queue = many(2), rows(90, 4)
    seen = MultiViewDHEL().inspect(*views, negatives=queue)
    assert seen.far_count.tolist() == [5 + 4] * 12
    a, b, q = (normalize(x, dim=1) for x in (*views, queue))
    spread = [
        torch.cat([(v @ v.T / 0.5).fill_diagonal_(-torch.inf), v @ q.T / 0.5], 1).logsumexp(1).mean() for v in (a, b)
    ]
    torch.testing.assert_close(seen.terms["spread"], spread[0] + spread[1])


# Order of groups ------------------------------------------------------------------


def test_one_near_and_one_far_candidate_in_closed_form():
    a = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    b = torch.tensor([[0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    near, far = (a * b).sum(1), [float(a[0] @ a[1]), float(b[0] @ b[1])]
    values = [-math.log(0.5 + math.atan(float(p) - f) / math.pi) for f in far for p in near]
    assert float(GroupOrdering()(a, b)) == pytest.approx(sum(values) / 4)


@pytest.mark.parametrize("steepness", [10.0, 1e3, 1e5])
def test_a_steep_order_costs_nothing_where_it_is_right_and_much_where_it_is_wrong(steepness: float):
    z = torch.eye(5, dtype=torch.float64)
    loss = GroupOrdering(temperature=1 / steepness)
    assert 0 < float(loss(z, z, z)) < 3 / steepness
    assert float(loss(z[:2], -z[:2])) == pytest.approx(math.log(math.pi * steepness), rel=0.01)


def test_a_network_of_steep_swaps_sorts():
    x = torch.tensor([[3.0, 1.0, 2.0, 5.0, 4.0]], dtype=torch.float64)
    kept = kept_in_place(1e6 * x, 2)
    assert kept.round().tolist() == [[0, 1, 0, 1, 1]]  # 3 stands among the two lowest, 2 does not


def test_only_the_nearest_far_candidates_count():
    views = [torch.eye(6, dtype=torch.float64) + 0.2 * v for v in (rows(61, 6, 6), rows(62, 6, 6))]
    cosine = normalize(views[0], dim=1) @ normalize(views[0], dim=1).T
    last = int(cosine[0].argmin())
    moved = views[0].clone()
    moved[last] = -views[0][0]  # the farthest goes farther: row 0 sees its two nearest far ones as before
    one, other = (GroupOrdering(nearest=2).inspect(v, views[1]).per_anchor[0] for v in (views[0], moved))
    assert torch.equal(one, other)
    assert not torch.equal(*(GroupOrdering(nearest=5).inspect(v, views[1]).per_anchor[0] for v in (views[0], moved)))


def test_only_the_anchor_takes_a_gradient():
    views = [v.requires_grad_() for v in many(2)]
    anchor = GroupOrdering().inspect(*views)
    for k, view in enumerate(views):
        held = [v if j == k else v.detach() for j, v in enumerate(views)]
        (got,) = torch.autograd.grad(anchor.total, view, retain_graph=True)
        own = GroupOrdering(detach=False).inspect(*held)
        assert torch.equal(own.total.detach(), anchor.total.detach())
        assert not torch.allclose(got, torch.autograd.grad(own.total, view)[0])


def test_something_must_be_sorted():
    with pytest.raises(ValueError, match="nearest is how many far candidates are sorted"):
        GroupOrdering(nearest=0)
