"""Items unlike all normal ones, by what a run learned, and how well that tells anomalies where labels say which."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .data.source import Source
from .errors import ConfigError, DataError
from .evaluation import Metric, anomaly_scores, auroc_quality
from .opening import open_run
from .run import Run, save

logger = logging.getLogger(__name__)

LISTED = 12  # classes with a figure of their own


@dataclass(frozen=True)
class Anomalies:
    """Items in the order of the data, with how unlike the normal ones each is.

    Attributes:
        names, labels: of the items; a label is "" where it is unknown.
        scores: (N,) sum of squared distances to the k nearest normal items; larger is more unlike.
        normal: how many normal items there were; of: their labels, all of them when there are none.
        areas: AUROC by what gave the features, "nearfar" first; {} where nobody said which items are anomalies.
        classes: AUROC of each anomalous class against the normal items, by the run.
        why: what is missing where there is no AUROC.
    """

    names: list[str]
    labels: list[str]
    scores: np.ndarray
    normal: int
    of: list[str]
    areas: dict[str, Metric]
    classes: dict[str, Metric]
    why: str = ""

    @property
    def order(self) -> np.ndarray:
        """Positions of the items, most unlike first."""
        return np.argsort(-self.scores, kind="stable")

    def __str__(self) -> str:
        kinds = f" ({', '.join(self.of)})" if self.of else ""
        lines = [f"{len(self.names):,} items by their distance to {self.normal:,} normal ones{kinds}."]
        lines += [f"{metric.name:12} {metric.short()}  {features}" for features, metric in self.areas.items()]
        shown = list(self.classes.items())[:LISTED] if len(self.classes) > 1 else []
        lines += [f"  {name}: {metric.short()}" for name, metric in shown]
        return "\n".join([*lines, *([f"No AUROC: {self.why}."] if self.why else [])])

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "items": len(self.names),
            "normal": self.normal,
            "normal_classes": self.of,
            "auroc": {features: metric.to_json() for features, metric in self.areas.items()},
            "classes": {name: metric.to_json() for name, metric in self.classes.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON."""
        return save(Path(path), json.dumps(self.to_json(), indent=1).encode())


def anomalies(
    run: Run | str | Path,
    data: str | Path | Source,
    normal: str | Path | Source | None = None,
    classes: Sequence[str] = (),
    k: int = 2,
    resamples: int = 1000,
    seed: int = 0,
    progress: bool | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Anomalies:
    """Score items by how unlike all normal ones they are, beside raw features.

    Where labels say which items of the data are normal, the AUROC says how well that tells them: of an item that has a
    label, it is normal where the label is one of `classes`, or one that normal items have where none are named.

    Args:
        run: a run, its folder, or an encoder by name (see `nearfar.opening.open_run`).
        data: the items to score; the test part where they come in two.
        normal: normal items; the training part of the data when None.
        classes: labels that are normal. Normal items that have another label are left out.
        k: nearest normal items whose distances are added up.

    Raises:
        ConfigError: the normal items are those to score, or a class that no item has. DataError: fewer than k normal
        items.

    >>> print(anomalies("runs/fashion", "today/", normal="good/"))          # doctest: +SKIP
    """
    say = on_step or (lambda text: None)
    made = run if isinstance(run, Run) else open_run(run, data if normal is None else normal)
    train, held = made.read(data, progress)
    if normal is None and held is None:
        raise ConfigError(f"{data} has no test part, so say which items are normal: --normal DATA")
    if normal is not None and _same(normal, data) and held is None:
        raise ConfigError(f"{data} cannot be the normal items too, each the nearest to itself; keep some apart")
    known = train if normal is None else made.read(normal, progress)[0]
    rows = train if held is None else held
    known, of = _normal(known, rows, classes)
    if not 1 <= k <= len(known):
        raise DataError(f"k = {k} nearest of {len(known)} normal items; give more normal items, or a smaller k")
    twice = len(set(known.digests(np.arange(len(known)))) & set(rows.digests(np.arange(len(rows)))))
    if twice:
        logger.warning("%s items to score are normal items too, at no distance from themselves; keep them apart", twice)
    say("normal items")
    bank = made.embed(known, progress).vectors
    say("items to score")
    vectors = made.embed(rows, progress).vectors
    say("distances")
    scores = anomaly_scores(bank, vectors, k)
    labels = [rows.classes[label] if label >= 0 else "" for label in _labels(rows)]
    odd = np.array([-1 if not label else int(label not in of) for label in labels])
    why = _missing(odd, of)
    areas: dict[str, Metric] = {}
    per_class: dict[str, Metric] = {}
    if not why:
        areas["nearfar"] = auroc_quality(scores, odd, resamples, seed)
        say(made.modality.baseline)
        raw = anomaly_scores(made.modality.raw(known), made.modality.raw(rows), k)
        areas[made.modality.baseline] = auroc_quality(raw, odd, resamples, seed)
        for name in sorted({label for label, is_odd in zip(labels, odd, strict=True) if is_odd > 0}):
            kept = np.array([label == name for label in labels]) | (odd == 0)
            per_class[name] = auroc_quality(scores[kept], odd[kept], resamples, seed)
    say("done")
    return Anomalies(list(rows.names), labels, scores, len(known), of, areas, per_class, why)


def _same(one: str | Path | Source, other: str | Path | Source) -> bool:
    if isinstance(one, Source) or isinstance(other, Source):
        return one is other
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _labels(source: Source) -> np.ndarray:
    return np.full(len(source), -1) if source.labels is None else source.labels


def _normal(known: Source, rows: Source, classes: Sequence[str]) -> tuple[Source, list[str]]:
    """Normal items, and what labels of normal items are."""
    labels = _labels(known)
    present = [known.classes[label] for label in np.unique(labels[labels >= 0])]
    if not classes:
        return known, present
    missing = [name for name in classes if name not in {*present, *rows.classes}]
    if missing:
        every = ", ".join(sorted({*present, *rows.classes})) or "none"
        raise ConfigError(f"no item has the label {missing[0]!r}; labels there are: {every}")
    if not present:
        return known, list(classes)
    kept = np.flatnonzero([label >= 0 and known.classes[label] in classes for label in labels])
    return known.select(kept), list(classes)


def _missing(odd: np.ndarray, of: list[str]) -> str:
    """Why there can be no AUROC, or nothing."""
    if not (odd >= 0).any():
        return "the items have no labels"
    if not of:
        return "the normal items have no labels, so say which label is normal: --class NAME"
    if not (odd == 0).any():
        return f"no item is labelled {', '.join(of)}; say which label is normal: --class NAME"
    if not (odd > 0).any():
        return "all labels are those of normal items; say which are normal: --class NAME"
    return ""
