"""Views of several sizes: how they are asked for, what each is for, and where it was cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from nearfar.data import Batch, bundled
from nearfar.errors import ConfigError
from nearfar.modalities.images.modality import MODALITY, ImageOptions
from nearfar.modalities.images.recipes import RECIPES, ViewRecipe, multi_crop
from nearfar.modalities.images.views import ImageViews
from nearfar.objectives import cell_centres
from nearfar.training.feed import Feed
from nearfar.training.rng import step_generator
from nearfar.training.team import Team


def noise(b: int, c: int, h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (b, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# How they are asked for --------------------------------------------------------


def test_groups_say_count_side_and_area():
    made = multi_crop("2x224@0.14-1+6x96@0.05-0.14", RECIPES["simclr"])
    assert [(r.role, r.size, r.crop_scale) for r in made] == [("whole", 224, (0.14, 1.0))] * 2 + [
        ("small", 96, (0.05, 0.14))
    ] * 6
    assert {r.jitter for r in made} == {RECIPES["simclr"][0].jitter}  # all but size and area is the recipe's


def test_without_an_area_whole_views_keep_that_of_the_recipe():
    made = multi_crop("1x28 + 2x16+1x8", RECIPES["digits"])
    assert [(r.role, r.size, r.crop_scale) for r in made] == [
        ("whole", 28, (0.2, 1.0)),
        ("small", 16, (0.05, 0.4)),
        ("small", 16, (0.05, 0.4)),
        ("small", 8, (0.05, 0.4)),
    ]


def test_each_whole_view_takes_its_own_recipe_and_the_small_ones_the_last():
    made = multi_crop("2x32+2x16", RECIPES["byol"])
    assert [(r.blur_p, r.solarise_p) for r in made] == [(1.0, 0.0), (0.1, 0.2), (0.1, 0.2), (0.1, 0.2)]


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        ("", "crops are written like 2x224"),
        ("2x", "crops are written like 2x224"),
        ("two", "not 'two'"),
        ("2x28+", "crops are written like"),
        ("2x28@0.1", "crops are written like"),
        ("-2x28", "crops are written like"),
        ("2x3", "2x3 must be at least one view of 4 to 1024 pixels"),
        ("2x2000", "4 to 1024 pixels"),
        ("2x28+0x16", "0x16 must be at least one view"),
        ("1x28", "2 to 32 views"),
        ("2x28+99x16", "2 to 32 views"),
        ("2x28@0.5-0.2", "two numbers above 0 and up to 1, smaller first"),
        ("2x28@0-1", "above 0"),
        ("2x28@0.5-1.2", "up to 1"),
        ("2x28@0.5.1-1", "area of 2x28"),
    ],
)
def test_crops_that_cannot_be_read_are_refused_with_the_form(crops: str, message: str):
    with pytest.raises(ConfigError, match=message):
        ImageOptions(crops=crops)


def test_the_modality_makes_them_and_says_how_many():
    facts = {"shape": [1, 28, 28]}
    options = ImageOptions(crops="2x28+3x16", strength=0.5)
    assert options.count == 5 and ImageOptions().count is None
    views = MODALITY.views(facts, 2, options)
    made = views(noise(4, 1, 28, 28), generator())
    assert [tuple(v.shape) for v in made] == [(4, 1, 28, 28)] * 2 + [(4, 1, 16, 16)] * 3
    assert views.plain(noise(4, 1, 28, 28)).shape == (4, 1, 28, 28)
    assert len(MODALITY.views(facts, 3, ImageOptions())(noise(2, 1, 28, 28), generator())) == 3


# What stands in the identity ---------------------------------------------------


def test_the_configuration_says_size_area_and_role_of_every_view():
    views = ImageViews(28, 1, recipe=multi_crop("2x28+2x16@0.1-0.3"))
    config = json.loads(json.dumps(views.config()))
    assert [(r["size"], r["role"]) for r in config["recipe"]] == [(28, "whole")] * 2 + [(16, "small")] * 2
    again = ImageViews.from_config(config)
    assert again.config() == config and again.roles == ["whole", "whole", "small", "small"]
    assert config != ImageViews(28, 1, recipe=multi_crop("2x28+2x16@0.1-0.4")).config()


def test_a_role_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"role must be 'whole' or 'small', not 'large'"):
        ViewRecipe(role="large")  # type: ignore[arg-type]


def test_roles_travel_with_the_batch():
    class One:
        batch_size, steps_per_epoch = 3, 1

        def batch(self, step: int):
            return torch.arange(3).numpy()

    source = MODALITY.read_pair(bundled.path("fashion"), ImageOptions(), None, None, False)[0]
    made = MODALITY.views(source.describe(), 2, ImageOptions(crops="1x28+2x12"))
    batch = Feed(source, made, One(), 0).prepare(0).batch
    assert batch.roles == ["whole", "small", "small"] and batch.to("cpu").roles == batch.roles
    plain = Feed(source, lambda rows, generator: [rows, rows], One(), 0).prepare(0).batch
    assert plain.roles == ["whole", "whole"]  # views that know no roles are all whole


# Where they were cut -----------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(30, 30), (23, 41)])
def test_what_was_drawn_gives_the_view_again(height: int, width: int):
    rows = noise(6, 3, height, width)
    views = ImageViews(24, 3, recipe=multi_crop("2x24@0.3-1+2x11@0.05-0.2"))
    made, draws = views.with_draws(rows, generator())
    mean, std = (torch.tensor(v)[:, None, None] for v in (views.mean, views.std))
    mirrored = set()
    for view, draw, recipe in zip(made, draws, views.recipes, strict=True):
        for i, image in enumerate(rows):
            box = [int(side[i]) for side in (draw.top, draw.left, draw.height, draw.width)]
            want = F.resized_crop(image.float() / 255, *box, [recipe.size, recipe.size], antialias=True)
            want = F.horizontal_flip(want) if draw.mirror[i] else want
            mirrored.add(bool(draw.mirror[i]))
            torch.testing.assert_close(view[i], (want - mean) / std, atol=5e-5, rtol=0)
            low, high = recipe.crop_scale
            assert low * 0.7 < box[2] * box[3] / (height * width) < high * 1.3
    assert mirrored == {True, False}


def test_asking_for_what_was_drawn_changes_no_view():
    rows = noise(5, 1, 28, 28)
    views = ImageViews(28, 1, recipe=multi_crop("2x28+2x16", RECIPES["digits"]))
    for a, b in zip(views(rows, generator(4)), views.with_draws(rows, generator(4))[0], strict=True):
        assert torch.equal(a, b)


def test_exact_views_have_sizes_and_roles_but_do_not_say_where_they_were_cut():
    views = ImageViews(24, 3, recipe=multi_crop("1x24+1x12"), exact=True)
    assert [v.shape[-1] for v in views(noise(2, 3, 30, 30), generator())] == [24, 12]
    assert Batch(views(noise(2, 3, 30, 30), generator()), torch.arange(2), roles=views.roles).whole == [0]
    with pytest.raises(ConfigError, match="do not say where they were cut"):
        views.with_draws(noise(2, 3, 30, 30), generator())


def test_cells_of_a_view_lie_where_its_box_says():
    """Pictures whose channels tell the place of every pixel: the mean over a cell is the place of its middle."""
    side, down = 64, torch.arange(64)
    place = torch.stack([down[:, None].expand(64, 64), down[None, :].expand(64, 64), torch.zeros(64, 64)]) * 3
    rows = place.to(torch.uint8).expand(8, -1, -1, -1).contiguous()
    plain = ViewRecipe(crop_scale=(0.2, 0.8), flip=0.5)
    views = ImageViews(32, 3, count=2, recipe=plain)
    made, boxes = views.with_boxes(rows, generator(3))
    assert all(torch.equal(a, b) for a, b in zip(made, views(rows, generator(3)), strict=True))
    mean, std = (torch.tensor(v)[:, None, None] for v in (views.mean, views.std))
    mirrored = 0
    for view, box in zip(made, boxes, strict=True):
        assert box.dtype == torch.float32 and box.shape == (8, 4)
        pixels = (view * std + mean) * 255 / 3 + 0.5  # the middle of pixel k lies at k + 1/2
        cells = torch.nn.functional.avg_pool2d(pixels, 8)[:, :2].flatten(2).transpose(1, 2)
        assert (cells - cell_centres(box, (4, 4))).abs().max() < 0.02 * side
        mirrored += int((box[:, 1] > box[:, 3]).sum())
    assert 0 < mirrored < 16
    part, part_boxes = views.with_boxes(rows, generator(3), part=slice(2, 5))
    assert torch.equal(part[1], made[1][2:5]) and torch.equal(part_boxes[1], boxes[1][2:5])


def test_a_batch_for_training_knows_its_boxes_and_exact_views_have_none():
    rows = noise(6, 3, 30, 30)

    class Rows:
        ids, labels = np.arange(6), None

        def rows(self, index: np.ndarray) -> torch.Tensor:
            return rows[index]

    class All:
        def batch(self, step: int) -> np.ndarray:
            return np.arange(6)

    batch = Feed(Rows(), ImageViews(24, 3), All(), 0).prepare(0).batch
    _, want = ImageViews(24, 3).with_boxes(rows, step_generator(0, 0))
    assert all(torch.equal(a, b) for a, b in zip(batch.boxes, want, strict=True))
    second = Feed(Rows(), ImageViews(24, 3), All(), 0, Team(1, 2)).prepare(0).batch
    assert torch.equal(second.boxes[0], want[0][3:]) and torch.equal(second.views[0], batch.views[0][3:])
    assert Feed(Rows(), ImageViews(24, 3, exact=True), All(), 0).prepare(0).batch.boxes is None
