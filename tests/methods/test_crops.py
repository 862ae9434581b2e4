"""Whole and small views: every method against a plain loop over views, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from test_recipes import F64, IDS, Raw, Y, made, unit
from torch import Tensor

from nearfar import methods
from nearfar.data.batch import Batch
from nearfar.methods.method import Method

ROLES = ["whole", "whole", "small", "small", "small"]
ONE_WHOLE = ["small", "whole", "small"]
mixed = pytest.mark.parametrize("roles", [ROLES, ONE_WHOLE], ids=["two whole", "one whole"])


def drawn(seed: int, width: int = 3) -> Tensor:
    return torch.randn(4, width, dtype=F64, generator=torch.Generator().manual_seed(seed))


def views_of(roles: list[str], *names: str) -> list[dict[str, Tensor]]:
    """Made-up projections of every view."""
    return [{name: drawn(10 * v + k) for k, name in enumerate(names)} for v in range(len(roles))]


def batch_of(roles: list[str]) -> Batch:
    return Batch([drawn(0)] * len(roles), IDS, Y, roles=roles)


def looped(roles: list[str], of_pair: Callable[[int, int], float]) -> float:
    """The mean over every whole view w and every other view v."""
    values = []
    for w in range(len(roles)):
        if roles[w] == "whole":
            for v in range(len(roles)):
                if v != w:
                    values.append(of_pair(v, w))
    return sum(values) / len(values)


def cross_entropy(target: list[float], scores: list[float], t: float) -> float:
    bottom = math.log(sum(math.exp(s / t) for s in scores))
    return -sum(q * (s / t - bottom) for q, s in zip(target, scores, strict=True))


def softmax(scores: list[float]) -> list[float]:
    total = sum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def cosine(u: Tensor, v: Tensor) -> float:
    return float(u @ v / (u.norm() * v.norm()))


@mixed
@pytest.mark.parametrize(("name", "target"), [("byol", "target"), ("simsiam", "projection")])
def test_targets_of_regressions_are_whole_views(name: str, target: str, roles: list[str]):
    views = views_of(roles, "prediction", target)

    def of_pair(v: int, w: int) -> float:
        values = [cosine(views[v]["prediction"][i], views[w][target][i]) for i in range(4)]
        return sum(2 - 2 * c if name == "byol" else -c for c in values) / 4

    said = made(name).contrast(views, batch_of(roles))
    assert said.loss.item() == pytest.approx(looped(roles, of_pair), abs=1e-12)


@mixed
def test_the_teacher_sees_whole_views_and_the_student_all(roles: list[str]):
    method = made("dino", prototypes=3)
    method.prototypes = Raw()
    method.teacher.follow = lambda *_: None  # there is no network here that it could follow
    method.centre.copy_(torch.tensor([0.3, -0.2, 0.1]))
    views = views_of(roles, "projection", "teacher")

    def of_pair(v: int, w: int) -> float:
        values = []
        for i in range(4):
            target = softmax([float(g - c) / 0.04 for g, c in zip(views[w]["teacher"][i], method.centre, strict=True)])
            values.append(cross_entropy(target, views[v]["projection"][i].tolist(), 0.1))
        return sum(values) / 4

    want = looped(roles, of_pair)
    assert method.contrast(views, batch_of(roles)).loss.item() == pytest.approx(want, rel=1e-9)
    before = method.centre.clone()
    method.after_step(0, 10)
    whole = torch.cat([v["teacher"] for v, role in zip(views, roles, strict=True) if role == "whole"])
    torch.testing.assert_close(method.centre, 0.9 * before + 0.1 * whole.mean(0))


def codes(scores: Tensor, epsilon: float, rounds: int) -> list[list[float]]:
    """Sinkhorn as in the paper: columns and rows of exponentials are scaled in turn."""
    q = [[math.exp(float(s) / epsilon) for s in row] for row in scores]
    n, k = len(q), len(q[0])
    for _ in range(rounds):
        sums = [sum(row[c] for row in q) for c in range(k)]
        q = [[row[c] / sums[c] / k for c in range(k)] for row in q]
        q = [[x / sum(row) / n for x in row] for row in q]
    return [[x * n for x in row] for row in q]


@mixed
@pytest.mark.parametrize("held", [0, 6])
def test_swav_assigns_whole_views_and_all_others_predict(roles: list[str], held: int):
    method = made("swav", prototypes=4, queue=held, frozen_steps=0, epsilon=0.2)
    views = [drawn(10 * v) for v in range(len(roles))]
    earlier = unit(drawn(99).repeat(2, 1)[:held]) if held else None
    if earlier is not None:
        method.queue.push(earlier, torch.arange(held))
    weight = unit(method.prototypes.weight.detach())

    def of_pair(v: int, w: int) -> float:
        together = unit(views[w]) if earlier is None else torch.cat([earlier, unit(views[w])])
        assigned = codes(together @ weight.T, 0.2, 3)[held:]
        scores = unit(views[v]) @ weight.T
        return sum(cross_entropy(assigned[i], scores[i].tolist(), 0.1) for i in range(4)) / 4

    said = method.contrast(views, batch_of(roles))
    assert said.loss.item() == pytest.approx(looped(roles, of_pair), rel=1e-9)
    method.after_step(0, 10)
    if earlier is not None:
        assert held_rows(method) & rows_of(views, roles, "small") == set()
        assert len(held_rows(method) & rows_of(views, roles, "whole")) == min(held, 4 * roles.count("whole"))


def rows_of(views: list[Tensor], roles: list[str], role: str) -> set[tuple[float, ...]]:
    """The unit rows of the views of one role."""
    return {
        tuple(row.round(decimals=9).tolist()) for v, r in zip(views, roles, strict=True) if r == role for row in unit(v)
    }


def held_rows(method: Method) -> set[tuple[float, ...]]:
    return {tuple(row.round(decimals=9).tolist()) for row in method.queue.rows()[0]}


def infonce(queries: Tensor, keys: Tensor, more: Tensor, t: float) -> float:
    """-log of the share of the own key among the keys given."""
    total = 0.0
    for i in range(len(queries)):
        own = math.exp(cosine(queries[i], keys[i]) / t)
        others = sum(math.exp(cosine(queries[i], other) / t) for j, other in enumerate(more) if j != i)
        total += math.log(own + others) - math.log(own)
    return total / len(queries)


@mixed
def test_keys_of_moco_are_whole_views(roles: list[str]):
    method = made("moco", queue=5, temperature=0.5)
    held = unit(drawn(77))
    method.queue.push(held, torch.arange(10, 14))
    views = views_of(roles, "projection", "key")
    for view in views:
        view["key"] = unit(view["key"])

    def of_pair(v: int, w: int) -> float:
        queries, keys = views[v]["projection"], views[w]["key"]
        total = 0.0
        for i in range(4):
            own = math.exp(cosine(queries[i], keys[i]) / 0.5)
            others = sum(math.exp(cosine(queries[i], other) / 0.5) for other in held)
            total += math.log(own + others) - math.log(own)
        return total / 4

    said = method.contrast(views, batch_of(roles))
    assert said.loss.item() == pytest.approx(looped(roles, of_pair), rel=1e-9)
    method.after_step(0, 10)
    keys = [view["key"] for view in views]
    assert held_rows(method) & rows_of(keys, roles, "small") == set()
    assert len(held_rows(method) & rows_of(keys, roles, "whole")) >= 4


def test_one_way_moco_asks_with_the_first_and_the_small_views():
    """Views 0, 2, 3 and 4 ask for view 1; with one whole view the small ones ask for it."""
    for roles, pairs in ((ROLES, [(0, 1), (2, 1), (3, 1), (4, 1)]), (ONE_WHOLE, [(0, 1), (2, 1)])):
        method = made("moco", queue=9, temperature=0.5, symmetric=False)
        held = unit(drawn(77))
        method.queue.push(held, torch.arange(10, 14))
        views = views_of(roles, "projection", "key")
        for view in views:
            view["key"] = unit(view["key"])
        said = method.contrast(views, batch_of(roles)).loss
        parts = []
        for v, w in pairs:
            for i in range(4):
                q = views[v]["projection"][i]
                scores = [cosine(q, views[w]["key"][i]) / 0.5, *(cosine(q, other) / 0.5 for other in held)]
                parts.append(math.log(sum(map(math.exp, scores))) - scores[0])
        assert said.item() == pytest.approx(sum(parts) / len(parts), rel=1e-9)
        method.after_step(0, 10)
        assert len(method.queue) == 8


@mixed
def test_neighbours_are_those_of_whole_views(roles: list[str]):
    method = made("nnclr", queue=9, temperature=0.5)
    held = unit(drawn(77, 3))
    method.queue.push(held, torch.arange(10, 14))
    views = views_of(roles, "projection", "prediction")

    def of_pair(v: int, w: int) -> float:
        found = torch.stack([max(held, key=lambda h: cosine(row, h)) for row in views[w]["projection"]])
        return infonce(found, views[v]["prediction"], views[v]["prediction"], 0.5)

    said = method.contrast(views, batch_of(roles))
    assert said.loss.item() == pytest.approx(looped(roles, of_pair), rel=1e-9)
    method.after_step(0, 10)
    first = views[roles.index("whole")]["projection"]
    torch.testing.assert_close(method.queue.rows()[0][4:], unit(first))


@mixed
@pytest.mark.parametrize("name", ["barlow", "vicreg"])
def test_small_views_are_compared_with_whole_ones_only(name: str, roles: list[str]):
    """The objectives themselves have their oracles; here it is which two views meet."""
    method = made(name)
    views = [drawn(10 * v) for v in range(len(roles))]
    met = []
    for one in range(len(roles)):
        for other in range(one + 1, len(roles)):
            if "whole" in (roles[one], roles[other]):
                met.append(float(method.objective(views[one], views[other])))
    said = method.contrast(views, batch_of(roles))
    assert said.loss.item() == pytest.approx(sum(met) / len(met), rel=1e-12)


@pytest.mark.parametrize("name", ["simclr", "supcon", "triplet", "wmse"])
def test_methods_that_treat_all_views_alike_ask_for_no_role(name: str):
    views = [drawn(10 * v) for v in range(4)]
    values = [
        made(name).contrast(views, Batch(views, IDS, Y, roles=roles)).loss.item()
        for roles in (["whole"] * 4, ["whole", "small", "small", "small"])
    ]
    assert values[0] == values[1]


class Anywhere(torch.nn.Module):
    """An encoder of rows of any size, as crops need."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 6, 3, padding=1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows).amax((2, 3))


SMALL = {
    "swav": {"prototypes": 4, "queue": 20},
    "dino": {"prototypes": 4},
    "wmse": {"projection": 3},
    "clusterns": {"centroids": 4},
    "invp": {"items": 8, "links": 2, "hardest": 3, "walk_from": 0.0},
    "pnda": {"items": 8, "copies_from": 1.0},  # while the classifier learns
    "beclr": {"queue": 16, "prototypes": 3, "neighbours": 2},
    "sepclr": {"background": 1, "projection": 6},  # a part of one number has no direction
}


AT_ONCE = [n for n, kind in methods.catalogue().items() if "of_words" not in kind.asks and not kind.mines]


@pytest.mark.parametrize("name", AT_ONCE)  # of what learns in turns a step reaches half
def test_views_of_several_sizes_reach_every_weight(name: str):
    torch.manual_seed(0)
    kind = methods.find(name)
    options = {"projection": 3, "frozen_steps": 0} if "frozen_steps" in kind.Options.model_fields else {"projection": 3}
    method: Method = kind(Anywhere(), kind.Options(**{**options, **SMALL.get(name, {})})).double()
    generator = torch.Generator().manual_seed(1)
    sizes = [9, 9, 5, 5]
    views = [torch.randn(8, 1, s, s, generator=generator, dtype=F64) for s in sizes]
    boxes = [torch.tensor([0.0, 0, s, s], dtype=F64).expand(8, 4) for s in sizes]
    taught = torch.randn(8, 1, 3, generator=generator, dtype=F64)
    roles = ["whole", "whole", "small", "small"]
    batch = Batch(views, torch.arange(8), torch.arange(8) % 2, roles, boxes, taught=taught)
    for number in range(2):  # the second step has something in the queue
        method.zero_grad()
        method.contrast([method.project(view) for view in views], batch).loss.backward()
        method.after_step(number, 2)
    for key, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
    assert float(method.encoder.layer.weight.grad.abs().max()) > 1e-9
