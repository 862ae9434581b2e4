"""Where items come from: read by every modality, carried by selections and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar.data import ArraySource
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.modalities import find
from nearfar.modalities.tables.reading import read as read_table
from nearfar.modalities.text.reading import read as read_texts
from nearfar.training.feed import Feed


def told(source) -> list[str | None]:
    """The domain of every item by name."""
    assert source.domains is not None and source.domains.dtype == np.int64
    return [source.domain_names[number] if number >= 0 else None for number in source.domains]


def pictures() -> ArraySource:
    return ArraySource("images", np.arange(4 * 9, dtype=np.uint8).reshape(4, 1, 3, 3))


def test_domains_follow_a_selection_and_count_for_the_fingerprint():
    plain, source = pictures(), pictures().in_domains(["b", "a", None, "b"])
    assert plain.domains is None and "domains" not in plain.describe()
    assert told(source) == ["b", "a", None, "b"] and source.describe()["domains"] == ["a", "b"]
    part = source.select(np.array([3, 2, 1]))
    assert told(part) == ["b", None, "a"]
    other = pictures().in_domains(["b", "b", None, "b"])
    assert len({plain.fingerprint(), source.fingerprint(), other.fingerprint()}) == 3
    with pytest.raises(DataError, match="3 domains for 4 items"):
        pictures().in_domains(["a", "b", "c"])
    with pytest.raises(DataError, match="a list where the name"):
        pictures().in_domains([["a"], "b", "c", "d"])


def test_a_batch_carries_them_and_a_feed_fills_them_in():
    batch = Batch([torch.zeros(2, 3)], torch.arange(2), domains=torch.tensor([1, -1]))
    assert batch.to("cpu").domains.tolist() == [1, -1]
    with pytest.raises(DataError, match="2 ids has columns of lengths"):
        Batch([torch.zeros(2, 3)], torch.arange(2), domains=torch.tensor([1]))

    class Sampler:
        batch_size, steps_per_epoch = 2, 2

        def batch(self, step: int) -> np.ndarray:
            return np.array([3, 2])

        def state(self) -> dict:
            return {}

    views = find("images").views({"shape": [1, 8, 8]}, 2, find("images").Options())
    source = ArraySource("images", np.zeros((4, 1, 8, 8), np.uint8)).in_domains(["b", "a", None, "b"])
    assert Feed(source, views, Sampler(), 0).prepare(0).batch.domains.tolist() == [1, -1]


def test_pictures_in_folders_of_folders(tmp_path):
    for place in ("sketch/cat", "photo/cat", "photo/dog/more"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(np.random.default_rng(len(place)).integers(0, 255, (8, 8), np.uint8)).save(
            tmp_path / place / "a.png"
        )
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "alone.png")
    images = find("images")

    def read(**options):
        return images.read(tmp_path, images.Options(**options), None, None, False)

    source = read(folders="domain/label")
    assert told(source) == [None, "photo", "photo", "sketch"]
    assert [source.classes[y] if y >= 0 else None for y in source.labels] == [None, "cat", "dog", "cat"]
    assert read().domains is None and read().classes == ["photo", "sketch"]
    assert read(folders="-/domain").labels is None and read(folders="-/domain").domain_names == ["cat", "dog"]
    for wrong in ("place/label", "label/label", ""):
        with pytest.raises(ConfigError, match="of each level of folders"):
            images.Options(folders=wrong)


def test_pictures_named_in_a_table_and_in_an_archive(tmp_path):
    for name in "ab":
        Image.fromarray(np.full((8, 8), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("path,label,place\na.png,x,north\ngone.png,x,south\n,x,east\nb.png,y,west\n")
    images = find("images")
    source = images.read(tmp_path / "t.csv", images.Options(domain_column="place"), None, None, False)
    assert told(source) == ["north", "west"] and source.classes == ["x", "y"]
    with pytest.raises(DataError, match=r"no column 'plac' \(domain_column\)"):
        images.read(tmp_path / "t.csv", images.Options(domain_column="plac"), None, None, False)
    # Data to embed need not say it.
    facts = {"shape": [1, 8, 8]}
    assert images.read(tmp_path / "t.csv", images.Options(domain_column="plac"), facts, None, False).domains is None
    many = np.zeros((3, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", images=many, domains=np.array([7, -1, 5]), test_images=many,
             test_domains=np.array([7, 9, 9]))  # fmt: skip
    train, test = images.read_pair(tmp_path / "a.npz", images.Options(), None, None, False)
    assert told(train) == ["7", None, "5"] and told(test) == ["7", "9", "9"]
    assert train.domain_names == test.domain_names == ["5", "7", "9"]


def test_rows_of_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("age,place,label\n1.5,north,a\n2,,b\n7,south,a\n")
    source = read_table(tmp_path / "t.csv", domain_column="place")
    assert told(source) == ["north", None, "south"]
    assert [column["name"] for column in source.details["columns"]] == ["age"]
    assert [c["name"] for c in read_table(tmp_path / "t.csv").details["columns"]] == ["age", "place"]
    with pytest.raises(DataError, match="domain_column"):
        read_table(tmp_path / "t.csv", domain_column="region")
    (tmp_path / "u.csv").write_text("age\n1.5\n2\n")
    assert read_table(tmp_path / "u.csv", domain_column="place", like=source.describe()).domains is None
    np.savez(tmp_path / "t.npz", rows=np.eye(3), labels=np.arange(3), domains=np.array(["n", "s", "n"]))
    assert told(read_table(tmp_path / "t.npz")) == ["n", "s", "n"]


def test_texts_in_a_table_and_in_folders(tmp_path):
    (tmp_path / "t.csv").write_text("text,label,topic\nA cat sat,x,news\n,x,law\nA dog ran,y,\n")
    source = read_texts(tmp_path / "t.csv", domain_column="topic")
    assert told(source) == ["news", None] and source.classes == ["x", "y"]
    assert told(source.select(np.array([1, 0]))) == [None, "news"]
    with pytest.raises(DataError, match=r"no column 'topi' \(domain_column\); did you mean 'topic'"):
        read_texts(tmp_path / "t.csv", domain_column="topi")
    for place in ("books/good", "films/bad"):
        (tmp_path / "f" / place).mkdir(parents=True)
        (tmp_path / "f" / place / "a.txt").write_text(f"About {place}\nand more\n")
    for unit, count in (("file", 1), ("line", 2)):
        source = read_texts(tmp_path / "f", folders="domain/label", unit=unit)
        assert told(source) == ["books"] * count + ["films"] * count and source.classes == ["bad", "good"]
