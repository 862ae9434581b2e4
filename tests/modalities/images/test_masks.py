from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images.decode import read_image
from nearfar.modalities.images.masks import read_masked

GENERATOR = np.random.default_rng(0)


def drawn(folder: Path, n: int = 10, shape: tuple[int, int] = (24, 32)) -> Path:
    """Pictures with drawn masks: a square of class 1 or 2 somewhere."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for row in range(n):
        mask = np.zeros(shape, dtype=np.uint8)
        mask[4 + row % 5 :, 10:20] = 1 + row % 2
        mask[0] = 255
        Image.fromarray(GENERATOR.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(folder / f"images/{row}.jpg")
        Image.fromarray(mask).save(folder / f"masks/{row}.png")
    return folder


def discs(folder: Path, classes: tuple[str, ...] = ("",), each: int = 6, side: int = 40) -> Path:
    """Red discs on nothing."""
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    opaque = down**2 + across**2 < (side * 0.4) ** 2
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for row in range(each):
            pixels = np.zeros((side, side, 4), dtype=np.uint8)
            pixels[..., 0], pixels[..., 3] = 200 + row, opaque * 255
            Image.fromarray(pixels).save(folder / name / f"{row}.png")
    return folder


def photographs(folder: Path, colours: tuple[int, ...] = (40, 90, 140, 190)) -> Path:
    """Plain blue photographs, each of its own shade."""
    folder.mkdir()
    for colour in colours:
        Image.fromarray(np.full((50, 70, 3), (0, 0, colour), dtype=np.uint8)).save(folder / f"{colour}.png")
    return folder


def test_pictures_and_masks_are_cut_by_the_same_rule(tmp_path: Path) -> None:
    train, test = read_masked(drawn(tmp_path), size=24, progress=False)
    assert (len(train.masks), len(test.masks)) == (8, 2) and train.origin == "drawn"
    assert train.classes == test.classes == ["background", "class 1", "class 2"]
    for part in (train, test):
        for row, name in enumerate(part.source.names):
            expected = read_image(Path(name), 24, 3)
            assert (part.source.rows(np.array([row]))[0].numpy() == expected).all()
            whole = np.asarray(Image.open(name.replace("images", "masks").replace("jpg", "png")))
            assert (part.masks[row] == whole[:, 4:28]).all()  # the largest centred square of 32 x 24


def test_masks_are_resized_without_mixing_classes(tmp_path: Path) -> None:
    train, _ = read_masked(drawn(tmp_path), size=12, progress=False)
    whole = np.asarray(Image.open(train.source.names[0].replace("images", "masks").replace("jpg", "png")))[:, 4:28]
    assert (train.masks[0] == whole[1::2, 1::2]).all()  # the middle of a cell of two lies on the second pixel
    assert set(np.unique(train.masks)) <= {0, 1, 2, 255}


@pytest.mark.parametrize("mode", ["P", "1", "I;16"])
def test_masks_of_other_modes(tmp_path: Path, mode: str) -> None:
    drawn(tmp_path)
    for file in (tmp_path / "masks").iterdir():
        values = np.minimum(np.asarray(Image.open(file)), 1)
        if mode == "1":
            made = Image.fromarray(values.astype(bool))
        elif mode == "P":
            made = Image.fromarray(values, "P")
            made.putpalette([200, 0, 0, 0, 200, 0])
        else:
            made = Image.fromarray(values.astype(np.uint16))
        assert made.mode == mode
        made.save(file)
    train, _ = read_masked(tmp_path, size=24, progress=False)
    assert set(np.unique(train.masks)) == {0, 1}


def test_parts_names_and_folders(tmp_path: Path) -> None:
    drawn(tmp_path / "train", 4), drawn(tmp_path / "test", 3)
    (tmp_path / "train" / "classes.txt").write_text("sky\nroof\n")
    train, test = read_masked(tmp_path, size=24, progress=False)
    assert (len(train.masks), len(test.masks)) == (4, 3)
    assert test.classes == ["sky", "roof", "class 2"] and train.source.labels is None
    elsewhere = read_masked(tmp_path / "train", size=24, test=tmp_path / "test", progress=False)
    assert (elsewhere[1].masks == test.masks).all()


def test_cut_outs_on_white_are_what_the_reader_shows(tmp_path: Path) -> None:
    train, _ = read_masked(discs(tmp_path), size=20, progress=False)
    assert train.origin == "transparency" and train.classes == ["background", "foreground"]
    for row, name in enumerate(train.source.names):
        picture = train.source.rows(np.array([row]))[0].numpy()
        assert (picture == read_image(Path(name), 20, 3)).all()
        # White outside, no green inside; the edge is mixed by resizing the picture and not by resizing the mask.
        assert ((picture[1] < 128) == (train.masks[row] == 1)).mean() > 0.97
    assert train.masks.mean() == pytest.approx(np.pi * 0.16, abs=0.02)


def test_the_class_of_a_cut_out_is_its_folder(tmp_path: Path) -> None:
    train, test = read_masked(discs(tmp_path, ("apple", "beet")), size=20, progress=False)
    assert train.classes == ["background", "apple", "beet"]
    for part in (train, test):
        assert part.source.labels is not None
        assert (part.masks.reshape(len(part.masks), -1).max(axis=1) == 1 + part.source.labels).all()


def test_cut_outs_are_pasted_where_the_mask_says_and_parts_share_no_photograph(tmp_path: Path) -> None:
    discs(tmp_path / "discs", each=40), photographs(tmp_path / "photos")
    parts = read_masked(tmp_path / "discs", size=32, backgrounds=tmp_path / "photos", progress=False)
    shades = []
    for part in parts:
        assert part.origin == "pasted"
        pictures = part.source.rows(slice(0, len(part.masks))).numpy()
        inside, outside = part.masks == 1, part.masks == 0
        red, blue = pictures[:, 0].astype(int), pictures[:, 2].astype(int)
        assert (red[inside] > blue[inside]).mean() > 0.97  # edges are mixed
        assert (red[outside] < 60).mean() > 0.97
        corners = np.stack([blue[:, 0, 0], blue[:, 0, -1], blue[:, -1, 0], blue[:, -1, -1]])
        shades.append({int(value) for value in np.unique(corners)})
        widths = (part.masks.any(axis=1)).sum(axis=1)
        assert widths.min() >= 0.4 * 32 * 0.8 - 2 and widths.max() <= 0.9 * 32 * 0.8 + 2 and len(set(widths)) > 3
    assert len(shades[0]) == len(shades[1]) == 2 and not shades[0] & shades[1]


def test_the_same_seed_gives_the_same_scenes(tmp_path: Path) -> None:
    discs(tmp_path / "discs"), photographs(tmp_path / "photos")
    once, again, other = (
        read_masked(tmp_path / "discs", size=32, backgrounds=tmp_path / "photos", seed=seed, progress=False)[0]
        for seed in (0, 0, 1)
    )
    assert once.source.fingerprint() == again.source.fingerprint() and (once.masks == again.masks).all()
    assert once.source.fingerprint() != other.source.fingerprint()


@pytest.mark.parametrize("channels", [1, 3])
def test_scenes_are_written_as_they_are_read_back(tmp_path: Path, channels: int) -> None:
    discs(tmp_path / "discs", ("apple", "beet"), each=5), photographs(tmp_path / "photos")
    parts = read_masked(tmp_path / "discs", size=16, channels=channels, backgrounds=tmp_path / "photos", progress=False)
    for part, name in zip(parts, ("train", "test"), strict=True):
        part.save(tmp_path / "scenes" / name)
    again = read_masked(tmp_path / "scenes", size=16, channels=channels, progress=False)
    for before, after in zip(parts, again, strict=True):
        assert before.classes == after.classes and (before.masks == after.masks).all()
        assert before.source.fingerprint() == after.source.fingerprint()
    with pytest.raises(ConfigError, match="exists already"):
        parts[0].save(tmp_path / "scenes" / "train")


def test_what_cannot_be_used_is_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn(tmp_path)
    (tmp_path / "masks/0.png").write_bytes(b"not a picture")
    Image.new("RGB", (32, 24)).save(tmp_path / "masks/1.png")
    Image.new("L", (10, 10)).save(tmp_path / "masks/2.png")
    Image.fromarray(np.full((24, 32), 700, np.uint16)).save(tmp_path / "masks/3.png")
    train, test = read_masked(tmp_path, size=24, progress=False)
    lost = {Path(item.name).stem: item.reason for item in [*train.source.skipped, *test.source.skipped]}
    assert set(lost) == {"0", "1", "2", "3"} and len(train.masks) + len(test.masks) == 6
    assert "not an image" in lost["0"] and "3 channels" in lost["1"] and "700" in lost["3"]
    assert "is 10 x 10, and its picture 32 x 24 pixels large" in lost["2"]
    assert "pictures left out. First:" in caplog.text


def test_cut_outs_without_transparency_or_folder_are_left_out(tmp_path: Path) -> None:
    discs(tmp_path, ("apple", "beet"))
    Image.new("RGB", (40, 40)).save(tmp_path / "apple" / "plain.png")
    for name in ("loose", "loose2"):
        Image.new("RGBA", (40, 40)).save(tmp_path / f"{name}.png")
    train, test = read_masked(tmp_path, size=20, progress=False)
    reasons = {Path(item.name).stem: item.reason for item in [*train.source.skipped, *test.source.skipped]}
    assert "no transparency" in reasons["plain"] and "in no folder" in reasons["loose"]


def test_bad_folders_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; give a folder of pictures with masks"):
        read_masked(tmp_path / "nowhere", size=16, progress=False)
    drawn(tmp_path / "missing")
    (tmp_path / "missing/masks/3.png").unlink()
    with pytest.raises(DataError, match=r"1 of 10 pictures have no mask. First: .*masks/3.png is not there"):
        read_masked(tmp_path / "missing", size=16, progress=False)
    drawn(tmp_path / "empty")
    for file in (tmp_path / "empty/masks").iterdir():
        Image.fromarray(255 * (np.asarray(Image.open(file)) > 0).astype(np.uint8)).save(file)
    with pytest.raises(DataError, match=r"no class but the background .* write the foreground as 1"):
        read_masked(tmp_path / "empty", size=16, progress=False)
    discs(tmp_path / "discs"), photographs(tmp_path / "photos"), photographs(tmp_path / "one", (40,))
    with pytest.raises(ConfigError, match="have a background already"):
        read_masked(drawn(tmp_path / "d"), size=16, backgrounds=tmp_path / "photos", progress=False)
    with pytest.raises(DataError, match="1 photographs; two are needed"):
        read_masked(tmp_path / "discs", size=16, backgrounds=tmp_path / "one", progress=False)
    with pytest.raises(DataError, match="0 photographs"):
        read_masked(tmp_path / "discs", size=16, backgrounds=tmp_path / "nowhere", progress=False)
    with pytest.raises(DataError, match="masks are drawn in one of them only"):
        read_masked(tmp_path / "discs", size=16, test=tmp_path / "d", progress=False)
    with pytest.raises(DataError, match=r"none of the .* images can be read. First: .*no transparency"):
        read_masked(tmp_path / "photos", size=16, progress=False)
    with pytest.raises(DataError, match="one part has class folders"):
        read_masked(discs(tmp_path / "sorted", ("a", "b")), size=16, test=tmp_path / "discs", progress=False)
