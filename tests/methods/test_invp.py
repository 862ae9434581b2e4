"""Invariance propagation: its two losses by plain loops, its bank, what it reaches, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from test_recipes import batch, made, step, unit
from torch import Tensor

from nearfar.data.batch import Batch
from nearfar.methods.invp import InvP, InvPOptions


def prepared(**options: object) -> InvP:
    """Ten items of which all have a vector and two links, and walks that count."""
    method = made("invp", items=10, links=2, walk=2, walk_from=0.0, temperature=0.5, **options)
    method.bank.vectors.copy_(unit(torch.randn(10, 3, dtype=torch.float64)))
    method.bank.link(method.bank.vectors, torch.arange(10))
    return method


def by_hand(view: Tensor, ids: list[int], method: InvP) -> tuple[float, float]:
    """-log of the own item's share of the bank, and of the share of the hardest reached ones of the bank without it."""
    bank, links = method.bank.vectors.tolist(), method.bank.links.tolist()
    itself = beyond = 0.0
    for row, item in zip(unit(view).tolist(), ids, strict=True):
        cosine = [sum(a * b for a, b in zip(row, vector, strict=True)) for vector in bank]
        share = [math.exp(value / 0.5) for value in cosine]
        first = links[item]
        reached = [other for other in first + [b for a in first for b in links[a]] if other != item]
        hardest = sorted(reached, key=lambda other: cosine[other])[: method.options.hardest]
        itself -= math.log(share[item] / sum(share))
        near = sum(share[other] for other in hardest) / len(hardest)
        beyond -= math.log(near / (sum(share) - share[item]))
    return itself / len(ids), beyond / len(ids)


@pytest.mark.parametrize("hardest", [1, 3, 50])
def test_the_loss_is_that_of_the_item_and_of_the_hardest_that_are_reached(hardest: int):
    method, ids = prepared(hardest=hardest), [3, 0, 7, 9]
    views = [torch.randn(4, 3, dtype=torch.float64) for _ in range(2)]
    said = method.contrast(views, Batch(views, torch.tensor(ids)))
    want = [by_hand(view, ids, method) for view in views]
    itself, beyond = (sum(values) / 2 for values in zip(*want, strict=True))
    assert said.loss.item() == pytest.approx(itself + 0.6 * beyond, abs=1e-9)
    torch.testing.assert_close(torch.stack(list(said.terms.values())).sum(), said.loss)
    assert said.chance == pytest.approx(math.log(10) + 0.6 * math.log(9))
    method.walking.fill_(False)
    assert method.contrast(views, Batch(views, torch.tensor(ids))).loss.item() == pytest.approx(itself, abs=1e-9)


def test_an_item_that_no_walk_leads_away_from_counts_for_itself_alone():
    method = prepared()
    method.bank.links.copy_(torch.arange(10)[:, None].repeat(1, 2))
    views = [torch.randn(4, 3, dtype=torch.float64) for _ in range(2)]
    said = method.contrast(views, Batch(views, torch.arange(4)))
    method.walking.fill_(False)
    assert said.loss.item() == pytest.approx(method.contrast(views, Batch(views, torch.arange(4))).loss.item())


def test_items_are_linked_and_followed_by_the_mean_of_their_whole_views_after_the_step():
    method, data = made("invp", items=10, links=2, momentum=0.0), batch(3)
    data.roles = ["whole", "whole", "small"]
    vectors = method.bank.vectors.clone()
    projections = [method.project(view) for view in data.views]
    method.contrast(projections, data)
    assert torch.equal(method.bank.vectors, vectors)
    method.after_step(0, 10)
    mean = unit(unit(projections[0].detach()) + unit(projections[1].detach()))
    torch.testing.assert_close(method.bank.vectors[:8], mean)
    assert torch.equal(method.bank.vectors[8:], vectors[8:])
    cosine = mean @ vectors.T
    cosine[torch.arange(8), torch.arange(8)] = -2
    assert torch.equal(method.bank.links[:8], cosine.argsort(1, descending=True)[:, :2])


def test_walks_count_after_their_share_of_the_steps():
    method = made("invp", items=8, links=2, walk_from=0.5)
    terms = [set(step(method, batch(), number, 6).terms) for number in range(6)]
    assert [any(name.startswith("walk_") for name in said) for said in terms] == [False] * 3 + [True] * 3


def test_the_bank_has_room_for_all_ids_of_the_data():
    facts = {"items": 6, "largest_id": 40}
    assert InvPOptions().settled(facts).items == 41
    assert InvPOptions(items=50).settled(facts).items == 50


def test_purity_is_the_share_of_one_label_among_those_that_a_step_reaches():
    method = prepared()
    labels = torch.tensor([0, 0, 1, 1, 2, -1, 2, 0, 1, 0])
    links, newest, want = method.bank.links.tolist(), [[item] for item in range(10)], []
    for _ in range(3):
        newest = [[other for item in row for other in links[item]] for row in newest]
        pairs = [(labels[i], labels[j]) for i, row in enumerate(newest) for j in row if i != j]
        known = [bool(a == b) for a, b in pairs if a >= 0 and b >= 0]
        want.append(sum(known) / len(known))
    assert method.bank.purity(labels, 3) == pytest.approx(want)


def test_it_learns_classes_that_it_is_not_told():
    """Rows of four groups in noise: walks end in the own group far more often than by chance."""
    torch.manual_seed(0)
    centres, labels = 2 * torch.randn(4, 9, dtype=torch.float64), torch.arange(64) % 4
    items = centres[labels] + torch.randn(64, 9, dtype=torch.float64)
    method = made("invp", items=64, walk_from=0.3, projection=8)
    optimiser = torch.optim.Adam(method.parameters(), lr=0.01)
    losses = []
    for number in range(60):
        ids = torch.randperm(64)[:32]
        views = [(items[ids] + 0.5 * torch.randn(32, 9)).view(32, 1, 3, 3) for _ in range(2)]
        optimiser.zero_grad()
        said = method.contrast([method.project(view) for view in views], Batch(views, ids))
        said.loss.backward()
        optimiser.step()
        method.after_step(number, 60)
        losses.append(said.loss.item())
    assert losses[15] < losses[0]
    assert min(method.bank.purity(labels, 3)) > 0.7
