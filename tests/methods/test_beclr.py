"""A batch enhanced by a clustered memory: its loss by plain loops, what is remembered, and that it learns."""

from __future__ import annotations

import math
from unittest.mock import Mock

import pytest
import torch
from test_recipes import batch, made, step, unit
from torch import Tensor

from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.methods.beclr import BECLR

SMALL = {"queue": 16, "prototypes": 3, "neighbours_from": 0.0}
F64 = torch.float64


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def told(seen: list[dict[str, Tensor]], memory: list[list[list[Tensor]]], pairs: list[tuple[int, int]]) -> float:
    """Minus the mean cosine of predictions with targets of other views and what the memory has beside each."""
    total, count = 0.0, 0
    for i, j in pairs:
        for n, prediction in enumerate(unit(seen[i]["prediction"]).tolist()):
            for target in [unit(seen[j]["target"])[n].tolist(), *(row.tolist() for row in memory[j][n])]:
                total, count = total - dot(prediction, target), count + 1
    return total / count


def spread(seen: list[dict[str, Tensor]], ids: list[int], temperature: float) -> float:
    """log mean exp(cos / t) over pairs of rows of different items."""
    rows = [(item, row) for view in seen for item, row in zip(ids, unit(view["projection"]).tolist(), strict=True)]
    found = [math.exp(dot(a, b) / temperature) for one, a in rows for other, b in rows if one != other]
    return math.log(sum(found) / len(found))


def projections(views: int = 2, rows: int = 5) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    names = ("projection", "prediction", "target")
    return [{name: torch.randn(rows, 3, dtype=F64, generator=generator) for name in names} for _ in range(views)]


def test_without_neighbours_it_is_byol_and_the_uniformity_of_different_items():
    method, seen, ids = (
        made("beclr", neighbours=0, uniform_weight=0.3, temperature=0.5, **SMALL),
        projections(),
        [4, 0, 4, 9, 2],
    )
    said = method.contrast(seen, Batch([torch.zeros(5, 1)] * 2, torch.tensor(ids)))
    byol = made("byol").contrast(seen, Batch([torch.zeros(5, 1)] * 2, torch.tensor(ids))).loss / 2 - 1
    assert said.terms["regression"].item() == pytest.approx(byol.item())
    assert said.terms["regression"].item() == pytest.approx(told(seen, [[[]] * 5] * 2, [(0, 1), (1, 0)]))
    assert said.loss.item() == pytest.approx(byol.item() + 0.3 * spread(seen, ids, 0.5))
    assert said.chance == 0


def test_the_uniformity_is_the_published_one_for_two_views_of_different_items():
    """exp(s / t) summed over all rows but the own two, which the published code masks and subtracts as two ones."""
    method, seen = made("beclr", neighbours=0, **SMALL), projections()
    z = unit(torch.cat([view["projection"] for view in seen]))
    shares = ((z @ z.T) * (1 - torch.eye(5, dtype=F64).repeat(2, 2)) / 2.0).exp().sum(1) - 2
    said = method.contrast(seen, Batch([torch.zeros(5, 1)] * 2, torch.arange(5)))
    assert said.terms["uniform"].item() == pytest.approx(0.1 * (shares / 8).mean().log().item())


def test_targets_are_joined_by_what_the_memory_holds_in_their_cluster_and_predictions_get_the_gradient():
    method, seen = made("beclr", neighbours=2, uniform_weight=0.0, **SMALL), projections(3)
    roles = ["whole", "whole", "small"]
    method.memory.push(torch.randn(16, 3, dtype=F64, generator=torch.Generator().manual_seed(5)), torch.arange(16))
    memory = [
        [method.memory.vectors[method.memory.alike(row[None], 2)[0]].unbind() for row in view["target"]]
        for view in seen
    ]
    seen[2]["prediction"].requires_grad_()
    said = method.contrast(seen, Batch([torch.zeros(5, 1)] * 3, torch.arange(5), roles=roles))
    assert said.loss.item() == pytest.approx(told(seen, memory, [(0, 1), (1, 0), (2, 0), (2, 1)]))
    said.loss.backward()
    alone = seen[2]["prediction"].grad.clone()
    seen[2]["prediction"].grad = None
    method.enhancing.fill_(False)
    method.contrast(seen, Batch([torch.zeros(5, 1)] * 3, torch.arange(5), roles=roles)).loss.backward()
    cosine = torch.cosine_similarity(alone.flatten(), seen[2]["prediction"].grad.flatten(), 0)
    assert float(cosine) < 0.99  # towards something else, not only by another length


def test_whole_views_by_the_teacher_are_remembered_after_the_step_and_count_when_their_time_has_come():
    method, data = made("beclr", neighbours=2, queue=32, prototypes=3, neighbours_from=0.5, afresh=0.3), batch(3)
    data.roles = ["whole", "whole", "small"]
    want = [unit(method.teacher(data.views[j])) for j in (0, 1)]
    counted = []
    for number in range(6):
        seen = [method.project(view) for view in data.views]
        method.contrast(seen, data)
        counted.append(method._enhanced(unit(seen[0]["target"])).shape[1])
        method.after_step(number, 6)
        if number == 0:
            assert torch.equal(method.memory.ids[:16], torch.arange(8).repeat(2)) and not method.memory.begun
            torch.testing.assert_close(method.memory.vectors[:16], torch.cat(want))
        assert method.memory.begun == (number > 0)
    assert counted == [1, 1, 1, 3, 3, 3]


@pytest.mark.parametrize(("afresh", "want"), [(0.3, [0, 1, 1, 2, 2, 3]), (0.0, [0] * 6), (1.0, [0] * 5 + [1])])
def test_clusters_are_found_afresh_after_their_share_of_the_steps(
    afresh: float, want: list[int], monkeypatch: pytest.MonkeyPatch
):
    method, cluster, called = made("beclr", neighbours=2, afresh=afresh, **SMALL), Mock(), []
    method.memory.push(torch.randn(16, 3, dtype=F64), torch.arange(16))
    monkeypatch.setattr(method.memory, "cluster", cluster)
    for number in range(6):
        step(method, batch(), number, 6)
        called.append(cluster.call_count)
    assert called == want


def test_the_student_does_not_see_the_same_places_of_all_pictures_and_others_in_the_next_step():
    method = made("beclr", covered=0.25, **SMALL)
    rows = torch.ones(3, 2, 28, 28, dtype=F64)
    shown = method._shown(rows)
    assert torch.equal(shown, method._shown(rows)) and torch.equal(shown, shown[:1, :1].expand_as(shown))
    assert (shown == 0).double().mean() == 49 / 196
    patches = shown[0, 0].reshape(14, 2, 14, 2).transpose(1, 2).reshape(196, 4)
    assert bool((patches == patches[:, :1]).all())
    method.draws.after_step(0)
    assert not torch.equal(shown, method._shown(rows))
    small = batch().views[0]
    assert not torch.equal(method._shown(small), small)
    torch.testing.assert_close(method.project(small)["target"], method.teacher(small))


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"covered hides places of pictures .* \(8, 4\)"):
        made("beclr", covered=0.1, **SMALL)._shown(torch.zeros(8, 4))
    with pytest.raises(ConfigError, match="a memory of 16 rows has no 20 neighbours"):
        made("beclr", neighbours=20, **SMALL)


def test_its_clusters_are_of_classes_that_it_is_not_told():
    """Rows of four groups in noise: neighbours of a target in its cluster are mostly of its own group."""
    torch.manual_seed(0)
    centres, labels = 2 * torch.randn(4, 9, dtype=F64), torch.arange(64) % 4
    items = centres[labels] + torch.randn(64, 9, dtype=F64)
    method = made("beclr", queue=128, prototypes=8, neighbours=3, projection=8)
    assert isinstance(method, BECLR)
    optimiser = torch.optim.Adam(method.parameters(), lr=0.01)
    for number in range(30):
        ids = torch.randperm(64)[:32]
        views = [(items[ids] + 0.5 * torch.randn(32, 9)).view(32, 1, 3, 3) for _ in range(2)]
        optimiser.zero_grad()
        method.contrast([method.project(view) for view in views], Batch(views, ids)).loss.backward()
        optimiser.step()
        method.after_step(number, 30)
    found = method.memory.alike(method.memory.vectors, 4)[:, 1:]  # the first is the row itself
    same = labels[method.memory.ids[found]] == labels[method.memory.ids][:, None]
    assert same.double().mean() > 0.7
