"""Recipes as saved tuples: described and built again they give the same loss, and they say what a method does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from nearfar import methods
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.methods import AXES, Method, Recipe, recipe_of
from nearfar.modalities.text.encoders.scratch import Recurrent
from nearfar.models import FrozenCopy, MomentumCopy
from saying import Command

# The golden fixture: two views of four items with labels.
A = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
B = torch.tensor([[2, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]])
Y = torch.tensor([0, 0, 1, 1])
OPTIONS: dict[str, dict[str, Any]] = {
    "wmse": {"projection": 2},
    "swav": {"prototypes": 2},
    "dino": {"prototypes": 3},
    "invp": {"items": 4, "links": 2, "hardest": 2},
    "clusterns": {"centroids": 2},
    "whitenedcse": {"group": 2},
    "beclr": {"queue": 8, "prototypes": 2},
    "lmsupcon": {"words": {"a": "one", "b": "two", "c": "three"}, "turns": False},
    "sepclr": {"background": 1, "projection": 4},
    "moco": {"keep": 0.5, "queue": 5},
    "pairs": {"learn_temperature": True, "widths": [2, 4]},
    "triplet": {"objective": "BoundaryMargin", "boundary": 1.2},
}


class Mapped(nn.Sequential):
    """An encoder with a feature map of one row of cells."""

    width = 4

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def encoder(name: str) -> nn.Module:
    torch.manual_seed(0)
    return Recurrent(4, dropout=0.0) if "of_words" in methods.find(name).asks else Mapped()


def of_defaults(name: str) -> Method:
    kind = methods.find(name)
    return kind(encoder(name), kind.Options(**OPTIONS.get(name, {})))


def loss(method: Method) -> float:
    """Of the fixture at the second step, when queues hold something, by weights that the seed decides."""
    torch.manual_seed(1)
    for weight in method.parameters():
        nn.init.normal_(weight)
    for module in method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    views = (
        [A, B]
        if "of_words" in method.asks
        else [rows[:, None, None, :].float().expand(-1, -1, 3, -1) for rows in (A, B)]
    )
    boxes = [torch.tensor([[0.0, 0, 1, 3]] * 4)] * 2
    width = method.options.projection
    taught = torch.linspace(-1, 1, 4 * width).view(4, 1, width)
    batch = Batch(views, torch.arange(4), Y, boxes=boxes, taught=taught)
    method.contrast([method.project(view) for view in views], batch)
    method.after_step(0, 10)
    batch.ids = batch.ids + (4 if hasattr(method, "queue") else 0)
    return float(method.contrast([method.project(view) for view in views], batch).loss.detach())


@pytest.mark.parametrize("name", methods.catalogue())
def test_built_described_and_built_again_it_gives_the_same_loss(name: str):
    first = of_defaults(name)
    saved = json.dumps(recipe_of(first).plain())
    recipe = Recipe(**json.loads(saved))
    second = recipe.build(encoder(name))
    assert type(second) is type(first) and recipe_of(second) == recipe
    value = loss(first)
    assert value == loss(second) and value != 0
    assert list(recipe.axes) == list(AXES) and all(recipe.axes.values())


def test_the_loss_of_a_recipe_is_what_is_built():
    recipe = recipe_of(of_defaults("simclr"))
    by_dot = Recipe(**{**recipe.plain(), "loss": {**recipe.loss, "similarity": {"kind": "Dot"}}})
    method = by_dot.build(encoder("simclr"))
    assert recipe_of(method).axes["similarity"].startswith("Dot")
    assert loss(method) != loss(recipe.build(encoder("simclr")))


def test_a_recipe_of_what_there_is_not_is_refused():
    recipe = recipe_of(of_defaults("ranker"))
    with pytest.raises(ConfigError, match=r"ranker has the objective .*OwnList"):
        Recipe(**{**recipe.plain(), "loss": {"objective": "Invented"}}).build(encoder("ranker"))
    with pytest.raises(ConfigError, match="no method 'rankr'"):
        Recipe(**{**recipe.plain(), "method": "rankr"}).build(encoder("ranker"))


@pytest.mark.parametrize("name", methods.catalogue())
def test_the_architecture_is_what_a_step_does(name: str):
    """A copy that moves after a step is momentum; vectors that hold what was seen are a memory."""
    method = of_defaults(name)
    architecture = recipe_of(method).axes["architecture"]
    loss(method)
    copies = {n: p.clone() for n, p in method.named_parameters() if not p.requires_grad}
    with torch.no_grad():
        for weight in method.encoder.parameters():
            weight.add_(1)
    banks = {n: b.clone() for n, b in method.named_buffers() if n.endswith("vectors")}
    method.after_step(0, 10)
    now = dict(method.named_parameters())
    assert ("momentum" in architecture) == any(not torch.equal(now[n], p) for n, p in copies.items())
    kept = dict(method.named_buffers())
    assert ("memory bank" in architecture) == any(not torch.equal(kept[n], b) for n, b in banks.items())


def test_what_says_the_data_again_is_generative_and_hybrid_with_a_contrast():
    kinds = {name: recipe_of(of_defaults(name)).axes["kind"] for name in ("simclr", "byol", "tsdae", "denosent")}
    assert kinds == {"simclr": "contrastive", "byol": "contrastive", "tsdae": "generative", "denosent": "hybrid"}
    both = methods.TSDAE(encoder("tsdae"), methods.TSDAE.Options(contrast_weight=1.0, views=2))
    assert recipe_of(both).axes["kind"] == "hybrid"


def test_options_are_seen_in_the_axes():
    plain, queued = (recipe_of(methods.SimCSE(Mapped(), methods.SimCSE.Options(queue=n))).axes for n in (0, 7))
    assert plain["architecture"] == "end-to-end" and queued["architecture"] == "memory bank + momentum"
    assert "Queue of 7" in queued["memory"] and "slow copy (copy)" in queued["encoder"]


def test_a_frozen_copy_does_not_follow():
    with pytest.raises(TypeError, match="follows nothing"):
        FrozenCopy(nn.Linear(2, 2)).follow(nn.Linear(2, 2), 0.0)
    assert isinstance(FrozenCopy(nn.Linear(2, 2)), MomentumCopy)


def test_the_command_shows_axes_and_groups(command: Command):
    lines = command("methods", "--axis").out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(methods.catalogue())
    assert lines[1].split() == ["query", "a", "view,", "through", "encoder,", "head"]
    groups = json.loads(command("methods", "--by", "architecture", "--json").out)
    assert sorted(name for names in groups.values() for name in names) == sorted(methods.catalogue())
    assert "swav" in groups["clustering"] and "byol" in groups["momentum"] and "invp" in groups["memory bank"]
    found = json.loads(command("methods", "moco", "--axis", "--json").out)
    assert Recipe(**found["moco"]).build(Mapped()).name == "moco"
    assert "end-to-end: simclr" in command("methods", "--by", "architecture").out
    said = command("methods", "--by", "colour")
    assert said.code != 0 and "there is no axis 'colour'; there are query, key" in said.err


def test_every_objective_says_how_it_compares():
    from nearfar.objectives import catalogue

    for name, kind in catalogue().items():
        made: Any = kind()
        assert getattr(made, "similarity", None) is not None or made.compares, name
