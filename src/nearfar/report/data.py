"""What a report is made from: plain values only, so that a page can be written long after the model is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.errors import DataError

Image = np.ndarray
"""A picture: uint8, (C, H, W) with C = 1 (grey), 3 (RGB) or 4 (RGBA); of others the first 3 or 1."""


@dataclass
class Neighbours:
    """Queries and their nearest neighbours, nearest first.

    queries: Q images, or Q texts; neighbours: Q lists of up to k such (the lists may differ in length).
    query_labels (Q) and neighbour_labels (Q x k) are indices into `ReportData.classes`, -1 = unknown.
    similarities (Q x k), if given, are printed below each neighbour.
    """

    queries: Sequence[Image | str]
    neighbours: Sequence[Sequence[Image | str]]
    query_labels: Sequence[int] | None = None
    neighbour_labels: Sequence[Sequence[int]] | None = None
    similarities: Sequence[Sequence[float]] | None = None


@dataclass
class ReportData:
    """Everything a report can show; whatever is left at its default is left out of the page.

    title: heading of the page. verdict: one sentence on how good the vectors are.
    command: what was typed, a string or a list of arguments. version, created: printed as given.
    source: `Source.describe()`: {"kind", "items", "shape", "classes", "skipped"}, and "duplicates" (count or list);
      "skipped" is a count, or a list of {"name", "reason"} mappings, (name, reason) pairs or `Skipped` records.
    config: nested settings. timings: stage -> seconds.
    history: rows of metrics.jsonl; "step" is the horizontal axis, "chance" the loss of a model that tells nothing
      apart, "near_hist"/"far_hist" counts over equal bins of [-1, 1]; numeric keys this page does not know, and
      the mapping "terms", are drawn as named terms.
    evaluation: model -> metric -> {"value", "low", "high", "n"}; the first model is the one reported on, the others are
      its baselines.
    confusion: (K, K) counts, rows are the true classes, in the order of `classes`.
    embeddings: (M, D); labels (M), -1 = unknown; thumbnails: M images; names: M strings: all four row by row.
    contradicting: items, and for each the item of the same label that a biased encoder finds least alike and that of
      another label that it finds most alike.
    projection: "auto" (PaCMAP when installed, else PCA), "pacmap" or "pca".

    >>> data = ReportData(title="Shirts", evaluation={"nearfar": {"knn": {"value": 0.9, "n": 500}}})
    >>> data.check()
    """

    title: str
    verdict: str | None = None
    version: str = ""
    created: str = ""
    command: str | Sequence[str] = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    evaluation: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    confusion: Sequence[Sequence[float]] | np.ndarray | None = None
    embeddings: np.ndarray | None = None
    labels: Sequence[int] | np.ndarray | None = None
    thumbnails: Sequence[Image] | np.ndarray | None = None
    names: Sequence[str] | None = None
    neighbours: Neighbours | None = None
    contradicting: Neighbours | None = None
    projection: str = "auto"

    def check(self) -> None:
        """Refuse parts that do not fit together; raises DataError naming the part, its size and the size expected."""
        if self.projection not in ("auto", "pacmap", "pca"):
            raise DataError(f"projection is {self.projection!r}; it must be 'auto', 'pacmap' or 'pca'")
        if self.embeddings is not None:
            shape = np.shape(self.embeddings)
            if len(shape) != 2:
                raise DataError(f"embeddings have shape {shape}; they must be (M, D)")
            for part, rows in (("labels", self.labels), ("thumbnails", self.thumbnails), ("names", self.names)):
                if rows is not None and len(rows) != shape[0]:
                    raise DataError(f"{part} has {len(rows)} rows and embeddings have {shape[0]}; they must agree")
        if self.confusion is not None:
            shape = np.shape(self.confusion)
            if len(shape) != 2 or shape[0] != shape[1]:
                raise DataError(f"the confusion matrix has shape {shape}; it must be square")
            if self.classes and shape[0] != len(self.classes):
                raise DataError(
                    f"the confusion matrix has {shape[0]} rows and there are {len(self.classes)} class names"
                )
        for grid in (self.neighbours, self.contradicting):
            if grid is not None:
                _check_neighbours(grid)

    def class_name(self, label: int) -> str:
        """Name of a label; numbers beyond the list are shown as numbers, negative ones as 'unlabelled'."""
        if label < 0:
            return "unlabelled"
        return str(self.classes[label]) if label < len(self.classes) else f"class {label}"


def _check_neighbours(grid: Neighbours) -> None:
    per_query = (grid.neighbours, grid.query_labels, grid.neighbour_labels, grid.similarities)
    for part, rows in zip(("neighbours", "query_labels", "neighbour_labels", "similarities"), per_query, strict=True):
        if rows is not None and len(rows) != len(grid.queries):
            raise DataError(f"{part} has {len(rows)} rows for {len(grid.queries)} queries; there must be one for each")
    for part, table in (("neighbour_labels", grid.neighbour_labels), ("similarities", grid.similarities)):
        for row, images in enumerate(grid.neighbours if table is not None else ()):
            if table is not None and len(table[row]) != len(images):
                raise DataError(f"{part}[{row}] has {len(table[row])} entries for {len(images)} neighbours")
