"""The page of anomalies: how well scores tell them, how scores lie, and the items that are most unlike or mistaken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.report.data import ReportData
from nearfar.report.page import document
from nearfar.report.plots import histogram
from nearfar.report.summary import headline, what_was_run
from nearfar.report.tables import results
from nearfar.report.text import esc, section
from nearfar.report.tiles import TILES, items, tile

BINS = 40
_STYLE = TILES + ".narrow{max-width:34rem}.narrow .panels{grid-template-columns:1fr}section>.items{margin-top:1.2rem}\n"


@dataclass(frozen=True)
class Item:
    """An item: name, what stands below it, what there is to show (see `nearfar.report.tiles.tile`), whether normal."""

    name: str
    caption: str
    row: Mapping[str, Any]
    normal: bool


@dataclass(frozen=True)
class AnomalyPage:
    """What the page shows.

    report: title, verdict, evaluation (features -> AUROC), source and command, as in any report.
    about: a sentence on what was compared. why: what is missing where there is no AUROC.
    usual, odd: scores of normal items, and of anomalies; all scores and none where nobody said which are which.
    classes: AUROC of each anomalous class. unlike, mistaken, missed: the most unlike items, the most unlike of the
    normal ones, and the least unlike anomalies.
    """

    report: ReportData
    about: str
    usual: np.ndarray
    odd: np.ndarray
    unlike: Sequence[Item]
    mistaken: Sequence[Item] = ()
    missed: Sequence[Item] = ()
    classes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    why: str = ""


def render_anomalies(page: AnomalyPage) -> str:
    """The page as one string of HTML that needs nothing from outside.

    >>> one = Item("a.png", "0.9", {"text": "a <b>"}, normal=False)
    >>> made = AnomalyPage(ReportData("Odd"), "One item.", np.array([0.9]), np.array([]), [one])
    >>> "a &lt;b&gt;" in render_anomalies(made), "Anomalies that" in render_anomalies(made)
    (True, False)
    """
    report = page.report
    edge = " Normal ones have a green edge." if len(page.odd) else ""
    unlike = _strip("unlike", "Most unlike", f"Below each its place among all and its score.{edge}", page.unlike)
    mistaken = _strip("mistaken", "Normal items that look most anomalous", "Most unlike first.", page.mistaken)
    missed = _strip("missed", "Anomalies that look most normal", "Least unlike first.", page.missed)
    parts = {
        "summary": ("Summary", _summary(page)),
        "scores": ("Scores", _scores(page)),
        "unlike": ("Most unlike", unlike),
        "mistaken": ("Normal, most unlike", mistaken),
        "missed": ("Anomalies, least unlike", missed),
        "results": ("Results", results(report)),
        "classes": ("Classes", _classes(page)),
        "run": ("What was run", what_was_run(report)),
    }
    present = {anchor: part for anchor, part in parts.items() if part[1]}
    meta = (f"nearfar {report.version}".strip(), report.created)
    return document(report.title, meta, present, style=_STYLE, script="")


def _summary(page: AnomalyPage) -> str:
    verdict = f'<p class="verdict">{esc(page.report.verdict)}</p>' if page.report.verdict else ""
    missing = f'<p class="warn"><b>No AUROC:</b> {esc(page.why)}.</p>' if page.why else ""
    about = f'<p class="lead">{esc(page.about)}</p>'
    return section("summary", "Summary", "", verdict + about + missing + headline(page.report))


def _scores(page: AnomalyPage) -> str:
    edges = np.histogram_bin_edges(np.concatenate([page.usual, page.odd]), BINS)
    usual, odd = (np.histogram(scores, edges)[0] for scores in (page.usual, page.odd))
    both = [counts for counts in (usual, odd) if counts.sum()]
    top = 1.05 * max(float((counts / counts.sum()).max()) for counts in both)
    names = ("normal items", "anomalies") if len(page.odd) else ("all items", "")
    kinds = [(css, name) for css, name in zip(("near", "far"), names, strict=True) if name]
    keys = "".join(
        f'<li><span class="key {css}"></span>{name}, {len(scores):,}</li>'
        for (css, name), scores in zip(kinds, (page.usual, page.odd), strict=False)
    )
    chart = histogram("How unlike", usual, odd, top, (float(edges[0]), float(edges[-1])), names)
    lead = (
        "The score of an item is the sum of its squared distances to the nearest normal ones; more is more unlike. "
        "Heights are shares of the items of each kind."
    )
    body = f'<div class="narrow"><ul class="keys">{keys}</ul><div class="panels">{chart}</div></div>'
    return section("scores", "Scores", lead, body)


def _strip(anchor: str, heading: str, lead: str, some: Sequence[Item]) -> str:
    tiles = [tile(one.name, one.caption, one.row, one.normal and anchor == "unlike") for one in some]
    return section(anchor, heading, lead, items(tiles) if tiles else "")


def _classes(page: AnomalyPage) -> str:
    if len(page.classes) < 2:
        return ""
    every = next(iter(page.report.evaluation.values()))
    lines = {"all": every["AUROC"], **page.classes}
    table = {name: {"AUROC": {**metric, "settings": {}}} for name, metric in lines.items()}
    lead = "How well the scores tell each anomalous class from the normal items, the hardest first, below all together."
    return results(ReportData("", evaluation=table), "classes", "By class", lead, "Anomalies")
