"""Items unlike all normal ones, by what a run learned, and how well that tells anomalies where labels say which."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .data.source import Source
from .errors import ConfigError, DataError
from .evaluation import Metric, anomaly_scores, auroc_quality
from .modalities import Modality
from .modalities.tables.schema import columns_of, spelt
from .opening import open_run
from .run import Run, save
from .version import VERSION

if TYPE_CHECKING:
    from .report.anomalies import Item

logger = logging.getLogger(__name__)

LISTED = 12  # classes with a figure of their own
UNLIKE, MISTAKEN = 24, 12  # items on the page
SIDE, TEXT = 112, 240  # pixels of a picture, and characters of a text, that are shown there


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
        source, modality: the items themselves. k: nearest normal items whose distances were added up.
    """

    names: list[str]
    labels: list[str]
    scores: np.ndarray
    normal: int
    of: list[str]
    areas: dict[str, Metric]
    classes: dict[str, Metric]
    why: str
    source: Source
    modality: Modality
    k: int

    @property
    def odd(self) -> np.ndarray:
        """(N,) 1 for an anomaly, 0 for a normal item, -1 where nobody said."""
        return _odd(self.labels, self.of)

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

    def page(self, path: str | Path, command: str = "") -> Path:
        """Write a page to look at: figures, how the scores lie, the most unlike items, and those that are mistaken.

        Args:
            command: what was typed, for the page to say.
        """
        from .report.anomalies import AnomalyPage, render_anomalies
        from .report.data import ReportData
        from .report.page import put

        verdict = ""
        if self.areas:
            area = self.areas["nearfar"]
            share, low, high = (f"{100 * value:.1f}" for value in (area.value, area.low, area.high))
            verdict = (
                f"Of 100 pairs of an anomaly and a normal item, the anomaly is the more unlike in {share} (95% "
                f"interval {low} to {high}); by chance it would be 50."
            )
        kinds = f" ({', '.join(self.of[:LISTED])}{', ...' if len(self.of) > LISTED else ''})" if self.of else ""
        nearest = f"the {self.k} nearest" if self.k > 1 else "the nearest"
        report = ReportData(
            "Anomalies",
            verdict,
            VERSION,
            datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            command,
            source=self.source.describe(),
            evaluation={features: {"AUROC": metric.to_json()} for features, metric in self.areas.items()},
        )
        odd = self.odd if self.areas else np.full(len(self.names), -1)
        order = self.order
        usual, found = order[odd[order] == 0], order[odd[order] > 0]
        hardest = sorted(self.classes.items(), key=lambda one: one[1].value)
        made = AnomalyPage(
            report,
            f"{len(self.names):,} items by their distance to {nearest} of {self.normal:,} normal ones{kinds}.",
            self.scores[usual] if self.areas else self.scores,
            self.scores[found],
            self._items(order[:UNLIKE], odd),
            self._items(usual[:MISTAKEN], odd),
            self._items(found[::-1][:MISTAKEN], odd),
            {name: metric.to_json() for name, metric in hardest},
            self.why,
        )
        return put(Path(path), render_anomalies(made))

    def _items(self, rows: np.ndarray, odd: np.ndarray) -> list[Item]:
        """Some items as the page shows them, with their places among all."""
        from .report.anomalies import Item

        place = np.argsort(self.order)
        shown = looked_at(self.source, self.modality, rows) if len(rows) else []
        return [
            Item(
                self.names[row],
                f"#{place[row] + 1:,} · {self.scores[row]:.4f}",
                {"label": self.labels[row] or None, **look},
                bool(odd[row] == 0),
            )
            for row, look in zip(rows, shown, strict=True)
        ]


def looked_at(source: Source, modality: Modality, rows: np.ndarray) -> list[dict[str, Any]]:
    """What there is to see of some items: a small picture, the beginning of a text, or the cells of a row."""
    from .report.pictures import encoded, picture

    pictures = modality.pictures(source, rows)
    if isinstance(pictures, np.ndarray):
        return [{"thumbnail": encoded(picture(one, SIDE))[0]} for one in pictures]
    if pictures is None:
        texts = spelt(source.rows(rows).numpy(), columns_of(source.details))
    else:
        texts = [text if len(text) <= TEXT else f"{text[:TEXT].rstrip()} …" for text in source.rows(rows).columns[0]]
    called = [Path(source.names[row]).name if source.named else "" for row in rows]
    return [{"text": text, "called": name} for text, name in zip(texts, called, strict=True)]


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
    odd = _odd(labels, of)
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
    return Anomalies(list(rows.names), labels, scores, len(known), of, areas, per_class, why, rows, made.modality, k)


def _same(one: str | Path | Source, other: str | Path | Source) -> bool:
    if isinstance(one, Source) or isinstance(other, Source):
        return one is other
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _labels(source: Source) -> np.ndarray:
    return np.full(len(source), -1) if source.labels is None else source.labels


def _odd(labels: list[str], of: list[str]) -> np.ndarray:
    return np.array([-1 if not label else int(label not in of) for label in labels])


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
