"""Near rows found by walking over links, and the bank whose links they are."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.errors import ConfigError
from nearfar.models import LinkedBank
from nearfar.objectives import InfoNCE, SupCon, propagated


def filled(vectors: Tensor, links: int, momentum: float = 0.0) -> LinkedBank:
    bank = LinkedBank(len(vectors), vectors.shape[1], links, momentum)
    ids = torch.arange(len(vectors))
    bank.follow(vectors, ids)
    bank.link(vectors, ids)
    return bank


def test_vectors_follow_their_rows_and_stay_of_unit_length():
    torch.manual_seed(0)
    bank = LinkedBank(5, 4, momentum=0.75)
    before, seen, ids = bank.vectors.clone(), rows(0, 2, 4).float(), torch.tensor([3, 1])
    bank.follow(seen, ids)
    for row, item in zip(seen, ids.tolist(), strict=True):
        want = 0.75 * before[item] + 0.25 * row / row.norm()
        torch.testing.assert_close(bank.vectors[item], want / want.norm())
    assert torch.equal(bank.vectors[[0, 2, 4]], before[[0, 2, 4]])


def test_links_are_the_nearest_others_and_those_of_others_stay():
    vectors = rows(1, 9, 3).float()
    bank = filled(vectors, 3)
    cosine = (normalize(vectors, dim=1) @ normalize(vectors, dim=1).T).fill_diagonal_(-2)
    assert torch.equal(bank.links, cosine.argsort(1, descending=True)[:, :3])
    old = bank.links.clone()
    bank.link(-vectors[:1], torch.tensor([0]))
    assert not torch.equal(bank.links[0], old[0]) and torch.equal(bank.links[1:], old[1:])


def test_a_walk_reaches_neighbours_of_neighbours_as_often_as_paths_lead_there():
    bank = filled(rows(2, 12, 3).float(), 2)
    links = bank.links.tolist()
    for item in range(12):
        first = links[item]
        second = [b for a in first for b in links[a]]
        third = [c for b in second for c in links[b]]
        got = bank.walk(torch.tensor([item]), steps=3)[0].tolist()
        assert sorted(got) == sorted(first + second + third) and len(got) == 2 + 4 + 8


def test_walks_stay_inside_a_cluster_though_a_bridge_leads_out():
    """Two tight clusters and one item between them: more than 95 of 100 of those reached are of the own cluster."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    clusters = centres.repeat_interleave(40, 0) + 0.02 * torch.randn(80, 3, generator=generator)
    bank = filled(torch.cat([clusters, centres.mean(0, keepdim=True)]), 4)
    reached = bank.walk(torch.arange(80), steps=3)
    assert reached.shape == (80, 84)
    inside = (reached < 40) == (torch.arange(80) < 40)[:, None]
    assert float((inside & (reached < 80)).float().mean()) > 0.95


def test_before_anything_was_linked_an_item_leads_to_itself():
    bank = LinkedBank(6, 2, links=2)
    assert bank.walk(torch.tensor([4]), steps=2).tolist() == [[4] * 6]
    assert "links" in bank.state_dict() and "vectors" in bank.state_dict()
    for links in (0, 6):
        with pytest.raises(ConfigError, match=f"each of 6 items is linked to 1 to 5 others, not to {links}"):
            LinkedBank(6, 2, links=links)


@pytest.mark.parametrize("hardest", [3, 8, 100])
@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_the_loss_is_that_of_the_paper(hardest: int, strategy: str):
    vectors, ids = rows(3, 15, 4), torch.tensor([4, 0, 11])
    bank = filled(vectors.float(), 3)
    z = rows(4, 3, 4).requires_grad_()
    reached = bank.walk(ids, steps=3)
    cosine = normalize(z, dim=1) @ normalize(vectors, dim=1).T
    own, hard = [], []
    for i, item in enumerate(ids.tolist()):
        e = (cosine[i] / 0.2).exp()
        own.append(-(e[item] / e.sum()).log())
        near = sorted((j for j in reached[i].tolist() if j != item), key=lambda j: float(cosine[i, j].detach()))
        chosen = near[:hardest]
        hard.append(-(sum(e[j] for j in chosen) / (e.sum() - e[item])).log() + math.log(len(chosen)))
    for loss, relation_of, want in ((InfoNCE(temperature=0.2), 0, own),
                                    (SupCon(temperature=0.2, average="inside"), hardest, hard)):  # fmt: skip
        relation = propagated(z, vectors, ids, reached, relation_of)
        got, want = loss(z, vectors, relation=relation, strategy=strategy), sum(want) / 3
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            torch.autograd.grad(got, z, retain_graph=True)[0], torch.autograd.grad(want, z, retain_graph=True)[0]
        )


def test_a_row_whose_walk_leads_nowhere_does_not_count():
    z, vectors = rows(5, 2, 4), rows(6, 5, 4)
    reached = torch.tensor([[0, 0], [2, 0]])
    relation = propagated(z, vectors, torch.tensor([0, 1]), reached)
    assert relation.counts().near.tolist() == [0, 2] and relation.counts().far.tolist() == [4, 2]
    assert SupCon(average="inside").inspect(z, vectors, relation=relation).weight.tolist() == [0, 1]
