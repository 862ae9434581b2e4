"""Labelled rows compared with each other: any objective, a memory of earlier batches, far rows that are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from test_recipes import IDS, A, B, Y, batch, made, step
from torch import Tensor

from nearfar.data import Batch
from nearfar.errors import ConfigError
from nearfar.methods.compared import over_rows
from nearfar.methods.proxy import PROXIED
from nearfar.objectives import Circle, catalogue

PLAIN = [name for name in over_rows() if name != "ConR"]  # it takes targets, not labels


# Any objective -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "loss"),
    [
        ("supcon", {"objective": "Circle"}, 91.006061),
        ("supcon", {"objective": "MultiSimilarity"}, 1.112506),
        ("supcon", {"objective": "LiftedStructure"}, 5.081963),
        ("triplet", {"objective": "BoundaryMargin"}, 0.471279),
        ("triplet", {"objective": "BoundaryMargin", "boundary": 1.2}, 0.471279),
        ("triplet", {"objective": "FastAP"}, 0.532772),
    ],
)
def test_the_values_are_the_published_ones_by_any_objective(name: str, options: dict, loss: float):
    said = made(name, **options).contrast([A, B], Batch([A, B], IDS, Y))
    assert said.loss.item() == pytest.approx(loss, abs=1.1e-6)


@pytest.mark.parametrize("objective", PLAIN)
def test_every_objective_over_labelled_rows_makes_a_step(objective: str):
    for name in ("supcon", "triplet"):
        method = made(name, objective=objective)
        assert type(method.objective) is catalogue()[objective]
        step(method, batch()).loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in method.encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("objective", PROXIED)
def test_every_objective_with_proxies_moves_the_proxies(objective: str):
    method = made("proxy", objective=objective, classes=3)
    each = {"SubCentreArcFace": 3, "SoftTriple": 10}.get(objective, 1)
    assert len(method.proxies) == 3 * each and method.objective.config()["objective"] == objective
    said = step(method, batch())
    said.loss.backward()
    assert torch.isfinite(said.loss) and bool(method.proxies.grad.any())


def test_proxies_of_a_class_stand_next_to_each_other():
    method = made("proxy", objective="SoftTriple", centres=2, classes=2, temperature=1.0, margin=0.0)
    with torch.no_grad():
        method.proxies.copy_(torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1.0]]))
    a = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    said = method.contrast([a], Batch([a], IDS[:1], Y[:1]))
    own = math.exp(10) / (math.exp(10) + 1)  # softmax of 1 / 0.1 and 0, times cosines 1 and 0
    assert said.loss.item() == pytest.approx(math.log1p(math.exp(-own)), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("supcon", {"objective": "NTXent"}, "no objective 'NTXent' over labelled rows; there are TripletAll"),
        ("supcon", {"objective": "Circle", "average": "inside"}, "Circle takes no average; leave out"),
        ("supcon", {"average": "sideways"}, "'outside', 'inside' or 'exclusive'"),
        ("supcon", {"memory": 8, "far_drawn": 2}, "leave out memory or far_drawn"),
        ("triplet", {"boundary": 1.0}, "TripletSemiHard takes no boundary"),
        ("proxy", {"objective": "Circle"}, "no objective 'Circle' with proxies; there are ProxyNCA, ProxyAnchor"),
        ("proxy", {"objective": "ProxyNCA", "margin": 0.2}, "ProxyNCA takes no margin"),
        ("proxy", {"objective": "ArcFace", "own": False}, "ArcFace takes no own"),
        ("proxy", {"centres": 2}, "ProxyNCA takes one proxy of each class; leave out centres = 2"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_named(name: str, wrong: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        made(name, **wrong)


def test_what_is_unset_is_as_the_objective_has_it():
    assert made("supcon", objective="Circle").objective.temperature == Circle().temperature
    assert made("triplet", objective="Circle").objective.margin == Circle().margin
    assert made("supcon", objective="Circle", temperature=0.5).objective.temperature == 0.5
    assert made("proxy").objective.temperature == pytest.approx(1 / 9)
    again = made("triplet").options.with_(views=3)  # as from the configuration of a run
    assert again.objective == "TripletSemiHard" and again.made().margin == 0.2


# Memory ------------------------------------------------------------------------


def supcon(rows: Tensor, labels: list[int], held: Tensor, held_labels: list[int], t: float = 0.1) -> float:
    """SupCon of the rows against themselves and what is held, as loops."""
    unit = torch.nn.functional.normalize(torch.cat([rows, held]), dim=1).tolist()
    every, values = labels + held_labels, []
    for i in range(len(rows)):
        s = [sum(x * y for x, y in zip(unit[i], other, strict=True)) / t for other in unit]
        others = [j for j in range(len(every)) if j != i]
        near = [s[j] for j in others if every[j] == labels[i]]
        if near:
            values.append(math.log(sum(math.exp(s[j]) for j in others)) - sum(near) / len(near))
    return sum(values) / len(values)


def test_rows_of_earlier_batches_are_candidates_with_their_labels():
    method, data = made("supcon", memory=20), [batch(), batch(rows=6)]
    labels = [2 * each.labels.tolist() for each in data]
    first = [method.project(view) for view in data[0].views]
    said = method.contrast(first, data[0])
    plain = made("supcon")
    torch.testing.assert_close(said.loss, plain.contrast(first, data[0]).loss)  # nothing is held yet
    method.after_step(0, 10)
    held = torch.cat(first).detach()
    assert len(method.memory) == 16 and sorted(method.memory.rows()[1].tolist()) == sorted(labels[0])
    second = [method.project(view).detach().requires_grad_() for view in data[1].views]
    said = method.contrast(second, data[1])
    want = supcon(torch.cat(second).detach(), labels[1], held, labels[0])
    assert said.loss.item() == pytest.approx(want, abs=1e-9)
    said.loss.backward()
    assert all(bool(rows.grad.any()) for rows in second) and method.memory.vectors.grad is None
    method.after_step(1, 10)
    assert len(method.memory) == 20 and method.state_dict()["memory.vectors"].shape == (20, 3)


def test_the_memory_begins_when_it_is_to_begin_and_holds_nothing_unseen():
    method = made("triplet", memory=30, memory_from=3)
    for number, held in enumerate([0, 0, 16, 30]):
        step(method, batch(), number)
        assert len(method.memory) == held
    assert made("supcon").memory is None


def test_any_objective_takes_the_memory():
    for objective in PLAIN:
        method = made("supcon", objective=objective, memory=16)
        for number in range(2):
            said = step(method, batch(), number)
        assert torch.isfinite(said.loss)


# Far rows that are drawn -------------------------------------------------------


def test_far_rows_are_drawn_anew_at_each_step_and_the_same_again_after_an_interruption():
    method, data = made("triplet", objective="TripletAll", far_drawn=1), batch()
    projections = [method.project(view).detach() for view in data.views]
    losses = []
    for number in range(6):
        losses.append(method.contrast(projections, data).loss.item())
        method.after_step(number, 10)
    assert len(set(losses)) > 3
    other = made("triplet", objective="TripletAll", far_drawn=1)
    step(other, data, 3)
    assert int(other.state_dict()["steps"]) == 4
    assert other.contrast(projections, data).loss.item() == losses[4]


def test_each_row_has_so_many_far_ones_and_all_its_near_ones():
    method, data = made("triplet", far_drawn=3, drawn_by="uniform"), batch()
    counts = {}

    def seen(*rows: Tensor, relation) -> None:
        counts["near"], counts["far"] = relation.counts().near.tolist(), relation.counts().far.tolist()

    method.judged = seen
    method.contrast([method.project(view) for view in data.views], data)
    sizes = torch.bincount(data.labels)
    assert counts["far"] == [3] * 16
    assert counts["near"] == [2 * int(sizes[y]) - 1 for y in data.labels] * 2


def test_classes_learn_with_a_memory_and_with_a_learned_boundary():
    torch.manual_seed(0)
    centres = torch.eye(4, 9)
    rows = (centres.repeat(16, 1) + 0.3 * torch.randn(64, 9)).view(64, 1, 3, 3)
    labels = torch.arange(4).repeat(16)
    for name, options in (
        ("supcon", {"objective": "MultiSimilarity", "memory": 128}),
        ("triplet", {"objective": "BoundaryMargin", "boundary": 1.0, "far_drawn": 8}),
    ):
        method = made(name, projection=8, **options).float()
        optimiser = torch.optim.Adam(method.parameters(), lr=0.01)
        for number in range(60):
            optimiser.zero_grad()
            method.contrast([method.project(rows)] * 2, Batch([rows] * 2, torch.arange(64), labels)).loss.backward()
            optimiser.step()
            method.after_step(number, 60)
        z = torch.nn.functional.normalize(method.project(rows), dim=1)
        nearest = (z @ z.T).fill_diagonal_(-2).argmax(1)
        assert float((labels[nearest] == labels).float().mean()) > 0.95
