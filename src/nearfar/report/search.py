"""The page of a search: queries to choose from, what each system found for them, and what the lists are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearfar.report.curves import flatten, series
from nearfar.report.data import ReportData
from nearfar.report.page import document, put
from nearfar.report.plots import Line, chart
from nearfar.report.search_style import SCRIPT, STYLE
from nearfar.report.summary import headline, what_was_run
from nearfar.report.tables import results
from nearfar.report.text import definitions, esc, json_block, plural, section


@dataclass(frozen=True)
class Asked:
    """A query, the documents that are right, and for each system the documents that it listed and the first right rank.

    Documents are numbers of `SearchPage.documents`; a rank of 0 says that no right one is in the list.
    """

    text: str
    right: Sequence[int]
    listed: Sequence[Sequence[int]]
    ranks: Sequence[int]


@dataclass(frozen=True)
class SearchPage:
    """What the page shows.

    report: title, verdict, evaluation (system -> metric), config, timings, source and command, as in any report.
    asked: queries to choose from. documents: number -> text. depth: length of the lists that ranks are counted in.
    differences: system -> JSON of the paired difference to it. mined: label -> count of the mining, in order. examples:
    rows of query, right document and mined negative. histories: name -> rows of metrics.jsonl.
    """

    report: ReportData
    asked: Sequence[Asked]
    documents: Mapping[int, str]
    depth: int
    differences: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mined: Mapping[str, int] = field(default_factory=dict)
    examples: Sequence[tuple[str, str, str]] = ()
    histories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def render_search(page: SearchPage) -> str:
    """The page as one string of HTML that needs nothing from outside.

    >>> made = SearchPage(ReportData("A search"), [Asked("a <b>", [0], [[0, 1]], [1])], {0: "x", 1: "y"}, 10)
    >>> "a <b>" in render_search(made), "a \\\\u003cb>" in render_search(made)
    (False, True)
    """
    report = page.report
    parts = {
        "summary": ("Summary", _summary(page)),
        "search": ("Search", _search(page)),
        "results": ("Results", results(report) + _differences(page)),
        "mining": ("Mining", _mining(page)),
        "curves": ("Training", _curves(page)),
        "run": ("What was run", what_was_run(report)),
    }
    present = {anchor: part for anchor, part in parts.items() if part[1]}
    return document(report.title, (f"nearfar {report.version}".strip(), report.created), present, STYLE, SCRIPT)


def write_search(path: Path, page: SearchPage) -> Path:
    """Write the page whole to `path`, and return it."""
    return put(Path(path), render_search(page))


def _summary(page: SearchPage) -> str:
    verdict = f'<p class="verdict">{esc(page.report.verdict)}</p>' if page.report.verdict else ""
    return section("summary", "Summary", "", verdict + headline(page.report))


def _search(page: SearchPage) -> str:
    if not page.asked:
        return ""
    systems = list(page.report.evaluation) or [f"list {number + 1}" for number in range(len(page.asked[0].listed))]
    facts = {
        "systems": systems,
        "depth": page.depth,
        "documents": {str(number): text for number, text in page.documents.items()},
        "asked": [
            [one.text, list(one.right), [list(line) for line in one.listed], list(one.ranks)] for one in page.asked
        ],
    }
    box = (
        '<div class="asking"><label for="ask">Type some words of a query and choose one</label><div class="box">'
        '<input id="ask" type="search" autocomplete="off" spellcheck="false" aria-controls="offered">'
        '<button id="other" type="button">Any other</button></div><ul id="offered" hidden></ul></div>'
        '<p id="query" aria-live="polite"></p><div id="found"></div>'
        "<noscript><p class='warn'>Choosing a query needs JavaScript.</p></noscript>"
    )
    lead = (
        f"{plural(len(page.asked), 'held-out query', 'held-out queries')}, drawn at random, and the first entries that "
        f"each system lists. Right entries are marked. The lists were made when this page was written."
    )
    return section("search", "Search", lead, box + json_block(facts, "search-data"))


def _differences(page: SearchPage) -> str:
    if not page.differences:
        return ""
    first = next(iter(page.report.evaluation), "the first")
    rows = "".join(
        f"<tr><th scope='row'>{esc(first)} − {esc(name)}</th><td>{_signed(gain['value'])}</td>"
        f"<td>{_signed(gain['low'])} to {_signed(gain['high'])}</td><td>{gain['p_value']:.2g}</td>"
        f"<td>{gain['n']:,}</td></tr>"
        for name, gain in page.differences.items()
    )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("nDCG@10", "Difference", "95% interval", "p", "Queries"))
    note = (
        "<p class='note'>Differences on the same queries. Intervals by the bootstrap over queries, p by flipping "
        "signs: the chance of a difference as large if the two were alike.</p>"
    )
    table = f'<table class="plain paired"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<section class="more"><h3>Paired test</h3><div class="scroll">{table}</div>{note}</section>'


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _mining(page: SearchPage) -> str:
    if not page.mined:
        return ""
    counted = definitions((name, f"{count:,}") for name, count in page.mined.items())
    rows = "".join("<tr>" + "".join(f"<td>{esc(text)}</td>" for text in example) + "</tr>" for example in page.examples)
    head = "<thead><tr><th>Query</th><th>Its entry</th><th>Mined as far</th></tr></thead>"
    table = f'<h3>Some of them</h3><div class="scroll"><table class="plain">{head}<tbody>{rows}</tbody></table></div>'
    lead = (
        "Entries that the encoder of the first part, or BM25, ranks high and that are not the right one. Filters take "
        "out those that may be right too."
    )
    return section("mining", "Hard negatives", lead, counted + (table if rows else ""))


def _curves(page: SearchPage) -> str:
    panels = []
    for name, history in page.histories.items():
        rows = flatten(history)
        panels.append(
            chart(name, [Line("loss", *series(rows, "loss")), Line("chance", *series(rows, "chance"), style="chance")])
        )
    lead = "The loss of each part. Chance is that of an encoder that tells nothing apart."
    return section("curves", "Training", lead, f'<div class="panels">{"".join(panels)}</div>' if any(panels) else "")
