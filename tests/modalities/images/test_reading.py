"""Good input: every kind of data and every mode of image."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.data import require
from nearfar.errors import DataError
from nearfar.modalities.images import pixels as pixels_module
from nearfar.modalities.images.reading import read, read_pair


def noise(seed: int, height: int = 12, width: int = 12, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def put(path, array, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **settings)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes, one level deeper in one of them, hidden files, and something that is no image."""
    root = tmp_path / "photos"
    put(root / "dog" / "b.png", noise(0))
    put(root / "cat" / "deep" / "z.PNG", noise(1))
    put(root / "cat" / "a.png", noise(2))
    put(root / "cat" / ".hidden.png", noise(3))
    put(root / ".cache" / "x.png", noise(4))
    (root / "notes.txt").write_text("hello")
    return root


def test_class_folders(folder):
    source = read(folder)
    assert [os.path.relpath(name, folder) for name in source.names] == ["cat/a.png", "cat/deep/z.PNG", "dog/b.png"]
    assert source.classes == ["cat", "dog"]
    assert source.labels is not None and source.labels.tolist() == [0, 0, 1]
    assert source.ids.tolist() == [0, 1, 2]
    expected = np.stack([np.moveaxis(noise(seed), -1, 0) for seed in (2, 1, 0)])
    assert (source.rows(slice(None)).numpy() == expected).all()
    described = json.loads(json.dumps(source.describe()))
    assert described["shape"] == [3, 12, 12]
    assert described["ignored"] == {".txt": 1}


def test_flat_folder_has_no_labels(tmp_path):
    put(tmp_path / "b.png", noise(0))
    put(tmp_path / "a.jpg", noise(1))
    source = read(tmp_path)
    assert source.labels is None and source.classes == []
    assert [os.path.basename(name) for name in source.names] == ["a.jpg", "b.png"]


def test_images_beside_class_folders_are_unlabelled(folder):
    put(folder / "loose.png", noise(9))
    source = read(folder)
    assert source.labels is not None
    by_name = {os.path.basename(name): int(label) for name, label in zip(source.names, source.labels, strict=True)}
    assert by_name == {"loose.png": -1, "a.png": 0, "z.PNG": 0, "b.png": 1}


def test_links_are_followed_once(folder):
    (folder / "loop").symlink_to(folder)
    (folder / "wolf").symlink_to(put(folder.parent / "elsewhere" / "w.png", noise(5)).parent)
    source = read(folder)
    assert source.classes == ["cat", "dog", "wolf"]
    assert len(source) == 4


def test_one_image(tmp_path):
    file = put(tmp_path / "only.png", noise(0))
    for source in (read(file), read(tmp_path)):
        assert len(source) == 1
        with pytest.raises(DataError, match=r"training needs at least 2 items, and .* gives 1"):
            require(source, 2)


@pytest.mark.parametrize(("sides", "size"), [([(10, 30), (14, 12), (40, 20)], 12), ([(300, 400)], 224)])
def test_size_is_the_median_shorter_side_up_to_224(tmp_path, sides, size):
    for number, (height, width) in enumerate(sides):
        put(tmp_path / f"{number}.png", noise(number, height, width))
    assert read(tmp_path).describe()["shape"] == [3, size, size]


@pytest.mark.parametrize(("height", "width"), [(20, 50), (50, 20), (20, 21), (20, 20), (7, 1)])
def test_centre_square(tmp_path, height, width):
    array = noise(0, height, width)
    put(tmp_path / "a.png", array)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = array[top : top + side, left : left + side]
    assert (read(tmp_path, size=side).array[0] == np.moveaxis(square, -1, 0)).all()


def test_resizing_agrees_with_torchvision(tmp_path):
    import torch
    from torchvision.transforms.v2 import functional

    array = np.asarray(Image.fromarray(noise(0, 10, 10)).resize((60, 60), Image.Resampling.BICUBIC))
    put(tmp_path / "a.png", array)
    oracle = functional.resize(
        torch.tensor(np.moveaxis(array, -1, 0).copy()), [16, 16], interpolation=3, antialias=True
    )
    assert np.abs(read(tmp_path, size=16).array[0].astype(int) - oracle.numpy()).max() <= 1


def test_large_jpeg_stays_close_to_a_full_decode(tmp_path):
    smooth = np.asarray(Image.fromarray(noise(0, 9, 9)).resize((800, 800), Image.Resampling.BICUBIC))
    file = put(tmp_path / "a.jpg", smooth, quality=95)
    with Image.open(file) as image:
        oracle = np.moveaxis(np.asarray(image.resize((50, 50), Image.Resampling.BICUBIC)), -1, 0)
    assert np.abs(read(tmp_path, size=50).array[0].astype(int) - oracle).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation):
    array = noise(0, 6, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    put(tmp_path / "a.png", array, exif=exif)
    turned = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: np.rot90(array, -1),
        7: np.rot90(array.transpose(1, 0, 2), 2),
        8: np.rot90(array, 1),
    }[orientation]
    assert (read(tmp_path).array[0] == np.moveaxis(turned, -1, 0)).all()


GREY = noise(1, channels=1)
ALPHA = noise(2, channels=1)
COLOUR = noise(3)


def on_white(value: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha / 255
    return value * share + 255 * (1 - share)


@pytest.mark.parametrize(
    ("name", "image", "channels", "expected"),
    [
        ("l.png", Image.fromarray(GREY), 1, GREY),
        ("1.png", Image.fromarray(GREY > 99), 1, (GREY > 99) * 255.0),
        ("16.png", Image.fromarray(GREY.astype(np.uint16) * 257), 1, GREY),
        ("16.tif", Image.fromarray(GREY.astype(np.uint16) * 257), 1, GREY),
        ("i.tif", Image.fromarray(GREY.astype(np.int32) * 257), 1, GREY),
        ("la.png", Image.fromarray(np.dstack([GREY, ALPHA])), 1, on_white(GREY, ALPHA)),
        ("rgb.png", Image.fromarray(COLOUR), 3, COLOUR),
        ("rgb.bmp", Image.fromarray(COLOUR), 3, COLOUR),
        ("rgb.ppm", Image.fromarray(COLOUR), 3, COLOUR),
        ("rgb.webp", Image.fromarray(COLOUR), 3, COLOUR),
        ("rgba.png", Image.fromarray(np.dstack([COLOUR, ALPHA])), 3, on_white(COLOUR, ALPHA[..., None])),
        (
            "cmyk.tif",
            Image.merge("CMYK", [*Image.fromarray(255 - COLOUR).split(), Image.new("L", (12, 12))]),
            3,
            COLOUR,
        ),
        ("p.png", Image.fromarray(COLOUR).quantize(256), 3, COLOUR),
        ("p-grey.gif", Image.fromarray(GREY).convert("P"), 1, GREY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_modes(tmp_path, name, image, channels, expected):
    image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    source = read(tmp_path)
    expected = expected[None] if channels == 1 else np.moveaxis(expected, -1, 0)
    assert source.array.shape == (1, channels, 12, 12)
    assert np.abs(source.array[0] - expected).max() <= 1


def test_transparent_palette_and_colour_key(tmp_path):
    indices = np.arange(144, dtype=np.uint8).reshape(12, 12) % 3
    image = Image.fromarray(indices).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "p.png", transparency=1)
    Image.fromarray(COLOUR).save(tmp_path / "rgb.png", transparency=tuple(int(v) for v in COLOUR[0, 0]))
    palette = np.array([[255, 0, 0], [255, 255, 255], [0, 0, 255]])
    keyed = np.where((COLOUR[0, 0] == COLOUR).all(-1, keepdims=True), 255, COLOUR)
    assert (read(tmp_path).array == np.stack([palette[indices], keyed]).transpose(0, 3, 1, 2)).all()


def test_grey_only_if_all_are_grey(tmp_path):
    put(tmp_path / "a.png", GREY)
    assert read(tmp_path).array.shape[1] == 1
    assert read(tmp_path, channels=3).array.shape[1] == 3
    put(tmp_path / "b.png", COLOUR)
    both = read(tmp_path)
    assert both.array.shape[1] == 3
    assert (both.array[0] == GREY).all()
    assert read(tmp_path, channels=1).array.shape[1] == 1


def test_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read(tmp_path).array == 10).all()


def test_duplicates_share_an_id(tmp_path):
    for name in ("a.png", "c.png", "d.bmp"):
        put(tmp_path / name, noise(0))
    put(tmp_path / "b.png", noise(1))
    source = read(tmp_path)
    assert source.ids.tolist() == [0, 1, 0, 0]
    assert source.describe()["duplicates"] == 2
    assert read(tmp_path, duplicates="own-id").ids.tolist() == [0, 1, 2, 3]


TABLES = {
    "t.csv": ",",
    "t.tsv": "\t",
    "semicolon.csv": ";",
}


@pytest.mark.parametrize("name", TABLES)
def test_text_tables(folder, name):
    rows = [("File", "n", "Label"), ("dog/b.png", "1", "wuff"), ("cat/a.png", "2", ""), ("cat/deep/z.PNG", "3", "miau")]
    table = folder / name
    table.write_text("\ufeff" + "".join(TABLES[name].join(row) + "\r\n" for row in rows), encoding="utf-8")
    source = read(table)
    assert [os.path.relpath(file, folder) for file in source.names] == ["dog/b.png", "cat/a.png", "cat/deep/z.PNG"]
    assert source.classes == ["miau", "wuff"]
    assert source.labels is not None and source.labels.tolist() == [1, -1, 0]
    assert (source.array[0] == np.moveaxis(noise(0), -1, 0)).all()
    assert read(table, label_column="n").classes == ["1", "2", "3"]


def test_parquet(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"where": ["dog/b.png", str(folder / "cat" / "a.png")], "target": [10, 9], "blob": [b"\xff", b"\x00"]}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    source = read(folder / "t.parquet", path_column="where")
    assert source.classes == ["9", "10"]
    assert source.labels is not None and source.labels.tolist() == [1, 0]


def test_table_without_labels(folder):
    (folder / "t.csv").write_text("image\ndog/b.png\n\ncat/a.png\n")
    source = read(folder / "t.csv")
    assert source.labels is None and len(source) == 2


def test_names_that_are_not_utf8(tmp_path):
    strange = os.fsdecode(b"caf\xe9.png")
    put(tmp_path / strange, noise(0))
    (tmp_path / "t.csv").write_bytes(b"path,label\ncaf\xe9.png,x\n")
    for path in (tmp_path, tmp_path / "t.csv"):
        source = read(path)
        assert source.names[0].endswith("caf\\xe9.png")
        json.dumps(source.describe(), ensure_ascii=False).encode()


def test_pair_of_folders_shares_size_channels_and_classes(tmp_path, caplog):
    put(tmp_path / "train" / "cat" / "a.png", noise(0))
    put(tmp_path / "train" / "dog" / "b.png", noise(1))
    put(tmp_path / "test" / "dog" / "c.png", noise(2, 30, 40, 1))
    put(tmp_path / "test" / "ant" / "d.png", noise(3, 30, 40, 1))
    put(tmp_path / "val" / "dog" / "e.png", noise(4))
    train, test = read_pair(tmp_path)
    assert test is not None and train.labels is not None and test.labels is not None
    assert train.array.shape[1:] == test.array.shape[1:] == (3, 12, 12)
    assert train.classes == test.classes == ["cat", "dog", "ant"]
    assert train.labels.tolist() == [0, 1]
    assert [test.classes[label] for label in test.labels] == ["ant", "dog"]
    assert "not used: val" in caplog.text
    assert read(tmp_path).fingerprint() == read(tmp_path, part="train").fingerprint()


def test_pair_without_a_test_part(folder):
    train, test = read_pair(folder)
    assert test is None and len(train) == 3


def test_cache_is_mapped_reused_and_renewed(folder, tmp_path, monkeypatch):
    (folder / "cat" / "broken.png").write_bytes(b"junk")
    cache = tmp_path / "made" / "cache"
    plain, first = read(folder), read(folder, cache=cache)
    assert isinstance(first.array, np.memmap)
    assert first.fingerprint() == plain.fingerprint()
    assert len(list(cache.iterdir())) == 1  # nothing half made is left

    moved = folder.rename(tmp_path / "moved")
    monkeypatch.setattr(pixels_module, "read_image", lambda *_: pytest.fail("decoded again"))
    again = read(moved, cache=cache)
    assert again.fingerprint() == plain.fingerprint()
    assert [item.reason for item in again.skipped] == [item.reason for item in plain.skipped]
    assert again.skipped[0].name == str(moved / "cat" / "broken.png")
    monkeypatch.undo()

    put(moved / "dog" / "b.png", noise(77))
    changed = read(moved, cache=cache)
    assert (changed.array[changed.index[-1]] == np.moveaxis(noise(77), -1, 0)).all()
    assert read(moved, cache=cache, size=6).array.shape == (3, 3, 6, 6)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("victim", ["pixels.npy", "rows.npz", "reasons.json"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_cache_is_made_again(folder, tmp_path, victim, harm):
    expected = read(folder, cache=tmp_path / "cache").fingerprint()
    (entry,) = (tmp_path / "cache").iterdir()
    if harm == "cut":
        os.truncate(entry / victim, (entry / victim).stat().st_size // 2)
    else:
        (entry / victim).unlink()
    assert read(folder, cache=tmp_path / "cache").fingerprint() == expected
    assert (entry / victim).exists()


def test_an_interrupted_reading_leaves_no_cache(folder, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pixels_module, "read_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read(folder, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_made_meanwhile_by_another_process_is_used(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    original, first = pixels_module._save, []

    def save(made: pixels_module.Pixels, workshop: Path) -> None:
        original(made, workshop)
        if not first:
            first.append(workshop)
            read(folder, cache=str(cache))

    monkeypatch.setattr(pixels_module, "_save", save)
    assert read(folder, cache=cache).fingerprint() == read(folder).fingerprint()
    assert len(list(cache.iterdir())) == 1


def test_readability_is_part_of_the_key(folder, tmp_path, monkeypatch):
    original = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("b.png") and original(path, mode))
    read(folder, cache=tmp_path / "cache")
    monkeypatch.undo()
    read(folder, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(read("~/photos")) == 3


@pytest.mark.parametrize(("module", "name"), [("PIL", "a.png"), ("pyarrow", "t.parquet")])
def test_a_missing_extra_is_named(folder, monkeypatch, module, name):
    (folder / name).touch()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'nearfar\[images\]'"):
        read(folder / name)
