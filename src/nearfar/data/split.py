"""Rows set apart: by class, a few per class, or as the folder says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nearfar.data.labels import UNKNOWN
from nearfar.errors import ConfigError, DataError

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation", "dev")  # the first that is there is the test part


def stratified_split(
    labels: np.ndarray | None, fraction: float, seed: int, classes: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Set the same fraction of every class apart.

    Of a class with n rows, n * fraction (rounded, at least 1, at most n - 1) are set apart. Rows without a label (-1)
    all stay in the first part.

    Args:
        labels: (N,) int64, -1 = unknown.
        fraction: share to set apart, above 0 and below 1.
        seed: 0 or more; equal seeds give equal splits.
        classes: names for messages.

    Returns:
        Row numbers, ascending, of the rest and of the part set apart.

    Raises:
        ConfigError: fraction outside (0, 1).
        DataError: no labels, or a class with fewer than 2 rows (named).

    Example:
        >>> rest, apart = stratified_split(np.array([0, 0, 0, 0, 1, 1]), fraction=0.25, seed=0)
        >>> len(rest), len(apart)
        (4, 2)
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction must lie between 0 and 1, not {fraction}")
    apart = []
    for rows in _shuffled_by_class(labels, 2, seed, classes):
        apart.append(rows[: min(max(round(len(rows) * fraction), 1), len(rows) - 1)])
    chosen = np.zeros(len(np.asarray(labels)), dtype=bool)
    chosen[np.concatenate(apart)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def few_shot(labels: np.ndarray | None, per_class: int, seed: int, classes: Sequence[str] = ()) -> np.ndarray:
    """Choose the same number of rows from every class; a smaller choice with the same seed is part of a larger one.

    Args:
        labels: (N,) int64, -1 = unknown, never chosen.
        per_class: rows from each class.
        seed: 0 or more; equal seeds give equal choices.
        classes: names for messages.

    Returns:
        Row numbers, ascending.

    Raises:
        ConfigError: per_class below 1.
        DataError: no labels, or a class with fewer rows (named).

    Example:
        >>> labels = np.array([0, 1, 0, 1, 0, -1])
        >>> labels[few_shot(labels, per_class=2, seed=0)].tolist().count(1)
        2
    """
    if per_class < 1:
        raise ConfigError(f"per_class must be 1 or more, not {per_class}")
    return np.sort(np.concatenate([rows[:per_class] for rows in _shuffled_by_class(labels, per_class, seed, classes)]))


def apart_by_id(ids: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Set a fraction of the rows apart so that no id stands on both sides: whole items, drawn until there are enough.

    Args:
        ids: (N,) which item a row is of.
        fraction: share of the rows to set apart, above 0 and below 1.
        seed: 0 or more; equal seeds give equal splits.

    Returns:
        Row numbers, ascending, of the rest and of the part set apart; neither is empty.

    Raises:
        DataError: there is one item only.

    Example:
        >>> [part.tolist() for part in apart_by_id(np.array([0, 0, 2, 3, 3]), fraction=0.4, seed=0)]
        [[0, 1, 2], [3, 4]]
    """
    items, inverse, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    if len(items) < 2:
        raise DataError("all rows are one item by their ids, so that none can be held out; leave held_out out")
    order = np.random.default_rng(seed).permutation(len(items))
    wanted = min(max(1, int(np.searchsorted(sizes[order].cumsum(), fraction * len(ids))) + 1), len(items) - 1)
    chosen = np.zeros(len(items), dtype=bool)
    chosen[order[:wanted]] = True
    apart = chosen[inverse.reshape(-1)]
    return np.flatnonzero(~apart), np.flatnonzero(apart)


class Parts(NamedTuple):
    """The folders of a data set that comes in parts, and the names of further folders that belong to neither."""

    train: Path
    test: Path
    unused: list[str]


def find_parts(path: Path) -> Parts | None:
    """The training and test folders of a data set that comes as `train/` and `test/` (or `val/`, `dev/` ...).

    Args:
        path: a folder.

    Returns:
        The parts, or None when the folder is not laid out so. With both test/ and val/, test/ is taken.

    Example:
        >>> find_parts(Path("no/such/folder")) is None
        True
    """
    if not path.is_dir():
        return None
    folders = {child.name.lower(): child for child in sorted(path.iterdir()) if child.is_dir()}
    train = next((folders[name] for name in TRAIN_NAMES if name in folders), None)
    test = next((folders[name] for name in TEST_NAMES if name in folders), None)
    if train is None or test is None:
        return None
    unused = sorted(child.name for child in folders.values() if child not in (train, test) and child.name[0] != ".")
    return Parts(train, test, unused)


def _shuffled_by_class(labels: np.ndarray | None, minimum: int, seed: int, classes: Sequence[str]) -> list[np.ndarray]:
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, not {seed}")
    if labels is None or not (np.asarray(labels) != UNKNOWN).any():
        raise DataError("the data has no labels, and choosing rows by class needs them")
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    groups = []
    for label in np.unique(labels[labels != UNKNOWN]):
        rows = np.flatnonzero(labels == label)
        if len(rows) < minimum:
            name = classes[label] if label < len(classes) else str(label)
            raise DataError(f"class {name!r} has {len(rows)} labelled rows and needs at least {minimum}")
        groups.append(rng.permutation(rows))
    return groups
