"""Gates of pairs of classes, and turned copies that are near or far."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from judges.gated import classes, gated_pairs
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.contrast import Strategy
from nearfar.objectives import GatedPairs, NTXent, SupCon, drawn_partners, rotation_agnostic, turned_ids


def with_gates(seed: int = 7) -> GatedPairs:
    made = GatedPairs(classes=3, width=3, temperature=0.5).double()
    with torch.no_grad():
        made.gates.copy_(torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return made


@pytest.mark.parametrize("strategy", ["dense", Strategy("tiled", tile=3)], ids=["dense", "tiled"])
def test_gates_learn_as_the_oracle_says(strategy: str):
    loss, views = with_gates(), [rows(k, 7).requires_grad_() for k in range(2)]
    gates = loss.gates.detach().clone().requires_grad_()
    want = gated_pairs(*views, **classes(7), gates=gates)
    got = loss(*views, **classes(7), strategy=strategy)
    torch.testing.assert_close(got, want)
    for one, other in zip(
        torch.autograd.grad(got, [*views, loss.gates]), torch.autograd.grad(want, [*views, gates]), strict=True
    ):
        torch.testing.assert_close(one, other)
    assert torch.autograd.gradcheck(
        lambda a, b, g: torch.func.functional_call(loss, {"gates": g}, (a, b), {**classes(7), "strategy": strategy}),
        (*views, gates),
    )


def test_gates_are_the_same_from_both_sides_and_start_alike():
    loss = with_gates()
    assert torch.equal(loss.gate(0, 2), loss.gate(2, 0)) and not torch.equal(loss.gate(0, 1), loss.gate(0, 2))
    views, y = [rows(k, 6) for k in range(3)], torch.tensor([0, 1, 2, 0, 1, 1])
    plain = SupCon(average="exclusive", temperature=0.5)(*views, labels=y)
    torch.testing.assert_close(GatedPairs(classes=3, width=3, temperature=0.5).double()(*views, labels=y), plain)


def test_gates_find_the_dimensions_that_two_classes_share():
    """Classes 0..3 are two colours by two shapes, each factor in two dimensions of its own, and the rest is noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(4).repeat(16)
    colour, shape = y // 2, y % 2

    def view() -> Tensor:
        z = 0.3 * torch.randn(64, 6, generator=generator)
        z[:, :2] += torch.nn.functional.one_hot(colour, 2)
        z[:, 2:4] += torch.nn.functional.one_hot(shape, 2)
        return z

    loss = GatedPairs(classes=4, width=6, temperature=0.2)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.1)
    for step in range(80):
        partners = torch.where(torch.tensor(step % 2 == 0), y ^ 1, y ^ 2)  # of the same colour, of the same shape
        optimiser.zero_grad()
        loss(view(), view(), labels=y, partners=partners).backward()
        optimiser.step()
    with torch.no_grad():
        for a in range(4):
            same_colour, same_shape = loss.gate(a, a ^ 1), loss.gate(a, a ^ 2)
            assert same_colour[:2].min() > same_colour[2:].max()
            assert same_shape[2:4].min() > same_shape[[0, 1, 4, 5]].max()


def test_partners_are_classes_of_the_batch_one_for_each_class():
    y = torch.tensor([5, 2, 5, 9, 2, 9, 9])
    seen = set()
    for seed in range(30):
        partners = drawn_partners(y, torch.Generator().manual_seed(seed))
        by_class = {int(c): set(partners[y == c].tolist()) for c in y.unique()}
        assert all(len(p) == 1 and p <= {2, 5, 9} for p in by_class.values())
        seen |= {(c, *p) for c, p in by_class.items()}
    assert len(seen) == 9
    assert drawn_partners(y[:0]).shape == (0,)


def test_what_does_not_fit_is_refused():
    z, y = rows(0, 4), torch.tensor([0, 1, 2, 3])
    with pytest.raises(ValueError, match="classes run from 0 to 2, got 0 to 3"):
        GatedPairs(classes=3, width=3)(z, z, labels=y)
    with pytest.raises(ValueError, match=r"the same 4 rows, 5 wide, got \[\(4, 3\), \(4, 3\)\]"):
        GatedPairs(classes=4, width=5)(z, z, labels=y)
    with pytest.raises(ValueError, match="classes and width are at least 1"):
        GatedPairs(classes=0, width=3)


# Turned copies -------------------------------------------------------------------


@pytest.mark.parametrize("agnostic", [[True, True, True], [False, False, False], [True, False, True]])
def test_turned_copies_are_near_or_far_item_by_item(agnostic: list[bool]):
    a, b, turned = (normalize(rows(k, 3), dim=1) for k in range(3))
    candidates, values = torch.cat([a, b, turned]), []
    for i in range(6):
        s = (candidates @ candidates[i] / 0.5).tolist()
        near = [(i + 3) % 6] + ([6 + i % 3] if agnostic[i % 3] else [])
        bottom = sum(math.exp(s[j]) for j in range(9) if j != i)
        values.append(sum(math.log(bottom) - s[j] for j in near) / len(near))
    ids = torch.tensor([2, 9, 4])
    loss = NTXent(temperature=0.5)
    got = loss(a, b, ids=ids, negatives=turned, negative_ids=turned_ids(ids, torch.tensor(agnostic)))
    assert float(got) == pytest.approx(sum(values) / 6)
    if not any(agnostic):
        torch.testing.assert_close(got, loss(a, b, negatives=turned))  # further far rows and no more


def test_ids_of_far_copies_are_of_no_item_of_the_batch():
    ids = torch.tensor([0, 3, 1, 3])
    made = turned_ids(ids, torch.tensor([False, False, True, False]))
    assert made[2] == 1 and not set(made[[0, 1, 3]].tolist()) & set(ids.tolist()) and made[1] == made[3]
    assert turned_ids(ids[:0], torch.zeros(0, dtype=torch.bool)).shape == (0,)


def test_ids_of_far_copies_are_of_no_item_of_another_process():
    """Two shares of a batch: what is above all ids of the first is an item of the second."""
    shares, far = torch.tensor([[0, 3], [4, 9]]), torch.zeros(2, dtype=torch.bool)
    made = torch.cat([turned_ids(share, far) for share in shares])
    assert len(set(made.tolist())) == 4 and not set(made.tolist()) & set(shares.flatten().tolist())


def test_entropy_at_the_threshold_decides():
    """Two answers alike and two out of the question: log 2 is half of log 4, below the threshold by 0.2."""
    half = torch.tensor([0.0, 0.0, -50.0, -50.0]).expand(1, 4, 4)
    assert not rotation_agnostic(half) and rotation_agnostic(half, above=-0.01)
    mixed = torch.cat([half[:, :2], torch.zeros(1, 2, 4)], 1)  # the mean of log 2 and log 4 is log 2 + 0.347
    assert rotation_agnostic(mixed) and not rotation_agnostic(mixed, above=0.35)


def test_round_digits_are_agnostic_more_often_than_others():
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    images, y = torch.tensor(digits.images).float() / 16, torch.tensor(digits.target)
    turned = torch.stack([torch.rot90(images, k, (1, 2)).flatten(1) for k in range(4)], 1)  # (N, 4, 64)
    answers = torch.arange(4).expand(len(images), 4)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(turned).flatten(0, 1), answers.flatten()).backward()
        optimiser.step()
    agnostic = rotation_agnostic(net(turned), above=-0.3).float()  # a small net is sure of most
    assert agnostic[(y == 0) | (y == 8)].mean() > 2 * agnostic[(y == 4) | (y == 7)].mean()
