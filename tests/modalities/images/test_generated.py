"""Generated pictures: which belongs to which, views of them, weights, and pictures that join the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nearfar as nf
from nearfar.data.batch import Batch
from nearfar.data.source import ArraySource
from nearfar.errors import ConfigError, DataError
from nearfar.methods import find
from nearfar.modalities.images.beside import ViewsBeside
from nearfar.modalities.images.generated import Found, among, find_generated, read_weights
from nearfar.modalities.images.modality import MODALITY, ImageOptions
from nearfar.modalities.images.reading import read
from nearfar.modalities.images.recipes import RECIPES
from nearfar.modalities.images.views import ImageViews
from nearfar.training.feed import Feed


def draw(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four pictures; of the second one picture was made, of the third two, and one of nothing."""
    for name, grey in {"cat/1.png": 10, "cat/2.png": 20, "dog/1.png": 30, "3.png": 40}.items():
        draw(tmp_path / "data" / name, grey)
    for name, grey in {"cat/2.jpg": 120, "dog/1/a.png": 130, "dog/1/b.png": 131, "dog/9.png": 200}.items():
        draw(tmp_path / "made" / name, grey)
    return tmp_path / "data", tmp_path / "made"


def row_of(source: ArraySource, grey: int) -> int:
    return int(np.flatnonzero(source.rows(slice(None))[:, 0, 0, 0].numpy() == grey)[0])


def test_pictures_belong_to_what_they_are_named_after(folders: tuple[Path, Path]) -> None:
    source = read(folders[0], progress=False)
    found = find_generated(folders[1], source, progress=False)
    assert found.orphans == ["dog/9.png"]
    greys = found.made.rows(slice(None))[:, 0, 0, 0].tolist()
    assert dict(zip(greys, found.rows.tolist(), strict=True)) == {
        120: row_of(source, 20), 130: row_of(source, 30), 131: row_of(source, 30),
    }  # fmt: skip


def test_an_archive_says_rows_or_names(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source = read(folders[0], progress=False)
    images = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, of=np.array(["dog/1", "cat/1.png", "dog/1.png"]))
    rows = find_generated(tmp_path / "a.npz", source).rows.tolist()
    assert sorted(rows) == sorted([row_of(source, 30), row_of(source, 10), row_of(source, 30)])
    np.savez(tmp_path / "data.npz", images=images)
    np.savez(tmp_path / "b.npz", images=images + 50, of=np.array([2, 0, 2]))
    found = find_generated(tmp_path / "b.npz", read(tmp_path / "data.npz"))
    assert found.rows.tolist() == [0, 2, 2]
    assert found.made.rows(slice(None))[:, 0, 0, 0].tolist() == [51, 50, 52]


def test_bad_pictures_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source = read(folders[0], progress=False)
    images = np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    np.savez(tmp_path / "b.npz", images=images, of=[0])
    np.savez(tmp_path / "c.npz", images=images, of=["x", "y"])
    for place, said in (("a.npz", "no array 'of'"), ("b.npz", "2 images"), ("c.npz", "none of 2"), ("d", "no folder")):
        with pytest.raises(DataError, match=said):
            find_generated(tmp_path / place, source)
    with pytest.raises(DataError, match="inside the data"):
        find_generated(folders[0] / "cat", source)
    draw(folders[0] / "cat" / "2.jpg", 21)
    draw(folders[1] / "cat" / "2.bmp", 9)
    with pytest.raises(DataError, match=r"cat/2\.bmp could belong to two"):
        find_generated(folders[1], read(folders[0], progress=False), progress=False)


def test_the_second_view_shows_a_generated_picture_and_all_of_them_in_time(folders: tuple[Path, Path]) -> None:
    source = read(folders[0], progress=False)
    beside = find_generated(folders[1], source, progress=False).beside(source)
    views = ViewsBeside(size=8, channels=1, count=3, recipe="digits", strength=0)
    index = np.arange(4)
    own = ImageViews(size=8, channels=1).plain(source.rows(index))
    shown: dict[int, set[int]] = {row: set() for row in range(4)}
    for step in range(40):
        made, boxes, weights = views.with_weights(beside.material(index), torch.Generator().manual_seed(step))
        assert weights is None and boxes is not None and len(boxes) == 3
        assert torch.allclose(made[0], own) and torch.allclose(made[2], own)
        for row, value in enumerate(made[1][:, 0, 0, 0].tolist()):
            shown[row].add(round((value * 0.25 + 0.5) * 255))
    first = {10: {10}, 20: {120}, 30: {130, 131}, 40: {40}}
    assert shown == {row_of(source, grey): greys for grey, greys in first.items()}


def test_a_share_of_a_batch_gets_what_the_whole_would_give_it(folders: tuple[Path, Path]) -> None:
    source = read(folders[0], progress=False)
    found = find_generated(folders[1], source, progress=False)
    beside = found.beside(source, np.array([0.5, 1.0, 1.5], np.float32))
    views = ViewsBeside(weighed=True, size=8, channels=1, recipe=RECIPES["digits"][0])
    whole = views.with_weights(beside.material(np.arange(4)), torch.Generator().manual_seed(3))
    part = views.with_weights(beside.material(np.arange(4)), torch.Generator().manual_seed(3), slice(1, 3))
    for one, other in zip(whole[0], part[0], strict=True):
        assert torch.equal(one[1:3], other)
    assert whole[2] is not None and part[2] is not None and torch.equal(whole[2][1:3], part[2])
    assert float(whole[2][row_of(source, 10)]) == 1


def test_selecting_keeps_pictures_with_their_items_and_the_fingerprint_knows_them(folders: tuple[Path, Path]) -> None:
    source = read(folders[0], progress=False)
    found = find_generated(folders[1], source, progress=False)
    beside = found.beside(source)
    row = row_of(source, 30)
    some = beside.select(np.array([row])).material(np.array([0]))
    assert int(some.count[0]) == 2
    assert {int(some.made.rows(np.array([some.first[0] + k]))[0, 0, 0, 0]) for k in (0, 1)} == {130, 131}
    prints = {source.fingerprint(), beside.fingerprint(), found.beside(source, np.ones(3, np.float32)).fingerprint()}
    assert len(prints) == 3


def test_weights_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    names = ["a.png", "b.png", "c.png", "d.png"]
    found = Found(ArraySource("images", np.zeros((4, 1, 8, 8), np.uint8), names=names), np.arange(4), [])
    with pytest.raises(ConfigError, match="4 of 4"):
        read_weights(folder, found, 1.0)
    quality = [0.9 - 0.2, 0.5 - 0.4, 0.7 - 0.7, 0.1 - 0.6]
    lines = [json.dumps({"generated": name, "quality": one}) for name, one in zip(names, quality, strict=True)]
    (folder / "quality.jsonl").write_text("\n".join(reversed(lines)))
    weights = read_weights(folder, found, 1.0)
    assert weights == pytest.approx([1.704600, 0.935504, 0.846479, 0.513416], abs=1e-5)  # of the published code
    assert read_weights(folder, found, 0.0) == pytest.approx(np.ones(4))
    (folder / "quality.jsonl").write_text(lines[0] + "\nnothing\n")
    with pytest.raises(DataError, match="line 2"):
        read_weights(folder, found, 1.0)


def test_pictures_that_join_the_data(folders: tuple[Path, Path]) -> None:
    source = read(folders[0], progress=False)
    source = source.in_domains(["a", "a", "b", "b"])
    joined = among(folders[1], source, 3, None, False)
    assert joined.domains is not None and joined.domains.tolist() == [0, 0, 1, 1] * 3 + [-1] * 4
    assert find_generated(folders[1], source, progress=False).beside(source).select(np.array([2])).domains == [1]
    greys = joined.rows(slice(None))[:, 0, 0, 0].tolist()
    assert sorted(greys) == sorted([10, 20, 30, 40] * 3 + [120, 130, 131, 200])
    ids = {grey: {int(one) for one in joined.ids[np.array(greys) == grey]} for grey in set(greys)}
    assert all(len(own) == 1 for own in ids.values()) and len(set.union(*ids.values())) == 8
    assert joined.labels is not None and source.labels is not None
    assert joined.labels[-4:].tolist() == [-1] * 4 and joined.labels[:4].tolist() == source.labels.tolist()


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for given, said in (
        ({"replicate": 2}, "set generated"),
        ({"generated": "x", "replicate": 2}, "generated_as=items"),
        ({"generated": "x", "generated_as": "items", "generated_weight": 1.0}, "generated_weight"),
    ):
        with pytest.raises(ConfigError, match=said):
            ImageOptions(**given)  # type: ignore[arg-type]
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    np.savez(tmp_path / "made.npz", images=images, of=np.arange(8))
    lines = [json.dumps({"generated": f"[{row}]", "quality": 0.1 * row}) for row in range(8)]
    (tmp_path / "made.quality.jsonl").write_text("\n".join(lines))
    how = {"generated": str(tmp_path / "made.npz"), "generated_weight": 1.0, "steps": 1, "batch_size": 8}
    with pytest.raises(ConfigError, match="counts all items alike"):
        nf.fit(tmp_path / "data.npz", tmp_path / "run", method="vicreg", progress=False, **how)


@pytest.mark.parametrize("method", ["simclr", "byol", "simsiam", "moco"])
def test_items_count_as_much_as_their_weights(method: str) -> None:
    """The loss is the weighted mean of those that each item has among the others."""
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 8))
    encoder.width = 8  # type: ignore[assignment]
    kind = find(method)
    made = kind(encoder, kind.Options(projection=4, **({"queue": 8} if method == "moco" else {}))).double().eval()
    if method == "moco":
        made.queue.push(torch.nn.functional.normalize(torch.randn(8, 4).double(), dim=1), torch.arange(100, 108))  # type: ignore[union-attr, operator]
    views = [torch.randn(4, 6).double() for _ in range(2)]

    def loss(weights: list[float] | None) -> float:
        batch = Batch(views, torch.arange(4), weights=None if weights is None else torch.tensor(weights))
        return made.contrast([made.project(view) for view in views], batch).loss.item()

    each = [loss([float(row == item) for row in range(4)]) for item in range(4)]
    assert loss([1.0] * 4) == pytest.approx(loss(None), abs=1e-9) == pytest.approx(np.mean(each), abs=1e-9)
    assert loss([3.0, 1.0, 0.0, 0.0]) == pytest.approx((3 * each[0] + each[1]) / 4, abs=1e-6)
    assert np.ptp(each) > 1e-3


def test_a_feed_brings_views_and_weights_of_generated_pictures(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    np.savez(tmp_path / "made.npz", images=np.full((2, 8, 8), 255, np.uint8), of=[4, 1])
    lines = [json.dumps({"generated": f"[{row}]", "quality": row}) for row in range(2)]
    (tmp_path / "made.quality.jsonl").write_text("\n".join(lines))
    options = ImageOptions(generated=str(tmp_path / "made.npz"), generated_weight=1.0, strength=0)
    source = MODALITY.learned(read(tmp_path / "data.npz"), options, None, False)
    views = MODALITY.views(source.describe(), 2, options)

    class InOrder:
        batch_size, steps_per_epoch = 6, 1

        def state(self) -> dict[str, int]:
            return {}

        def batch(self, step: int) -> np.ndarray:
            return np.arange(6)

    batch = Feed(source, views, InOrder(), seed=0).prepare(0).batch
    assert batch.weights is not None
    weights = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).mean()
    assert batch.weights.tolist() == pytest.approx([1, weights[1], 1, 1, weights[0], 1])
    white = (batch.views[1] > 1.99).flatten(1).all(1).tolist()
    assert white == [False, True, False, False, True, False]


def test_a_run_learns_from_generated_pictures(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8), np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    np.savez(tmp_path / "made.npz", images=255 - images, of=np.arange(16))
    how = {"generated": str(tmp_path / "made.npz"), "batch_size": 8, "steps": 2, "threads": 1}
    run = nf.fit(tmp_path / "data.npz", tmp_path / "run", progress=False, **how)
    assert run.config["source"]["generated"] == {"pictures": 16, "items": 16}
    assert run.embed(tmp_path / "data.npz", progress=False).vectors.shape[0] == 16
    (tmp_path / "made.npz").unlink()
    assert run.embed(tmp_path / "data.npz", progress=False).vectors.shape[0] == 16  # what is embedded needs none
    grown = {**how, "generated": str(tmp_path / "made2.npz"), "generated_as": "items", "replicate": 2}
    np.savez(tmp_path / "made2.npz", images=255 - images)
    joined = nf.fit(tmp_path / "data.npz", tmp_path / "joined", progress=False, **grown)
    assert joined.config["source"]["items"] == 2 * 16 + 16
