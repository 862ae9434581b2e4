"""Compiled views against torchvision, against the road by tensors, and to the bit against themselves."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from nearfar.modalities.images import colours, kernels, tensors, views
from nearfar.modalities.images.draws import Draws
from nearfar.modalities.images.recipes import RECIPES, ViewRecipe
from nearfar.modalities.images.transforms import blur_radius
from nearfar.modalities.images.views import ImageViews


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(b: int, c: int, h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (b, c, h, w), dtype=torch.uint8, generator=generator())


def compiled(rows: Tensor, draws: Draws, recipe: ViewRecipe, size: int) -> Tensor:
    """Pixels from 0 to 1, not normalised."""
    out = torch.full((len(rows), rows.shape[1], size, size), torch.nan)
    none, one = [0.0] * rows.shape[1], [1.0] * rows.shape[1]
    work, _ = kernels.by_kernels(rows, draws, blur_radius(size, recipe.blur_kernel), none, one, out)
    work(slice(0, len(rows)))
    return out


def drawn(n: int, box: tuple[int, int, int, int], **given: Tensor | None) -> Draws:
    """Draws of a crop and nothing else, but for what is given."""
    one, no = torch.ones(n), torch.zeros(n, dtype=torch.bool)
    fields = {"mirror": no, "sigma": None, "threshold": None, **given}
    if "colours" not in fields:
        fields["colours"] = colours.colour_maps(one, one, one, no, None, None, 3).scaled(1 / 255)
    return Draws(*(one * side for side in box), **fields)  # type: ignore[arg-type]


# Each operation is torchvision's, computed there with more digits.

BOXES = [((0, 0, 37, 53), 16), ((3, 5, 11, 9), 32), ((10, 20, 27, 33), 30), ((36, 52, 1, 1), 7), ((0, 0, 37, 53), 1)]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("box", "size"), [*BOXES, ((2, 1, 35, 50), 33), ((0, 0, 37, 53), 100)])
def test_crop_resize_and_mirror_are_torchvisions(box: tuple[int, int, int, int], size: int, mirror: bool) -> None:
    rows = noise(1, 3, 37, 53)
    got = compiled(rows, drawn(1, box, mirror=torch.tensor([mirror])), ViewRecipe(), size)
    want = F.resized_crop(rows.double() / 255, *box, [size, size], antialias=True)
    want = F.horizontal_flip(want) if mirror else want
    torch.testing.assert_close(got.double(), want, atol=2e-6, rtol=0)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
@pytest.mark.parametrize(
    ("box", "size"), [((0, 0, 37, 53), 20), ((3, 5, 11, 9), 64), ((0, 0, 37, 53), 37), ((36, 52, 1, 1), 96)]
)
def test_a_blur_after_them_is_torchvisions(box: tuple[int, int, int, int], size: int, sigma: float) -> None:
    rows, recipe = noise(2, 3, 37, 53), ViewRecipe(blur_kernel=0.3)
    got = compiled(rows, drawn(2, box, sigma=torch.tensor([0.0, sigma])), recipe, size)
    sharp = F.resized_crop(rows.double() / 255, *box, [size, size], antialias=True)
    blurred = F.gaussian_blur(sharp[1], [2 * blur_radius(size, 0.3) + 1] * 2, [sigma, sigma])
    torch.testing.assert_close(got[0].double(), sharp[0], atol=2e-6, rtol=0)
    torch.testing.assert_close(got[1].double(), blurred, atol=2e-6, rtol=0)


def test_jitter_in_every_order_is_torchvisions_when_nothing_is_clamped() -> None:
    orders = torch.tensor(list(itertools.permutations(range(4))))
    row = noise(1, 3, 11, 11) // 4 + 96
    n, b, c, s, h = len(orders), 0.9, 1.3, 1.2, -0.15
    grey, threshold = torch.arange(n) % 5 == 0, torch.where(torch.arange(n) % 3 == 0, 0.5, 2.0)
    maps = colours.colour_maps(*(torch.full((n,), v) for v in (b, c, s)), grey, torch.full((n,), h), orders, 3)
    draws = drawn(n, (0, 0, 11, 11), colours=maps.scaled(1 / 255), threshold=threshold)
    got = compiled(row.expand(n, -1, -1, -1), draws, ViewRecipe(), 11)
    steps = (
        lambda x: F.adjust_brightness(x, b),
        lambda x: F.adjust_contrast(x, c),
        lambda x: F.adjust_saturation(x, s),
        lambda x: F.adjust_hue(x, h),
    )
    for i, order in enumerate(orders.tolist()):
        want = row[0] / 255
        for step in order:
            want = steps[step](want)
        want = F.rgb_to_grayscale(want, 3) if grey[i] else want
        want = F.solarize(want, 0.5) if threshold[i] < 1 else want
        near = (want - 0.5).abs() < 1e-4 if threshold[i] < 1 else torch.zeros(want.shape, dtype=torch.bool)
        assert (got[i] - want)[~near].abs().max() < 1e-5


# The whole is what tensors make.


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (96, 96, 96), (140, 75, 90), (23, 61, 40), (1, 1, 8), (300, 90, 17)]
)
def test_views_are_those_of_tensors(
    name: str, channels: int, height: int, width: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = noise(12, channels, height, width)
    make = ImageViews(size, channels, recipe=name)
    assert views._road("cpu") is kernels.by_kernels
    got = [*make(rows, generator()), make.plain(rows)]
    monkeypatch.setattr(views, "_road", lambda device: tensors.by_tensors)
    want = [*make(rows, generator()), make.plain(rows)]
    for a, b in zip(got, want, strict=True):
        error = (a - b).abs()
        flipped = error > 1  # solarise turns a pixel around at a threshold that rounding may miss
        assert flipped.float().mean() < (1e-3 if name == "byol" else 1e-9)
        assert error[~flipped].max() < 5e-4 and error.mean() < 2e-3


def test_a_view_is_the_same_to_the_bit_alone_in_any_batch_and_in_any_number_of_threads() -> None:
    rows = noise(13, 3, 50, 70)
    make = ImageViews(64, 3, recipe="byol")
    whole = make(rows, generator())
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(whole, make(rows, generator()), strict=True))
    for i in range(13):
        alone = make(rows, generator(), part=slice(i, i + 1))
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(whole, alone, strict=True))


def test_rows_that_lie_scattered_in_memory_are_read_as_they_are() -> None:
    rows = noise(4, 3, 30, 30)
    scattered = rows.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    make = ImageViews(24, 3)
    for a, b in zip(make(rows, generator()), make(scattered, generator()), strict=True):
        assert torch.equal(a, b)


# Where numba or a folder for what it compiles is missing.


def test_without_numba_views_are_made_by_tensors() -> None:
    code = "import sys; sys.modules['numba'] = None\nfrom nearfar.modalities.images import views, tensors\n"
    code += "assert views._road('cpu') is tensors.by_tensors"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numba_is_imported_when_views_are_made_and_not_before() -> None:
    code = "import sys, torch\nfrom nearfar.modalities.images.views import ImageViews\nmake = ImageViews(8, 1)\n"
    code += "assert 'numba' not in sys.modules\nmake.plain(torch.zeros(1, 1, 9, 9, dtype=torch.uint8))\n"
    code += "assert 'numba' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_devices_other_than_a_cpu_use_tensors() -> None:
    assert views._road("cuda") is tensors.by_tensors


def test_code_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    space: dict[str, object] = {}
    exec("def double(x):\n    return 2 * x", space)  # no file, so that there is no place beside it
    assert kernels._kept(space["double"])(21) == 42  # type: ignore[arg-type]
