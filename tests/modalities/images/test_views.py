"""Views against torchvision's functional operations, and the properties of the whole."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images import colours, tensors, transforms, views
from nearfar.modalities.images.draws import crop_boxes
from nearfar.modalities.images.recipes import RECIPES, ViewRecipe, choose
from nearfar.modalities.images.views import ImageViews


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are small: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(b: int, c: int, h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (b, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photographs(n: int, side: int) -> Tensor:
    """n pieces of a real photograph, uint8 (n, 3, side, side)."""
    picture = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)
    rng = np.random.default_rng(0)
    tops, lefts = rng.integers(0, picture.shape[1] - side, n), rng.integers(0, picture.shape[2] - side, n)
    return torch.stack([picture[:, t : t + side, x : x + side] for t, x in zip(tops, lefts, strict=True)])


ONE = torch.ones(1)
NO = torch.zeros(1, dtype=torch.bool)


def cut(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`resample` with the items first."""
    out = torch.empty(images.shape[1], len(images), rows.shape[1], columns.shape[1])
    return transforms.resample(images, rows, columns, out).transpose(0, 1)


def coloured(images: Tensor, maps: colours.ColourMaps) -> Tensor:
    """Colour maps and the hue rotation between them, as `ImageViews` puts them together."""
    b, c = images.shape[:2]
    planes = torch.cat(
        [torch.zeros(1, *images.shape[2:]).expand(b, -1, -1, -1), images, torch.ones_like(images[:, :1])], 1
    )
    planes = planes.transpose(0, 1).flatten(2).contiguous()
    out = torch.empty(b, c, planes.shape[2])
    if maps.before is None:
        planes = planes[1:]
    else:
        colours.apply_colour(planes[1:], maps.before, [0] * c, [1] * c, out)
        colours.rotate_hue(out, maps.share, planes)
    return colours.apply_colour(planes, maps.after, [0] * c, [1] * c, out).view_as(images)


# Each operation equals torchvision's.


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    ("box", "size"),
    [((0, 0, 37, 53), 16), ((3, 5, 11, 9), 32), ((10, 20, 27, 33), 30), ((36, 52, 1, 1), 7), ((0, 0, 37, 53), 1)],
)
def test_resampling_is_resized_crop(box: tuple[int, int, int, int], size: int, mirror: bool) -> None:
    image = torch.rand(1, 3, 37, 53, generator=generator())
    top, left, height, width = box
    rows = transforms.resampling(torch.tensor([top]), torch.tensor([height]), size, 37)
    columns = transforms.resampling(torch.tensor([left]), torch.tensor([width]), size, 53, torch.tensor([mirror]))
    want = F.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    want = F.horizontal_flip(want) if mirror else want
    torch.testing.assert_close(cut(image, rows, columns), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "radius", "sigma"), [(32, 1, 0.1), (32, 1, 2.0), (40, 11, 2.0), (17, 4, 0.7), (5, 4, 3)]
)
def test_blurring_is_gaussian_blur(size: int, radius: int, sigma: float) -> None:
    image = torch.rand(1, 3, size, size, generator=generator())
    kernel = transforms.blurring(torch.tensor([sigma]), size, radius)
    want = F.gaussian_blur(image, [2 * radius + 1] * 2, [sigma, sigma])
    torch.testing.assert_close(cut(image, kernel, kernel), want, atol=2e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("operation", "factor"), [(0, 0.3), (0, 1.7), (1, 0.2), (1, 1.8), (2, 0.4), (2, 1.8)])
def test_one_colour_operation_is_torchvisions(operation: int, factor: float, channels: int) -> None:
    image = torch.rand(1, channels, 9, 9, generator=generator())
    factors = [ONE, ONE, ONE]
    factors[operation] = torch.tensor([factor])
    got = coloured(image, colours.colour_maps(*factors, NO, None, None, channels))
    want = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[operation](image, factor)
    torch.testing.assert_close(got, want, atol=2e-6, rtol=0)


def test_hue_is_torchvisions_also_for_greys_and_pure_colours() -> None:
    corners = torch.tensor(list(itertools.product([0.0, 0.25, 0.5, 1.0], repeat=3))).T.reshape(1, 3, 8, 8)
    images = torch.cat([corners, torch.rand(1, 3, 8, 8, generator=generator())])
    one, order = torch.ones(2), torch.arange(4).expand(2, -1)
    for turns in (
        -0.5,
        -0.45,
        -1 / 3,
        -0.2,
        -1 / 6,
        -1 / 12,
        -0.01,
        0.0,
        0.01,
        1 / 12,
        0.1,
        1 / 6,
        0.25,
        1 / 3,
        0.4,
        0.5,
    ):
        got = coloured(images, colours.colour_maps(one, one, one, one < 0, one * turns, order, 3))
        torch.testing.assert_close(got, F.adjust_hue(images, turns), atol=3e-6, rtol=0)


def test_grey_is_torchvisions() -> None:
    image = torch.rand(1, 3, 9, 9, generator=generator())
    got = coloured(image, colours.colour_maps(ONE, ONE, ONE, ~NO, None, None, 3))
    torch.testing.assert_close(got, F.rgb_to_grayscale(image, 3), atol=2e-6, rtol=0)


def test_jitter_in_every_order_is_torchvisions_when_nothing_is_clamped() -> None:
    orders = torch.tensor(list(itertools.permutations(range(4))))
    image = 0.35 + 0.3 * torch.rand(1, 3, 9, 9, generator=generator())
    b, c, s, h = 0.9, 1.3, 1.2, 0.15
    steps = (
        lambda x: F.adjust_brightness(x, b),
        lambda x: F.adjust_contrast(x, c),
        lambda x: F.adjust_saturation(x, s),
        lambda x: F.adjust_hue(x, h),
    )
    n = len(orders)
    grey = torch.arange(n) % 5 == 0
    factors = [torch.full((n,), v) for v in (b, c, s)]
    maps = colours.colour_maps(*factors, grey, torch.full((n,), h), orders, 3)
    got = coloured(image.expand(n, -1, -1, -1), maps)
    for i, order in enumerate(orders.tolist()):
        want = image
        for step in order:
            want = steps[step](want)
        want = F.rgb_to_grayscale(want, 3) if grey[i] else want
        torch.testing.assert_close(got[i : i + 1], want, atol=1e-5, rtol=0)


def test_solarise_is_torchvisions_and_can_be_off() -> None:
    image = torch.rand(2, 3, 9, 9, generator=generator())
    got = colours.solarise(image.flatten(2), torch.tensor([0.4, 2.0])).view_as(image)
    torch.testing.assert_close(got[0], F.solarize(image[0], 0.4))
    assert torch.equal(got[1], image[1])


def test_plain_is_resize_and_normalise() -> None:
    rows = noise(3, 3, 41, 23)
    want = F.normalize(
        F.resize(rows.float() / 255, [16, 16], antialias=True), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(ImageViews(16, 3).plain(rows), want, atol=1e-5, rtol=0)


# Draws.


def test_crop_area_is_uniform_and_ratio_log_uniform_where_it_fits() -> None:
    u = torch.rand(4, 4000, generator=generator())
    recipe = ViewRecipe(crop_scale=(0.08, 1.0))
    top, left, height, width = (v.double().numpy() for v in crop_boxes(*u, recipe, 4000, 4000))
    area = height * width / 4000**2
    assert stats.kstest(area, stats.uniform(0.08, 0.92).cdf).pvalue > 0.01
    free = area < 0.75  # any ratio fits
    log_ratio = np.log(width / height)[free]
    bound = np.log(4 / 3)
    assert stats.kstest(log_ratio, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 4000).all() and (left + width <= 4000).all()
    smaller = height < 3900
    assert stats.kstest(top[smaller] / (4000 - height[smaller]), "uniform").pvalue > 0.01


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10), (1, 1), (2, 3)])
def test_crops_fit_in_images_of_any_shape(height: int, width: int) -> None:
    u = torch.rand(4, 500, generator=generator())
    top, left, h, w = crop_boxes(*u, ViewRecipe(), height, width)
    for start, length, extent in ((top, h, height), (left, w, width)):
        assert (length >= 1).all() and (start >= 0).all() and (start + length <= extent).all()
        assert torch.equal(start, start.round()) and torch.equal(length, length.round())


def test_each_operation_acts_on_its_share_of_the_items() -> None:
    still = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0}
    rows = noise(1, 3, 20, 20).expand(2000, -1, -1, -1)
    plain = ImageViews(20, 3).plain(rows[:1])

    def share(**settings: object) -> float:
        (view,) = ImageViews(20, 3, count=1, recipe=ViewRecipe(**{**still, **settings}))(rows, generator())  # type: ignore[arg-type]
        changed = (view - plain).abs().amax((1, 2, 3)) > 1e-3
        if "flip" in settings:
            mirrored = (view - plain.flip(3)).abs().amax((1, 2, 3)) < 1e-4
            assert torch.equal(changed, mirrored)
        return changed.float().mean().item()

    for name, p in (("flip", 0.5), ("grey_p", 0.2), ("solarise_p", 0.3)):
        assert abs(share(**{name: p}) - p) < 4 * (p * (1 - p) / 2000) ** 0.5, name
    assert abs(share(blur_p=0.4, blur_sigma=(1.0, 2.0)) - 0.4) < 0.045
    assert abs(share(jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.7) - 0.7) < 0.045
    assert share() == 0


def test_pixel_statistics_agree_with_torchvision_on_a_photograph() -> None:
    """Clamping less often and other crops move the means by little; the recipe must be the same one."""
    rows = photographs(8, 48).repeat(32, 1, 1, 1)
    recipe = ViewRecipe(crop_scale=(0.2, 0.7), jitter=(0.4, 0.4, 0.4, 0.1), grey_p=0.2)
    fast, exact = (ImageViews(32, 3, count=1, recipe=recipe, exact=e)(rows, generator())[0] for e in (False, True))
    for statistic in (Tensor.mean, Tensor.std):
        a, b = statistic(fast, dim=(2, 3)), statistic(exact, dim=(2, 3))
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()


# Properties of the whole.


@pytest.mark.parametrize("exact", [False, True])
def test_same_seed_same_views_and_everything_else_differs(exact: bool) -> None:
    rows = noise(1, 3, 40, 40).expand(6, -1, -1, -1)
    make = ImageViews(32, 3, recipe="simclr", exact=exact)
    source = generator(5)
    first, second = make(rows, source)
    third, _ = make(rows, source)
    again, _ = make(rows, generator(5))
    assert torch.equal(first, again)
    for a, b in ((first, second), (first, third), (first[0], first[1])):
        assert (a - b).abs().max() > 0.1
    assert all((first[i] - first[j]).abs().max() > 0.01 for i, j in itertools.combinations(range(6), 2))


def test_the_global_generator_is_left_alone() -> None:
    rows = noise(2, 3, 20, 20)
    torch.manual_seed(1)
    want = torch.rand(3)
    torch.manual_seed(1)
    ImageViews(16, 3, recipe="simclr")(rows, generator())
    ImageViews(16, 3, recipe="simclr", exact=True)(rows, generator())
    assert torch.equal(torch.rand(3), want)


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(40, 40), (23, 61)])
def test_strength_zero_is_only_the_resize(name: str, channels: int, height: int, width: int) -> None:
    rows = noise(5, channels, height, width)
    make = ImageViews(40, channels, recipe=name, strength=0)
    for view in make(rows, generator()):
        torch.testing.assert_close(view, make.plain(rows), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["auto", *RECIPES])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("b", "height", "width", "size"), [(1, 30, 50, 32), (3, 1, 1, 8), (2, 5, 3, 96), (0, 9, 9, 8)])
def test_shapes_and_range(name: str, channels: int, b: int, height: int, width: int, size: int) -> None:
    make = ImageViews(size, channels, count=3, recipe=name)
    outs = make(noise(b, channels, height, width), generator())
    assert len(outs) == 3
    low, high = (make_bound(make, v) for v in (0.0, 1.0))
    for view in outs:
        assert view.shape == (b, channels, size, size) and view.dtype == torch.float32 and view.is_contiguous()
        assert torch.isfinite(view).all()
        assert ((view >= low - 1e-4) & (view <= high + 1e-4)).all()


def make_bound(make: ImageViews, value: float) -> Tensor:
    return ((value - torch.tensor(make.mean)) / torch.tensor(make.std))[:, None, None]


def test_the_size_of_the_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_road", lambda device: tensors.by_tensors)
    rows = noise(7, 3, 40, 40)
    make = ImageViews(32, 3, recipe="byol")
    whole, plain = make(rows, generator()), make.plain(rows)
    monkeypatch.setattr(tensors, "CHUNK_BYTES", {"cpu": 1})
    for a, b in zip([*whole, plain], [*make(rows, generator()), make.plain(rows)], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_grey_images_change_in_brightness_and_contrast_only() -> None:
    """Every view is an affine function of the image wherever nothing was clamped."""
    rows = (noise(1, 1, 16, 16) // 4 + 96).expand(50, -1, -1, -1)
    recipe = ViewRecipe(
        crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, jitter=(0.2, 0.2, 0.8, 0.5), jitter_p=1, grey_p=0.5
    )
    (view,) = ImageViews(16, 1, count=1, recipe=recipe)(rows, generator())
    for item in view.flatten(1).double().numpy():
        assert stats.linregress(rows[0].flatten().numpy(), item).rvalue > 1 - 1e-6
    assert view.mean((1, 2, 3)).std() > 0.05


def test_byol_views_are_asymmetric() -> None:
    make = ImageViews(96, 3, recipe="byol")
    assert [(r.blur_p, r.solarise_p) for r in make.recipes] == [(1.0, 0.0), (0.1, 0.2)]
    first, second = make(photographs(24, 96), generator())
    sharpness = [(v[..., 1:] - v[..., :-1]).abs().mean().item() for v in (first, second)]
    assert sharpness[0] < 0.8 * sharpness[1]


def test_recipes_per_view_give_multi_crop() -> None:
    recipes = [ViewRecipe(crop_scale=(0.4, 1.0))] * 2 + [ViewRecipe(size=12, crop_scale=(0.05, 0.4))] * 3
    make = ImageViews(24, 3, recipe=recipes)
    assert [tuple(v.shape) for v in make(noise(2, 3, 30, 30), generator())] == [(2, 3, 24, 24)] * 2 + [
        (2, 3, 12, 12)
    ] * 3


@pytest.mark.parametrize("recipe", ["byol", "auto", ViewRecipe("mine", size=9, flip=0.1)])
def test_config_round_trips_through_json(recipe: str | ViewRecipe) -> None:
    make = ImageViews(16, 3, recipe=recipe, strength=0.7)
    config = json.loads(json.dumps(make.config()))
    again = ImageViews.from_config(config)
    assert again.config() == make.config() == config
    rows = noise(4, 3, 20, 20)
    for a, b in zip(make(rows, generator()), again(rows, generator()), strict=True):
        assert torch.equal(a, b)


def test_exact_mode_is_torchvisions_pipeline() -> None:
    rows = noise(4, 3, 40, 40)
    (got,) = ImageViews(32, 3, count=1, recipe="simclr-small", exact=True)(rows, generator(3))
    pipeline = v2.Compose(
        [
            v2.RandomResizedCrop(32),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], 0.0),
            v2.RandomSolarize(127.5, 0.0),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    seed = int(torch.randint(2**62, (), generator=generator(3)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        want = torch.stack([pipeline(row) for row in rows])
    assert torch.equal(got, want)


def test_auto_chooses_by_size_and_channels() -> None:
    assert [choose(s, c) for s, c in ((28, 1), (64, 3), (65, 1), (224, 3))] == [
        "digits",
        "simclr-small",
        "simclr",
        "simclr",
    ]
    assert ImageViews(28, 1).recipes[0].flip == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "simclt"}, "Did you mean 'simclr'"),
        ({"channels": 4}, "1 or 3 channels"),
        ({"size": 0}, "at least 1 pixel"),
        ({"recipe": []}, "one ViewRecipe for each view"),
        ({"recipe": [ViewRecipe()] * 3, "count": 2}, "3 view recipes"),
        ({"strength": -1.0}, "strength"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageViews(**{"size": 16, "channels": 3, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [{"flip": 1.5}, {"crop_scale": (0.5, 0.1)}, {"crop_scale": (0.5, 2)}, {"jitter": (0, 0, 0, 0.6)}, {"size": 0}],
)
def test_impossible_recipes_are_named(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ViewRecipe(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [torch.zeros(2, 3, 8, 8), noise(2, 1, 8, 8), noise(2, 3, 8, 8)[0]])
def test_wrong_rows_are_refused(rows: Tensor) -> None:
    for call in (lambda: ImageViews(8, 3)(rows, generator()), lambda: ImageViews(8, 3).plain(rows)):
        with pytest.raises(DataError, match="uint8 images of shape"):
            call()
