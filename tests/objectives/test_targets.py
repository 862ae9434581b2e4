"""Near and far by continuous targets, and mixtures of rows."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from golden import A, B
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.contrast import Dot, Relation
from nearfar.objectives import ConR, NTXent, SupCon, by_targets, confused, mixtures

AGES = torch.tensor([30.0, 31.0, 35.0, 30.0, 60.0, torch.nan], dtype=torch.float64)


def seen(relation: Relation, over: str) -> Tensor:
    r, c = relation.shape
    return relation.weights(over, slice(0, r), slice(0, c)).full(torch.empty(r, c, dtype=torch.float64))


# Relations ----------------------------------------------------------------------


@pytest.mark.parametrize(("within", "growth"), [(0.0, 0.0), (0.0, 1.0), (4.0, 0.5)])
def test_a_threshold_says_who_is_near_and_distance_how_far(within: float, growth: float):
    relation = by_targets(AGES, within=within, growth=growth)
    near, far = seen(relation, "near"), seen(relation, "far")
    for i in range(6):
        for j in range(6):
            d = abs(float(AGES[i]) - float(AGES[j]))
            known = i != j and not math.isnan(d)
            assert near[i, j] == (1.0 if known and d <= within else 0.0)
            assert far[i, j] == (1 + growth * d if known and d > within else 0.0)
    assert relation.symmetric


def test_a_kernel_makes_a_pair_near_to_a_degree_and_far_to_the_rest():
    relation = by_targets(AGES, width=2.0)
    near, far = seen(relation, "near"), seen(relation, "far")
    assert near[0, 1] == pytest.approx(math.exp(-1 / 8)) and far[0, 1] == pytest.approx(1 - math.exp(-1 / 8))
    assert near[0, 3] == 1 and far[0, 3] == 0
    assert not near[5].any() and not far[5].any() and not near[:, 5].any() and not near.diagonal().any()


def test_targets_may_be_vectors_whole_numbers_and_of_other_candidates():
    places = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    far = 1 + torch.tensor([[-1, 5, -1], [5, -1, math.sqrt(18)], [-1, math.sqrt(18), -1]]).double()
    torch.testing.assert_close(seen(by_targets(places, within=1, growth=1), "far"), far, rtol=1e-6, atol=1e-6)
    assert seen(by_targets(torch.tensor([1, 2, 1]), within=0), "near").tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    other = by_targets(torch.tensor([1, 2]), torch.tensor([2, 1, 1]))
    assert seen(other, "near").tolist() == [[0, 1, 1], [1, 0, 0]] and not other.symmetric


def test_equal_targets_are_near_however_many_there_are():
    """Distances by way of products would not be 0 from some tens of rows on."""
    y = torch.rand(64, 3, generator=torch.Generator().manual_seed(0)) * 100
    assert torch.equal(seen(by_targets(y, y.clone()), "near"), torch.eye(64, dtype=torch.float64))


def test_different_targets_are_different_items():
    views = [rows(k, 5) for k in range(2)]
    y = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0])
    torch.testing.assert_close(SupCon()(torch.cat(views), relation=by_targets(y.repeat(2))), NTXent()(*views))


@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_rows_are_pushed_the_more_the_farther_their_targets_are(strategy: str):
    """SupReMix without mixtures: value and gradients by hand, as in the published loss, of rows of the fixture."""
    a, b, y = A.clone().requires_grad_(), B.clone().requires_grad_(), torch.tensor([1.0, 2.0, 4.0, 5.0]).repeat(2)
    relation = by_targets(y, growth=1.0)
    value = SupCon(temperature=0.5)(torch.cat([a, b]), relation=relation, strategy=strategy)
    value.backward()
    found = [value.item(), a.grad.norm().item(), b.grad.norm().item()]
    assert found == pytest.approx([2.458549, 0.430495, 0.409874], abs=1.1e-6)


@pytest.mark.parametrize("wrong", [{"within": -1.0}, {"growth": -0.1}, {"width": 0.0}])
def test_impossible_distances_are_refused(wrong: dict):
    with pytest.raises(ValueError, match="within and growth are 0 or more, width above 0"):
        by_targets(AGES, **wrong)
    with pytest.raises(ValueError, match=r"\(R,\) numbers or \(R, P\) vectors, got \(2, 2, 2\)"):
        by_targets(torch.zeros(2, 2, 2))


# ConR ----------------------------------------------------------------------------


def test_only_confused_rows_are_far_and_rare_ones_push_more():
    y, p = torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.tensor([1.0, 3.0, 3.5, 5.0])
    rarity = torch.tensor([1.0, 2.0, 3.0, 4.0])
    far = seen(confused(y, p, growth=0.1, rarity=rarity), "far")
    want = torch.zeros(4, 4, dtype=torch.float64)
    want[1, 2], want[2, 1] = 2 * math.exp(0.2), 3 * math.exp(0.2)
    torch.testing.assert_close(far, want, rtol=1e-6, atol=1e-6)
    assert confused(y, p).symmetric and not confused(y, p, rarity=rarity).symmetric


def test_predictions_that_are_right_cost_nothing_and_more_confusion_costs_more():
    z, y = rows(1, 8).requires_grad_(), torch.arange(8.0)
    assert float(ConR()(z, relation=confused(y, y)).detach()) == 0
    values = [float(ConR()(z, relation=confused(y, y * share)).detach()) for share in (0.9, 0.4, 0.0)]
    assert 0 == values[0] < values[1] < values[2]


def test_rare_rows_count_more_as_anchors_by_their_weights():
    z, y, p = rows(1, 4), torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.tensor([1.0, 3.0, 3.5, 5.0])
    rarity = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    relation = confused(y.double(), p.double(), rarity=rarity)
    each = ConR().inspect(z, relation=relation).per_anchor
    torch.testing.assert_close(ConR()(z, relation=relation, weights=rarity), (rarity * each).sum() / 10)


# Mixtures --------------------------------------------------------------------------


def mixed(n: int, window: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Relation]:
    y = torch.randint(0, 6, (n,), generator=torch.Generator().manual_seed(seed)).double()
    anchors, candidates, relation = mixtures(rows(seed, n, 4), y, window, torch.Generator().manual_seed(seed))
    return y, anchors, candidates, relation


def share_of(mixture: Tensor, one: Tensor, other: Tensor) -> float | None:
    """The share of `one` in a mixture with `other`; None where it is none of them."""
    along = one - other
    share = float((mixture - other) @ along / (along @ along))
    return share if torch.allclose(share * one + (1 - share) * other, mixture, atol=1e-9) else None


@pytest.mark.parametrize("window", [1.5, 3.0])
def test_a_row_meets_all_rows_and_its_own_mixtures(window: float):
    n = 12
    y, z, candidates, relation = mixed(n, window)
    near, far, sided = seen(relation, "near"), seen(relation, "far"), 0
    torch.testing.assert_close(candidates[:n], z)
    torch.testing.assert_close(near[:, :n], seen(by_targets(y), "near"))
    torch.testing.assert_close(far[:, :n], seen(by_targets(y, growth=1), "far"))
    for i in range(n):
        shares = {k: share_of(candidates[n + i], z[i], z[k]) for k in range(n) if k != i}
        ((k, share),) = [(k, s) for k, s in shares.items() if s is not None]
        assert y[k] != y[i] and 0 < share < 1
        assert float(far[i, n + i]) == pytest.approx(1 + (1 - share) * abs(float(y[i] - y[k])))
        below = [j for j in range(n) if 0 < y[i] - y[j] < window]
        above = [k for k in range(n) if 0 < y[k] - y[i] < window]
        if below and above:
            sided += 1
            found = [(j, k, share_of(candidates[2 * n + i], z[j], z[k])) for j in below for k in above]
            ((j, k, share),) = [f for f in found if f[2] is not None]
            assert share * y[j] + (1 - share) * y[k] == pytest.approx(float(y[i]))
        assert near[i, 2 * n + i] == (1.0 if below and above else 0.0)
        assert far[i, 2 * n + i] == 0 == near[i, n + i]
    assert 0 < sided < n
    others = ~torch.eye(n).bool()
    for start in (n, 2 * n):
        assert not near[:, start : start + n][others].any() and not far[:, start : start + n][others].any()


def test_shares_are_beta_and_partners_are_drawn_evenly():
    n = 3000
    y, z, candidates, _ = mixed(n, 2.0)
    # With rows at random in four dimensions the mixture's share follows from its length: it is that of one partner.
    shares, gaps = [], []
    for i in range(0, n, 20):
        along = z[i] - z
        share = ((candidates[n + i] - z) * along).sum(1) / along.square().sum(1)
        off = (share[:, None] * z[i] + (1 - share[:, None]) * z - candidates[n + i]).norm(dim=1)
        off[i] = torch.inf
        k = int(off.argmin())
        shares.append(float(share[k]))
        gaps.append(abs(float(y[k] - y[i])))
    assert sum(shares) / len(shares) == pytest.approx(0.2, abs=0.04)  # Beta(2, 8), four standard errors
    spread = sum((s - 0.2) ** 2 for s in shares) / len(shares)
    assert spread == pytest.approx(16 / 1100, rel=0.5)
    # Of targets 0 to 5, evenly: the mean distance of two that differ is 7 / 3.
    assert sum(gaps) / len(gaps) == pytest.approx(7 / 3, abs=0.4)


def test_mixtures_are_constants_and_the_loss_is_that_of_plain_loops():
    n = 6
    y = torch.tensor([1.0, 2.0, 2.0, 3.0, 5.0, 4.0], dtype=torch.float64)
    z = rows(3, n, 4).requires_grad_()
    anchors, candidates, relation = mixtures(z, y, 2.5, torch.Generator().manual_seed(1))
    assert not torch.autograd.grad(candidates[n:].sum() + 0 * anchors.sum(), z)[0].any()
    near, far = seen(relation, "near"), seen(relation, "far")
    values = []
    for i in range(n):
        e = [math.exp(float((anchors[i] @ candidates[j]).detach()) / 0.5) for j in range(3 * n)]
        bottom = sum(e[j] * (1 if near[i, j] > 0 else float(far[i, j])) for j in range(3 * n))
        p = [j for j in range(3 * n) if near[i, j] > 0]
        if p:
            values.append(sum(-math.log(e[j] / bottom) for j in p) / len(p))
    for strategy in ("dense", "tiled"):
        got = SupCon(similarity=Dot(), temperature=0.5)(anchors, candidates, relation=relation, strategy=strategy)
        assert float(got.detach()) == pytest.approx(sum(values) / len(values))


def test_rows_that_are_alone_or_all_alike_do_without_mixtures():
    for y in (torch.tensor([2.0]), torch.tensor([2.0, 2.0, 2.0]), torch.tensor([1.0, torch.nan])):
        _, candidates, relation = mixtures(rows(0, len(y), 4), y, 5.0)
        n = len(y)
        assert torch.isfinite(candidates).all() and candidates.shape == (3 * n, 4)
        assert not seen(relation, "near")[:, n:].any() and not seen(relation, "far")[:, n:].any()
    with pytest.raises(ValueError, match=r"one number per row, got \(2,\) for 3 rows"):
        mixtures(rows(0, 3, 4), torch.zeros(2), 5.0)
    empty, _, relation = mixtures(rows(0, 0, 4), torch.zeros(0), 5.0)
    assert empty.shape == (0, 4) and relation.shape == (0, 0)


def test_a_seed_gives_the_same_mixtures():
    one, other, third = (mixed(20, 2.0, 5)[2], mixed(20, 2.0, 5)[2], mixed(20, 2.0, 6)[2])
    assert torch.equal(one, other) and not torch.equal(one, third)
    assert not torch.equal(normalize(one[20:], dim=1), one[20:])  # they are not brought to unit length
