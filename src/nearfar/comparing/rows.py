"""The rows of a comparison: what every method learns from, and what all of them are scored on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.source import Source, require
from ..data.split import stratified_split
from ..errors import DataError
from ..modalities import Modality

SPLIT_SEED = 0  # as `nearfar.evaluate` splits, so that it finds the same figures


@dataclass(frozen=True)
class Rows:
    """Rows to learn from and rows to score on.

    Attributes:
        train: learned from, and what probes are fitted on.
        test: scored on. Where there are no labels and no test part these are the rows of `train`.
        labelled: there are labels, so that there is more to measure than geometry.
        whole: the data as they lie on disk give `train`, without a split.
    """

    train: Source
    test: Source
    labelled: bool
    whole: bool


def read(path: Path, modality: Modality, options: Any, cache: Path | None, share: float, progress: bool) -> Rows:
    """Read the data of a comparison.

    Where labelled data have no test part, a share of every class is held out *before* training: methods that learn
    from labels must not have seen those of the rows they are scored on, and all methods learn from the same rows.

    Raises:
        DataError: fewer than two rows, labels of one class only, or a class with one row where a split is needed.
    """
    train, test = modality.read_pair(path, options, None, cache, progress)
    require(train, 2, "a comparison")
    known = np.zeros(0) if train.labels is None else np.unique(train.labels[train.labels >= 0])
    if len(known) == 1:
        raise DataError(
            f"{path}: all labels are {train.classes[int(known[0])]!r}, and probes need two classes: label more rows, "
            "or give the data without labels to compare the geometry alone"
        )
    labelled = len(known) > 1 and (test is None or (test.labels is not None and bool((test.labels >= 0).any())))
    if test is not None:
        return Rows(train, test, labelled, whole=True)
    if not labelled:
        return Rows(train, train, labelled, whole=True)
    try:
        kept, held = stratified_split(train.labels, share, SPLIT_SEED, train.classes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Rows(train.select(kept), train.select(held), labelled, whole=False)


def learned(rows: Rows, supervised: bool) -> Source:
    """The rows a method learns from: those with a label, if it learns from labels."""
    if not supervised or rows.train.labels is None:
        return rows.train
    return rows.train.select(np.flatnonzero(rows.train.labels >= 0))


def sample(source: Source, most: int, labelled: bool) -> Source:
    """At most so many rows of a source, the same every time; only those with a label where labels are needed."""
    rows = np.arange(len(source))
    if labelled and source.labels is not None:
        rows = rows[source.labels >= 0]
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    return source.select(rows)
