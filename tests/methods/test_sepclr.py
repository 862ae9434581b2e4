"""Common and salient parts: the loss by plain loops, who is background, and that the parts separate."""

from __future__ import annotations

import math

import pytest
import torch
from test_recipes import batch, made
from torch import Tensor

from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods import find
from nearfar.methods.sepclr import SeparatedOptions

WEIGHTS = {"salient": 3.0, "nothing": 7.0, "independence": 2.0, "tau": 0.7}


def squared(a: Tensor, b: Tensor) -> float:
    return sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True))


def by_hand(views: list[Tensor], target: list[bool]) -> float:
    """The value of two views of rows whose halves are the parts, by plain loops."""
    rate, n, half = 1 / (2 * 0.7), len(target), views[0].shape[1] // 2
    commons = [[row[:half] / row[:half].norm() for row in view] for view in views]
    salients = [[row[half:] for row in view] for view in views]
    shown = [[s if t else 0 * s for s, t in zip(part, target, strict=True)] for part in salients]

    def spread(rows: list[Tensor]) -> float:
        pairs = [math.exp(-rate * squared(rows[i], rows[j])) for i in range(n) for j in range(i)]
        return math.log(sum(pairs) / len(pairs))

    def joint(c: list[Tensor], s: list[Tensor]) -> float:
        each = [[math.exp(-rate * (squared(c[i], c[j]) + squared(s[i], s[j]))) for j in range(n)] for i in range(n)]
        return sum(math.log(sum(row) / n) for row in each) / n

    on = [i for i in range(n) if target[i]]
    off = [i for i in range(n) if not target[i]]
    common = sum(rate * squared(commons[0][i], commons[1][i]) for i in range(n)) / n + sum(map(spread, commons))
    salient = sum(rate * squared(salients[0][i], salients[1][i]) for i in on) / len(on) + sum(map(spread, shown))
    nothing = sum(rate * squared(part[i], 0 * part[i]) for part in salients for i in off) / len(off) / 2
    apart = sum(joint(c, s) for c, s in zip(commons, shown, strict=True)) / 2
    return common + 3.0 * salient + 7.0 * nothing + 2.0 * apart


def test_the_loss_is_that_of_the_parts_and_all_classes_but_the_background_are_targets() -> None:
    method, data = made("sepclr", projection=6, background=1, **WEIGHTS), batch()
    projections = [method.project(view) for view in data.views]
    said = method.contrast(projections, data)
    target = [label != 1 for label in (torch.arange(8) % 3).tolist()]
    assert said.loss.item() == pytest.approx(by_hand([view.detach() for view in projections], target), rel=1e-9)
    assert set(said.terms) == {"common", "salient", "background", "independence"}


def test_each_part_of_the_embedding_has_an_encoder_and_a_head_of_its_own() -> None:
    method, rows = made("sepclr", projection=6, part=5).eval(), batch().views[0]
    assert method.width == 10 and method.embed(rows).shape == (8, 10)
    embedding, projection = method.embed(rows), method.project(rows)
    with torch.no_grad():
        for weight in (*method.encoder.second.parameters(), method.head["salient"][0].weight):
            weight.add_(1)
    after, projected = method.embed(rows), method.project(rows)
    assert torch.equal(embedding[:, :5], after[:, :5]) and not torch.equal(embedding[:, 5:], after[:, 5:])
    assert torch.equal(projection[:, :3], projected[:, :3]) and not torch.equal(projection[:, 3:], projected[:, 3:])


def test_every_two_views_are_compared() -> None:
    method, data = made("sepclr", projection=6, background=0, views=3), batch(3)
    projections = [method.project(view) for view in data.views]
    target = data.labels != 0
    want = [method.objective(projections[i], projections[j], target=target) for i, j in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(method.contrast(projections, data).loss, torch.stack(want).mean())


def test_the_background_is_a_class_of_the_data_by_name_or_by_number() -> None:
    facts = {"classes": ["digit", "texture"]}
    assert SeparatedOptions(background="texture").settled(facts).background == 1
    assert SeparatedOptions(background=0).settled(facts).background == 0
    assert SeparatedOptions(background="1").settled({"classes": []}).background == 1
    for wrong in (None, "textures", 2):
        with pytest.raises(
            ConfigError, match=rf"background = {wrong} is no class .*background='digit'.*digit, texture"
        ):
            SeparatedOptions(background=wrong).settled(facts)
    data = batch()
    data.labels = None
    with pytest.raises(DataError, match="sepclr learns from labels"):
        method = made("sepclr", projection=6, background=0)
        method.contrast([method.project(view) for view in data.views], data)


class Small(torch.nn.Sequential):
    """One layer; the part of the embedding is the second."""

    width = 32

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(12, 32), torch.nn.ReLU())


def share_told(columns: Tensor, of: Tensor) -> float:
    """R^2 of the best linear map from some columns."""
    x = torch.cat([columns, torch.ones(len(columns), 1, dtype=columns.dtype)], 1)
    rest = of - x @ torch.linalg.lstsq(x, of).solution
    return float(1 - rest.square().sum() / (of - of.mean(0)).square().sum())


def test_what_targets_alone_show_goes_into_the_salient_half() -> None:
    """Items have a common factor of four numbers, and targets one of two; the rest is noise that differs by view."""
    torch.manual_seed(0)
    labels = torch.arange(256) % 2
    common, salient = torch.randn(256, 4), torch.randn(256, 2) * labels[:, None]
    kind = find("sepclr")
    method = kind(
        Small(), kind.Options(projection=16, part=8, background=0, salient=1.0, nothing=10.0, independence=1.0)
    )
    optimiser = torch.optim.Adam(method.parameters(), lr=0.005)
    for number in range(150):
        ids = torch.randperm(256)[:128]
        views = [
            torch.cat([common[ids], 1.5 * salient[ids], torch.randn(128, 6)], 1) + 0.1 * torch.randn(128, 12)
            for _ in range(2)
        ]
        optimiser.zero_grad()
        method.contrast([method.project(view) for view in views], Batch(views, ids, labels[ids])).loss.backward()
        optimiser.step()
        method.after_step(number, 150)
    with torch.no_grad():
        rows = torch.cat([common, 1.5 * salient, torch.randn(256, 6)], 1)
        z = method.eval().project(rows)
    assert share_told(z[:, 8:], salient) > 0.8 > 0.4 > share_told(z[:, :8], salient)
    assert share_told(z[:, :8], common) > share_told(z[:, 8:], common) + 0.3
    assert float(z[labels == 0, 8:].abs().mean()) < 0.2 * float(z[labels == 1, 8:].abs().mean())
