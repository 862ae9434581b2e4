"""The method for classes of very unequal size: its queue, its loss by plain loops, its priors, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from test_recipes import IDS, A, B, Y, batch, made, step, unit
from torch import Tensor

from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods.gml import LongTailOptions
from nearfar.models import LabelledQueue


def newest(labels: list[int], size: int, least: int) -> list[int]:
    """Numbers of the rows that a queue should hold, oldest first, by plain loops."""
    backwards = [n for n in range(len(labels) - 1, -1, -1) if labels[n] >= 0]
    own: dict[int, int] = {}
    protected = []
    for n in backwards:
        own[labels[n]] = own.get(labels[n], 0) + 1
        if own[labels[n]] <= least:
            protected.append(n)
    others = [n for n in backwards if n not in protected]
    return sorted((protected + others)[:size])


@pytest.mark.parametrize(("size", "least"), [(12, 2), (30, 5), (8, 1), (4, 2), (100, 3)])
def test_a_labelled_queue_holds_the_newest_and_some_of_every_class(size: int, least: int) -> None:
    draw = torch.Generator().manual_seed(size)
    queue, labels = LabelledQueue(size, 1, least), []
    for count in (7, 1, 16, 9, 5):
        some = (4 * torch.rand(count, generator=draw) ** 3).long() - (torch.rand(count, generator=draw) < 0.1).long()
        rows = torch.arange(len(labels), len(labels) + count)[:, None].float()
        queue.push(rows, some)
        labels += some.tolist()
    vectors, ids = queue.rows()
    if size >= 4 * least:  # with room for all, nothing that was dropped could come back
        assert vectors[:, 0].tolist() == newest(labels, size, least)
    assert len(queue) == min(size, sum(label >= 0 for label in labels))
    assert [labels[int(n)] for n in vectors[:, 0]] == ids.tolist()


def prepared(**options: object):
    """The fixture: queries A and keys B as projections, no head between queue and keys."""
    method = made("gml", queue=20, classes=2, temperature=0.5, classifier_weight=0.0, **options)
    method.copied_head = torch.nn.Identity()
    a = A.clone().requires_grad_()
    views = [{"projection": a, "key": B, "copied": B, "embedding": a}] * 2
    return method, a, views


def test_the_loss_and_its_gradient_are_the_published_ones() -> None:
    """The prior of the fixture is (3/4, 1/4): so many labels were seen before."""
    method, a, views = prepared()
    method.seen.copy_(torch.tensor([10, 2]))  # and two of each in the batch
    said = method.contrast(views, Batch([A, B], IDS, Y))
    said.loss.backward()
    assert said.loss.item() == pytest.approx(0.770002, abs=1.1e-6)
    assert float(a.grad.norm()) == pytest.approx(0.204239, abs=1.1e-6)


def by_hand(queries: Tensor, labels: list[int], keys: Tensor, key_labels: list[int], prior: list[float], t: float):
    total, count = 0.0, 0
    for query, label in zip(unit(queries), labels, strict=True):
        if label < 0:
            continue
        logits = []
        for c, share in enumerate(prior):
            scores = [math.exp(float(query @ k) / t) for k, y in zip(unit(keys), key_labels, strict=True) if y == c]
            logits.append(share * sum(scores) / len(scores) if scores else 0.0)
        total += math.log(sum(logits)) - math.log(logits[label])
        count += 1
    return total / count


def test_keys_are_those_of_the_other_view_and_of_the_queue_projected_anew() -> None:
    method = made("gml", queue=20, classes=3, least=2, temperature=0.5)
    data = batch()
    data.labels = torch.tensor([0, 0, 1, 1, 2, -1, 0, 0])
    step(method, data)
    assert len(method.queue) == 14 and method.seen.tolist() == [4, 2, 1]
    data = batch(rows=8)
    data.labels = torch.tensor([0, 1, 1, 2, 2, -1, 0, 2])
    projections = [method.project(view) for view in data.views]
    said = method.contrast(projections, data)
    held, held_labels = method.queue.rows()
    again, prior, labels = method.copied_head(held), [6 / 14, 4 / 14, 4 / 14], data.labels.tolist()
    want = []
    for i, j in ((0, 1), (1, 0)):
        keys = torch.cat([projections[j]["key"], again])
        query = projections[i]["projection"].detach()
        want.append(by_hand(query, labels, keys, labels + held_labels.tolist(), prior, 0.5))
    by_class = [
        by_hand(view["embedding"].detach(), labels, method.weights.detach(), [0, 1, 2], prior, 1 / 30)
        for view in projections
    ]
    assert said.loss.item() == pytest.approx(sum(want) / 2 + sum(by_class) / 2, rel=1e-9)


def test_keys_take_no_gradient_and_queries_classifier_and_temperature_do() -> None:
    method = made("gml", queue=20, classes=3, least=2)
    step(method, batch())
    data = batch()
    method.contrast([method.project(view) for view in data.views], data).loss.backward()
    assert all(p.grad is None for p in [*method.copy.parameters(), *method.copied_head.parameters()])
    assert all(p.grad is not None for p in [*method.encoder.parameters(), *method.head.parameters(), method.weights])
    assert float(method.objective.temperature.log_inverse.grad) != 0


def test_options_are_settled_by_the_data_and_checked() -> None:
    facts = {"classes": ["a", "b", "c"]}
    assert LongTailOptions().settled(facts).classes == 3
    with pytest.raises(
        ConfigError, match="queue = 14 cannot hold 5 keys of each of 3 classes; set queue to at least 15"
    ):
        LongTailOptions(queue=14).settled(facts)
    with pytest.raises(ConfigError, match="say how many there are, such as classes=10"):
        LongTailOptions().settled({"classes": []})
    method, _, views = prepared()
    with pytest.raises(DataError, match="label 2 has no prior, there are 2; set classes to more"):
        method.contrast(views, Batch([A, B], IDS, torch.tensor([0, 1, 2, 0])))


def test_it_learns_classes_of_very_unequal_size() -> None:
    torch.manual_seed(0)
    centres = 1.5 * torch.randn(3, 9, dtype=torch.float64)
    labels = torch.cat([torch.full((count,), c) for c, count in enumerate((80, 12, 4))])
    items = centres[labels] + torch.randn(96, 9, dtype=torch.float64)
    method = made("gml", classes=3, queue=60, projection=8)
    optimiser = torch.optim.Adam(method.parameters(), lr=0.02)
    for number in range(60):
        ids = torch.randperm(96)[:32]
        views = [(items[ids] + 0.3 * torch.randn(32, 9)).view(32, 1, 3, 3) for _ in range(2)]
        optimiser.zero_grad()
        method.contrast([method.project(view) for view in views], Batch(views, ids, labels[ids])).loss.backward()
        optimiser.step()
        method.after_step(number, 60)
    assert torch.bincount(method.queue.rows()[1], minlength=3).min() >= 5
    with torch.no_grad():
        method.eval()
        test = centres.repeat_interleave(20, 0) + torch.randn(60, 9, dtype=torch.float64)
        scores = unit(method.embed(test.view(60, 1, 3, 3))) @ unit(method.weights).T
    assert float((scores.argmax(1) == torch.arange(3).repeat_interleave(20)).float().mean()) > 0.85
