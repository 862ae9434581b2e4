"""The rows of a comparison: what every method learns from, and what all of them are scored on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.source import Source, require
from ..data.split import apart_by_id, stratified_split
from ..errors import ConfigError, DataError
from ..matching import Matches, matches_in
from ..modalities import Modality

SPLIT_SEED = 0  # as `nearfar.evaluate` splits, so that it finds the same figures


@dataclass(frozen=True)
class Rows:
    """Rows to learn from and rows to score on.

    Attributes:
        train: learned from, and what probes are fitted on.
        test: scored on. Where there are no labels and no test part these are the rows of `train`.
        labelled: there are labels, so that there is more to measure than geometry.
        apart: what was held out before training; empty where the data as they lie on disk give `train`.
        matches: pairs among `test` that are searched.
    """

    train: Source
    test: Source
    labelled: bool
    apart: str = ""
    matches: Matches | None = None

    @property
    def whole(self) -> bool:
        """The data as they lie on disk give `train`, without a split."""
        return not self.apart

    @property
    def scored(self) -> bool:
        """There is more to measure than geometry."""
        return self.labelled or self.matches is not None


def read(
    path: Path,
    modality: Modality,
    options: Any,
    cache: Path | None,
    share: float,
    progress: bool,
    held_out: float = 0.0,
) -> Rows:
    """Read the data of a comparison.

    Where labelled data have no test part, a share of every class is held out *before* training: methods that learn
    from labels must not have seen those of the rows they are scored on, and all methods learn from the same rows. Of
    pairs the share `held_out` is, by whole items, and is searched: the first parts among the second parts.

    Raises:
        ConfigError: `held_out` of data that are no pairs that belong together, or that have a test part.
        DataError: fewer than two rows, labels of one class only, or a class with one row where a split is needed.
    """
    train, test = modality.read_pair(path, options, None, cache, progress)
    require(train, 2, "a comparison")
    if held_out:
        return _pairs(train, test, held_out)
    known = np.zeros(0) if train.labels is None else np.unique(train.labels[train.labels >= 0])
    if len(known) == 1:
        raise DataError(
            f"{path}: all labels are {train.classes[int(known[0])]!r}, and probes need two classes: label more rows, "
            "or give the data without labels to compare the geometry alone"
        )
    labelled = len(known) > 1 and (test is None or (test.labels is not None and bool((test.labels >= 0).any())))
    if test is not None:
        return Rows(train, test, labelled)
    if not labelled:
        return Rows(train, train, labelled)
    try:
        kept, held = stratified_split(train.labels, share, SPLIT_SEED, train.classes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Rows(train.select(kept), train.select(held), labelled, f"{share:.0%} of every class")


def _pairs(train: Source, test: Source | None, share: float) -> Rows:
    """Pairs, a share of which is held out and searched."""
    if len(train.parts()) < 2 or train.targets is not None:
        why = "have scores" if train.targets is not None else "are no pairs"
        raise ConfigError(f"held_out keeps pairs out of training and searches them, and these {train.kind} {why}; "
                          "leave it out")  # fmt: skip
    if test is not None:
        raise ConfigError("held_out is for pairs without a test part, and these data have one; leave it out")
    kept, held = apart_by_id(train.ids, share, SPLIT_SEED)
    apart = train.select(held)
    return Rows(train.select(kept), apart, False, f"{share:.0%} of the pairs", matches_in(apart, None))


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
