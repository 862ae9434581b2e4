"""NumPy archives, good and bad."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nearfar.data import bundled
from nearfar.errors import DataError
from nearfar.modalities.images.reading import read, read_pair

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 8, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)


def save(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (np.moveaxis(COLOUR, 1, -1), COLOUR),
        (COLOUR.astype(np.int64), COLOUR),
        (COLOUR.astype(np.float64), COLOUR),
        (COLOUR.astype(np.float32) / 255, COLOUR),
        (COLOUR / 255, COLOUR),
        (np.array([0.0, 0.25, 1.0]).repeat(64).reshape(3, 8, 8), np.array([0, 64, 255]).repeat(64).reshape(3, 1, 8, 8)),
        (np.asfortranarray(COLOUR), COLOUR),
    ],
)
def test_axes_and_types(tmp_path, images, expected):
    source = read(save(tmp_path, images=images))
    assert source.array.dtype == np.uint8
    assert (source.array == expected).all()
    assert source.labels is None
    assert source.names[2] == f"{tmp_path / 'a.npz'}[2]"


def test_half_precision_keeps_the_nearest_value(tmp_path):
    source = read(save(tmp_path, images=(COLOUR / 255).astype(np.float16)))
    assert np.abs(source.array.astype(int) - COLOUR).max() <= 1


def test_alpha_shows_white(tmp_path):
    alpha = np.full((5, 1, 8, 8), 51, np.uint8)
    source = read(save(tmp_path, images=np.concatenate([COLOUR, alpha], axis=1)))
    assert source.array.shape == (5, 3, 8, 8)
    assert np.abs(source.array - (COLOUR * 0.2 + 255 * 0.8)).max() <= 1


def test_size_and_channels_follow_the_rule_for_files(tmp_path):
    wide = RNG.integers(0, 256, (2, 20, 31, 3), dtype=np.uint8)
    for row, image in enumerate(wide):
        Image.fromarray(image).save(tmp_path / f"{row}.png")
    path = save(tmp_path, images=wide)
    for settings in ({}, {"size": 9}, {"size": 40, "channels": 1}):
        assert (read(path, **settings).array == read(tmp_path, **settings).array).all()
    assert read(save(tmp_path, images=np.zeros((1, 300, 400), np.uint8))).array.shape == (1, 1, 224, 224)


@pytest.mark.parametrize(
    ("labels", "extra", "expected", "classes"),
    [
        (np.array([3, 5, 3, -1, 5]), {}, [0, 1, 0, -1, 1], ["3", "5"]),
        (np.array([[0], [1], [2], [1], [0]]), {}, [0, 1, 2, 1, 0], ["0", "1", "2"]),
        (np.array(["b", "a", "", "b", "a"]), {}, [1, 0, -1, 1, 0], ["a", "b"]),
        (
            np.array([2, 0, -1, 0, 0], np.int8),
            {"classes": np.array(["x", "y", "z"])},
            [2, 0, -1, 0, 0],
            ["x", "y", "z"],
        ),
    ],
)
def test_labels(tmp_path, labels, extra, expected, classes):
    source = read(save(tmp_path, images=GREY, labels=labels, **extra))
    assert source.labels is not None and source.labels.tolist() == expected
    assert source.classes == classes


@pytest.mark.parametrize(
    ("train", "test", "labels"),
    [
        ("images", "test_images", ("labels", "test_labels")),
        ("x_train", "x_test", ("y_train", "y_test")),
        ("train_images", "val_images", ("train_labels", "val_labels")),
    ],
)
def test_pairs(tmp_path, train, test, labels):
    arrays = {train: GREY, test: GREY[:2, ::-1], labels[0]: [4, 4, 6, 6, 6], labels[1]: [6, 8]}
    path = save(tmp_path, **arrays)
    first, second = read_pair(path)
    assert second is not None and first.labels is not None and second.labels is not None
    assert first.classes == second.classes == ["4", "6", "8"]
    assert first.labels.tolist() == [0, 0, 1, 1, 1] and second.labels.tolist() == [1, 2]
    assert (second.array[:, 0] == GREY[:2, ::-1]).all()
    assert second.names[0] == f"{path}:{test}[0]"
    assert (read(path).array == first.array).all() and (read(path, part="test").array == second.array).all()


def test_pair_without_a_test_part(tmp_path):
    assert read_pair(save(tmp_path, images=GREY))[1] is None
    with pytest.raises(DataError, match=r"a\.npz: no array of images to test on: none of test_images, x_test"):
        read(save(tmp_path, images=GREY), part="test")


def test_bundled():
    train, test = read_pair(bundled.path())
    assert test is not None and train.labels is not None
    assert train.describe()["shape"] == [1, 28, 28]
    assert train.describe()["duplicates"] == 0
    assert np.bincount(train.labels).tolist() == [1000] * 10
    assert train.classes == test.classes and train.classes[9] == "Ankle boot"


def with_value(value: float) -> np.ndarray:
    images = GREY / 255
    images[3, 4, 5] = value
    return images


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": with_value(np.nan)}, r"a\.npz\[images\]: row 3 holds NaN or infinity"),
        ({"images": with_value(np.inf)}, r"row 3 holds NaN or infinity"),
        ({"images": with_value(-0.5)}, r"row 3 holds values outside 0 \.\. 255 \(-0\.5 to 1\); .*rescale"),
        ({"images": GREY.astype(np.int32) * 9}, r"row 0 holds values outside 0 \.\. 255"),
        ({"images": GREY.astype(complex)}, r"type complex128; images are uint8"),
        ({"images": np.zeros((5, 3, 8, 3))}, r"shape \(5, 3, 8, 3\) is ambiguous: both axis 1 \(3\) and axis 3 \(3\)"),
        ({"images": np.zeros((5, 8, 8, 7))}, r"shape \(5, 8, 8, 7\) has no axis of 1 \(grey\), 3 \(RGB\) or 4"),
        ({"images": np.zeros((8, 9, 3))}, r"shape \(8, 9, 3\) looks like one image .*images\[None\]"),
        ({"images": np.zeros((5, 64))}, r"shape \(5, 64\) is not \(N, H, W\)"),
        ({"images": np.zeros((0, 8, 8))}, r"shape \(0, 8, 8\) holds no pixels"),
        ({"images": np.array([GREY, None], dtype=object)}, r"\[images\]: an array of Python objects, .* never loaded"),
        ({"pictures": GREY}, r"no array of images to train on: none of images, .* Arrays there are: pictures"),
        ({}, r"Arrays there are: none"),
        ({"images": GREY, "labels": np.zeros(4, int)}, r"\[labels\]: shape \(4,\), but there are 5 images"),
        ({"images": GREY, "labels": np.zeros((5, 10))}, r"\[labels\]: shape \(5, 10\), but there are 5 images"),
        ({"images": GREY, "labels": np.array([None] * 5)}, r"\[labels\]: an array of Python objects"),
        (
            {"images": GREY, "labels": np.array([0, 1, 2, 0, 0]), "classes": np.array(["a", "b"])},
            r"\[labels\]: row 2 has label 2, but `classes` holds 2 names, 0 \.\. 1",
        ),
    ],
)
def test_bad_archives(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read(save(tmp_path, **arrays))


def test_rows_are_named_beyond_the_first_block(tmp_path):
    images = np.zeros((9000, 2, 2), np.float32)
    images[8500, 1, 1] = np.nan
    with pytest.raises(DataError, match="row 8500 holds NaN"):
        read(save(tmp_path, images=images))


def test_damaged_archives(tmp_path):
    file = save(tmp_path, images=GREY)
    whole = file.read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2], b"\x80\x04N."):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz: .*not a NumPy archive, or a damaged one"):
            read(file)
    flipped = bytearray(whole)
    flipped[300] ^= 0xFF
    file.write_bytes(flipped)
    with pytest.raises(DataError, match=r"a\.npz\[images\]: damaged"):
        read(file)
    with open(file, "wb") as stream:
        np.save(stream, GREY)
    with pytest.raises(DataError, match="a single array, not an archive"):
        read(file)
