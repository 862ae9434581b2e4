from __future__ import annotations

import numpy as np
import pytest

from nearfar.data.split import few_shot, find_parts, stratified_split
from nearfar.errors import ConfigError, DataError

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, -1], [10, 20, 40, 7]))


def test_split_is_a_partition_with_equal_shares():
    rest, apart = stratified_split(LABELS, 0.3, seed=1)
    assert sorted([*rest, *apart]) == list(range(77))
    assert np.unique(LABELS[apart], return_counts=True)[1].tolist() == [3, 6, 12]
    assert (LABELS[rest] == -1).sum() == 7


def test_split_counts_agree_with_scikit_learn():
    from sklearn.model_selection import train_test_split

    labels = LABELS[LABELS >= 0]
    _, apart = stratified_split(labels, 0.25, seed=0)
    _, oracle = train_test_split(labels, test_size=0.25, stratify=labels, random_state=0)
    assert np.abs(np.bincount(labels[apart]) - np.bincount(oracle)).max() <= 1


def test_split_leaves_a_row_on_each_side():
    labels = np.array([0, 0, 1, 1, 1])
    for fraction in (0.01, 0.99):
        rest, apart = stratified_split(labels, fraction, seed=0)
        assert set(labels[rest]) == set(labels[apart]) == {0, 1}


def test_seed_decides():
    same = [stratified_split(LABELS, 0.3, seed=5)[1].tolist() for _ in range(2)]
    assert same[0] == same[1] != stratified_split(LABELS, 0.3, seed=6)[1].tolist()
    assert few_shot(LABELS, 3, seed=5).tolist() == few_shot(LABELS, 3, seed=5).tolist()
    assert few_shot(LABELS, 3, seed=5).tolist() != few_shot(LABELS, 3, seed=6).tolist()


def test_few_shot_counts_order_and_nesting():
    few, more = few_shot(LABELS, 2, seed=3), few_shot(LABELS, 9, seed=3)
    assert np.bincount(LABELS[few]).tolist() == [2, 2, 2]
    assert np.bincount(LABELS[more]).tolist() == [9, 9, 9]
    assert set(few) < set(more)
    assert (np.diff(more) > 0).all()


def test_few_shot_chooses_every_row_equally_often():
    labels = np.repeat([0, 1], [5, 50])
    counts = np.bincount(np.concatenate([few_shot(labels, 1, seed) for seed in range(2000)]), minlength=55)
    assert np.abs(counts[:5] - 400).max() < 80  # 4.5 standard deviations


@pytest.mark.parametrize("labels", [None, np.array([-1, -1])])
def test_no_labels(labels):
    for choose in (lambda: few_shot(labels, 1, 0), lambda: stratified_split(labels, 0.5, 0)):
        with pytest.raises(DataError, match="the data has no labels"):
            choose()


def test_small_class_is_named():
    labels = np.array([0, 0, 0, 1])
    with pytest.raises(DataError, match="class 'rare' has 1 labelled rows and needs at least 3"):
        few_shot(labels, 3, 0, ["common", "rare"])
    with pytest.raises(DataError, match="class '1' has 1 labelled rows and needs at least 2"):
        stratified_split(labels, 0.5, 0)


def test_settings():
    for fraction in (0, 1, -0.5, float("nan")):
        with pytest.raises(ConfigError, match="fraction must lie between 0 and 1"):
            stratified_split(LABELS, fraction, 0)
    with pytest.raises(ConfigError, match="per_class must be 1 or more, not 0"):
        few_shot(LABELS, 0, 0)
    with pytest.raises(ConfigError, match="seed must be 0 or more, not -1"):
        few_shot(LABELS, 1, -1)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train", "test"], ("train", "test", [])),
        (["Train", "VAL"], ("Train", "VAL", [])),
        (["train", "val", "test"], ("train", "test", ["val"])),
        (["train", "test", "extra", ".hidden"], ("train", "test", ["extra"])),
        (["training", "validation"], ("training", "validation", [])),
        (["train", "bus"], None),  # a class of vehicles
        (["test"], None),
        ([], None),
    ],
)
def test_find_parts(tmp_path, folders, expected):
    for folder in folders:
        (tmp_path / folder).mkdir()
    (tmp_path / "test.txt").touch()
    parts = find_parts(tmp_path)
    if expected is None:
        assert parts is None
    else:
        assert parts is not None
        assert (parts.train.name, parts.test.name, parts.unused) == expected
