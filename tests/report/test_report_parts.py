from __future__ import annotations

import base64
import importlib.util
import io

import numpy as np
import pytest
from PIL import Image
from report_samples import full, history, images
from sklearn.decomposition import PCA

from nearfar.report import Neighbours, ReportData, map, pictures, plots
from nearfar.report.curves import series, snapshots
from nearfar.report.style import DARK, LIGHT


def opened(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


@pytest.mark.parametrize("shape", [(50, 8), (5, 30), (2, 3)])
def test_pca_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    flat, share = map.pca(x)
    oracle = PCA(2).fit(x)
    np.testing.assert_allclose(np.abs(flat), np.abs(oracle.transform(x)), atol=1e-9)
    assert share == pytest.approx(oracle.explained_variance_ratio_.sum())


@pytest.mark.parametrize("x", [np.ones((6, 4)), np.arange(5.0)[:, None]], ids=["all equal", "one dimension"])
def test_flat_data_still_has_a_place(x: np.ndarray) -> None:
    points = map.place(map.pca(x)[0])
    assert points.min() >= 0 and points[:, 0].max() <= 1000 and points[:, 1].max() <= 720


def test_places_keep_the_shape() -> None:
    flat = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    points = map.place(flat)
    assert points[1, 0] - points[0, 0] == pytest.approx(2 * (points[0, 1] - points[2, 1]), abs=2)


def test_at_most_five_thousand_points_and_only_finite_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map, "MOST_POINTS", 40)
    x = np.random.default_rng(0).normal(size=(60, 8))
    x[7, 2] = np.nan
    page = map.embedding_map(full(embeddings=x))
    assert page.count("h0") == 40
    assert "Shown: 40 of 59 items" in page and "1 embedding left out: not finite" in page
    assert page == map.embedding_map(full(embeddings=x))


def test_without_pacmap_the_map_is_pca_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    x = np.random.default_rng(0).normal(size=(200, 5))
    assert "PCA" in map.project(x, "auto")[1]
    with pytest.raises(ImportError, match=r"nearfar\[report\]"):
        map.project(x, "pacmap")


@pytest.mark.slow
def test_pacmap_separates_groups_and_repeats_with_its_seed() -> None:
    pytest.importorskip("pacmap")
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    x = random.normal(size=(300, 10)) + 12 * np.eye(3, 10)[labels]
    flat, how = map.project(x)
    assert "PaCMAP, seed 0" in how
    np.testing.assert_array_equal(flat, map.project(x)[0])
    centres = np.stack([flat[labels == k].mean(0) for k in range(3)])
    assert (np.linalg.norm(flat[:, None] - centres, axis=2).argmin(1) == labels).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGBA"), (7, "RGB")])
def test_small_pictures_keep_every_pixel(channels: int, mode: str) -> None:
    image = images(1, channels, 9)[0]
    made = pictures.picture(image, 64)
    assert made.mode == mode
    back = opened(pictures.data_uri(made)).reshape(9, 9, -1)
    np.testing.assert_array_equal(back, image[: back.shape[2]].transpose(1, 2, 0))


def test_large_pictures_are_made_small_and_keep_their_shape() -> None:
    made = pictures.picture(np.zeros((3, 300, 600), np.uint8), 112)
    assert made.size == (112, 56)
    assert pictures.data_uri(made).startswith("data:image/webp")


def test_a_sheet_holds_each_image_in_its_cell() -> None:
    shades = np.linspace(10, 250, 7).astype(np.uint8)
    uri, side, across = pictures.sheet(np.ones((7, 1, 8, 8), np.uint8) * shades[:, None, None, None])
    sheet = opened(uri).astype(int)
    assert (side, across) == (8, 3)
    for position, shade in enumerate(shades):
        top, left = position // across * side, position % across * side
        assert (sheet[top : top + side, left : left + side] == shade).all()


def test_the_grid_says_in_words_who_agrees() -> None:
    grid = Neighbours(images(2), [images(2), images(2)], [0, -1], [[0, 1], [1, 1]], [[0.9, 0.8], [0.7, 0.6]])
    page = pictures.neighbours(full(neighbours=grid))
    assert "1 of 2 neighbours have the query’s label" in page
    assert 'alt="Neighbour 1 of query 1: shirt, same label"' in page
    assert 'alt="Neighbour 2 of query 1: bag, another label"' in page
    assert page.count("tile agree") == page.count("tile differ") == 1 and page.count("tile plain") == 2


def test_a_grid_without_labels_judges_nothing() -> None:
    page = pictures.neighbours(full(neighbours=Neighbours(images(1), [images(2)])))
    assert "edge" not in page and page.count("tile plain") == 2


def test_series_take_only_rows_that_have_the_key() -> None:
    x, y = series([{"step": 0.0, "a": 1.0}, {"step": 5.0}, {"step": 9.0, "a": float("inf")}], "a")
    assert x.tolist() == [0.0, 9.0] and y[0] == 1.0 and np.isnan(y[1])


def test_first_middle_and_last_snapshot_of_the_usable_ones() -> None:
    rows = history(9)
    rows[0]["near_hist"] = [0] * 40
    rows[8]["far_hist"] = None
    assert [step for step, _, _ in snapshots(rows)] == [10, 40, 70]
    assert len(snapshots(rows[:2])) == 1 and snapshots(rows[:1]) == []


def test_overlap_of_histograms() -> None:
    a, b = np.array([4.0, 0, 0]), np.array([0.0, 0, 9])
    assert plots.overlap(a, b) == 0 and plots.overlap(a, a) == 1
    assert plots.overlap(np.array([1.0, 1]), np.array([1.0, 3])) == pytest.approx(0.75)


def test_thin_keeps_extremes_and_gaps() -> None:
    y = np.arange(1000.0)
    y[500:510] = np.nan
    x, middle, low, high = plots.thin(np.arange(1000.0), y, 100)
    assert len(x) == 100 and np.nanmin(low) == 0 and np.nanmax(high) == 999
    assert np.isnan(middle[50]) and np.isfinite(middle).sum() == 99
    assert ((low <= middle) & (middle <= high))[np.isfinite(middle)].all()


def test_runs_are_the_stretches_between_gaps() -> None:
    nan = np.nan
    assert plots.runs(np.array([nan, 1, 2, nan, 3])) == [slice(1, 3), slice(4, 5)]
    assert plots.runs(np.array([nan])) == []


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, -0.1), (1e-7, 4e-7), (12, 90000), (0.999, 1.001)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    marks = plots.ticks(low, high)
    assert 2 <= len(marks) <= 6
    slack = 1e-9 * (high - low)
    assert low - slack <= marks[0] and marks[-1] <= high + slack
    np.testing.assert_allclose(np.diff(marks), marks[1] - marks[0], rtol=1e-4)


# Machado, Oliveira and Fernandes 2009, full severity, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(colours: tuple[str, ...]) -> np.ndarray:
    c = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = rgb @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    f = np.asarray([np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (xyz / [0.9505, 1, 1.089]).ravel()])
    x, y, z = f.reshape(-1, 3).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(
    ("colours", "paper", "least"), [(LIGHT, "#fdfdfb", 2.2), (DARK, "#14171b", 3.1)], ids=["light", "dark"]
)
def test_class_colours_stay_apart_for_every_sight(
    sight: str, colours: tuple[str, ...], paper: str, least: float
) -> None:
    seen = lab(np.clip(linear(colours) @ np.asarray(SIGHT[sight]).T, 0, 1))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(len(colours), 1)]
    assert len(colours) == map.COLOURS and apart.min() > 20
    light = np.array([0.2126, 0.7152, 0.0722])
    ink, page = linear(colours) @ light + 0.05, float((linear((paper,)) @ light)[0]) + 0.05
    assert (np.maximum(ink, page) / np.minimum(ink, page)).min() > least


def test_neighbours_may_be_texts():
    grid = Neighbours(["a <b>cat"], [["two dogs", "a tree"]], [0], [[0, 1]], [[0.9, 0.25]])
    page = pictures.neighbours(ReportData(title="t", classes=["animal", "plant"], neighbours=grid))
    assert "a &lt;b&gt;cat" in page and "<img" not in page
    assert page.index("two dogs") < page.index("0.90") < page.index("a tree") < page.index("0.25")
    assert 'class="tile words agree"' in page and 'class="tile words differ"' in page
