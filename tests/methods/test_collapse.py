"""What keeps methods without far rows from collapse, shown by taking it away: 200 steps on 64 points."""

from __future__ import annotations

import math

import pytest
import torch
from test_recipes import F64, made
from torch import Tensor, nn

from nearfar.data.batch import Batch
from nearfar.methods import find
from nearfar.methods.method import Method
from nearfar.training.monitors import spread

OPTIONS = {
    "byol": {"hidden": 64},
    "dino": {"prototypes": 8, "frozen_steps": 5, "hidden": 64},
    "swav": {"prototypes": 8, "frozen_steps": 5},
}


def learned(method: Method, steps: int = 200) -> tuple[float, float, Tensor]:
    """Loss and spread of the projections after training on noisy views, and the points themselves."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(64, 1, 3, 3, generator=generator, dtype=F64)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=0.01)
    for step in range(steps):
        noise = [0.3 * torch.randn(points.shape, generator=generator, dtype=F64) for _ in range(2)]
        batch = Batch([points + n for n in noise], torch.arange(64))
        optimiser.zero_grad()
        loss = method.contrast([method.project(view) for view in batch.views], batch).loss
        loss.backward()
        optimiser.step()
        method.after_step(step, steps)
    projected = method.project(points)
    projection = projected["projection"] if isinstance(projected, dict) else projected
    return loss.item(), spread(projection.detach()), points


@pytest.mark.parametrize("name", ["byol", "simsiam", "swav", "wmse", "dino"])
def test_the_published_recipe_keeps_its_spread(name: str):
    _, width, _ = learned(made(name, projection=6, **OPTIONS.get(name, {})))
    assert width > 0.3


def test_simsiam_without_predictor_and_last_norm_collapses():
    method = made("simsiam", projection=6)
    method.predictor, method.head[-1] = nn.Identity(), nn.Identity()
    loss, width, _ = learned(method)
    assert loss < -0.999 and width < 0.05


def opinions(method: Method, points: Tensor) -> tuple[float, float]:
    """Entropy of the teacher's mean opinion, and mean entropy of its opinions; at most log 8 = 2.08."""
    scores = (method.teacher(points) - method.centre) / method.options.teacher_temperature
    shares = scores.softmax(1)
    return torch.special.entr(shares.mean(0)).sum().item(), torch.special.entr(shares).sum(1).mean().item()


@pytest.mark.slow
def test_dino_without_centring_has_one_opinion_and_without_sharpening_none():
    options = {
        "projection": 6,
        **OPTIONS["dino"],
        "hidden": 512,
    }  # of a head of 64, two of the eight prototypes are left
    plain = made("dino", **options)
    uncentred = made("dino", centre_momentum=1.0, **options)
    blunt = made("dino", teacher_temperature=1.0, **options)
    together, each = opinions(plain, learned(plain)[2])
    assert together > 1.5 and each < 1.5  # many prototypes in use, each row with an opinion
    assert max(opinions(uncentred, learned(uncentred)[2])) < 0.01
    assert min(opinions(blunt, learned(blunt)[2])) > 2.07


def test_swav_says_how_many_prototypes_are_used_and_how_unsure_rows_are():
    kind = find("swav")
    encoder = nn.Linear(4, 4)
    encoder.width = 4
    method = kind(encoder, kind.Options(projection=4, hidden=4, prototypes=4, temperature=0.02))
    method.prototypes.weight.data.copy_(torch.eye(4))
    ids = torch.arange(4)
    for rows, used, entropy in (
        (torch.eye(4), 4.0, 0.0),  # each row has a prototype of its own
        (torch.eye(4)[[0, 0, 1, 1]], 2.0, 0.0),
        (torch.eye(4)[[0, 0, 0, 0]], 1.0, 0.0),
        (torch.ones(4, 4), 4.0, math.log(4)),  # no row is sure
    ):
        said = method.contrast([rows, rows], Batch([rows, rows], ids))
        assert said.terms["prototypes_used"].item() == pytest.approx(used, rel=1e-5)
        assert said.terms["assignment_entropy"].item() == pytest.approx(entropy, abs=1e-5)
