from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nearfar.data import ArraySource, Skipped, require
from nearfar.data.source import ids_by_content, row_digests
from nearfar.errors import DataError


def make(count: int = 6, seed: int = 0, **changes: object) -> ArraySource:
    array = np.random.default_rng(seed).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    settings = {"labels": np.arange(count) % 2, "classes": ["even", "odd"]} | changes
    return ArraySource("images", array, **settings)


def test_rows_are_copies_of_the_right_items():
    source = make()
    assert torch.equal(source.rows(slice(1, 3)), torch.tensor(source.array[1:3]))
    assert torch.equal(source.rows(np.array([4, 0, 4])), torch.tensor(source.array[[4, 0, 4]]))
    source.rows(slice(0, 6)).zero_()
    source.rows(np.array([0])).zero_()
    assert source.array.any(axis=(1, 2, 3)).all()


def test_rows_of_nothing():
    assert make().rows(np.array([], dtype=np.int64)).shape == (0, 1, 4, 4)


def test_rows_of_a_read_only_map(tmp_path, recwarn):
    np.save(tmp_path / "a.npy", make().array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    source = ArraySource("images", mapped)
    assert torch.equal(source.rows(slice(0, 6)), make().rows(slice(0, 6)))
    assert not recwarn.list
    assert source.fingerprint() == ArraySource("images", make().array).fingerprint()


def test_selecting_twice_equals_indexing_twice():
    source = make(names=[f"n{row}" for row in range(6)])
    part = source.select(np.array([5, 3, 1])).select(np.array([2, 0]))
    assert part.ids.tolist() == [1, 5]
    assert part.names == ["n1", "n5"]
    assert part.labels is not None and part.labels.tolist() == [1, 1]
    assert torch.equal(part.rows(slice(None)), torch.tensor(source.array[[1, 5]]))
    assert part.array is source.array


def test_selecting_with_a_mask_and_from_the_end():
    source = make()
    assert source.select(source.labels == 1).ids.tolist() == [1, 3, 5]
    assert source.select(np.array([-1])).ids.tolist() == [5]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (np.array([6]), "reaches from 6 to 6, but there are 6 items"),
        (np.array([0.5]), "vector of whole numbers, not float64"),
        (np.zeros((2, 2), int), r"shape \(2, 2\)"),
        (np.array([True, False]), r"a mask over 6 items must have shape \(6,\), not \(2,\)"),
    ],
)
def test_bad_selection(index, message):
    with pytest.raises(DataError, match=message):
        make().select(index)


def test_columns_of_another_length():
    with pytest.raises(DataError, match="6 items but 5 labels"):
        make(labels=np.zeros(5))
    with pytest.raises(DataError, match="6 items but 1 names"):
        make(names=["a"])


def test_fingerprint_sees_content_order_labels_ids_and_not_names():
    base = make().fingerprint()
    assert len(base) == 64 and base == make().fingerprint()
    assert base == make(names=list("abcdef")).fingerprint()
    others = [
        make(seed=1),
        make(labels=None),
        make(labels=np.zeros(6)),
        make(classes=["a", "b"]),
        make(ids=np.zeros(6)),
        make().select(np.array([1, 0, 2, 3, 4, 5])),
        make().select(np.arange(5)),
    ]
    prints = {other.fingerprint() for other in others}
    assert len(prints) == len(others) and base not in prints


def test_fingerprint_sees_one_pixel():
    array = make().array.copy()
    array[5, 0, 3, 3] ^= 1
    assert ArraySource("images", array).fingerprint() != ArraySource("images", make().array).fingerprint()


def test_fingerprint_of_a_selection_is_that_of_its_rows():
    source, index = make(), np.array([4, 2])
    alone = ArraySource("images", source.array[index], ids=index, labels=np.zeros(2), classes=["even", "odd"])
    assert source.select(index).fingerprint() == alone.fingerprint()


def test_describe_is_json():
    source = make(ids=np.array([0, 1, 0, 3, 0, 5]), skipped=[Skipped("x.png", "broken")], details={"path": "p"})
    described = json.loads(json.dumps(source.describe()))
    assert described == {
        "kind": "images",
        "items": 6,
        "shape": [1, 4, 4],
        "classes": ["even", "odd"],
        "labelled": 6,
        "duplicates": 2,
        "largest_id": 5,
        "skipped": 1,
        "skipped_examples": [{"name": "x.png", "reason": "broken"}],
        "path": "p",
    }


def test_ids_by_content_agree_with_a_naive_loop():
    rows = np.random.default_rng(3).integers(0, 2, (40, 3), dtype=np.uint8)
    naive = [next(j for j in range(40) if (rows[j] == rows[i]).all()) for i in range(40)]
    assert ids_by_content(row_digests(rows)).tolist() == naive
    assert ids_by_content(np.empty((0, 16), np.uint8)).shape == (0,)


def test_require():
    require(make(2), 2)
    one = make(1, skipped=[Skipped("x", "y")] * 3, details={"path": "photos"})
    with pytest.raises(
        DataError, match=r"training needs at least 2 items, and photos gives 1 \(3 more could not be read\)"
    ):
        require(one, 2)
    with pytest.raises(DataError, match="probing needs at least 5 items"):
        require(make(1), 5, "probing")
