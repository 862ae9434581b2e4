"""The page itself: sections in order, navigation, style and script, in one file that needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nearfar.report.curves import curves, scores
from nearfar.report.data import ReportData
from nearfar.report.map import embedding_map
from nearfar.report.pictures import contradicting, neighbours
from nearfar.report.script import SCRIPT
from nearfar.report.style import STYLE
from nearfar.report.summary import summary, what_was_run
from nearfar.report.tables import confusion, results
from nearfar.report.text import esc

# Sections in the order of the page: anchor and the short name that navigation uses.
_NAMES = {
    "results": "Results",
    "map": "Map",
    "neighbours": "Neighbours",
    "contradicting": "Contradicting",
    "confusion": "Confusion",
    "curves": "Training",
    "scores": "Near and far",
    "run": "What was run",
}

# Two dots near each other and one far away.
_LOGO = (
    '<svg class="logo" viewBox="0 0 40 16" role="img" aria-label="nearfar">'
    '<circle class="n" cx="6" cy="8" r="5"/><circle class="n" cx="14" cy="8" r="5"/>'
    '<circle class="f" cx="34" cy="8" r="5"/></svg>'
)


def render(data: ReportData) -> str:
    """The page as one string of HTML; raises DataError when parts of `data` do not fit together.

    >>> page = render(ReportData(title="Shirts & shoes", verdict="Good."))
    >>> "<h1>Shirts &amp; shoes</h1>" in page and "Good." in page
    True
    """
    data.check()
    body = [
        results(data),
        embedding_map(data),
        neighbours(data),
        contradicting(data),
        confusion(data),
        curves(data.history),
        scores(data.history),
        what_was_run(data),
    ]
    opening = summary(data, {anchor: name for (anchor, name), part in zip(_NAMES.items(), body, strict=True) if part})
    names = {"summary": "Summary", **_NAMES}
    present = {anchor: (names[anchor], part) for anchor, part in zip(names, [opening, *body], strict=True) if part}
    return document(data.title, (f"nearfar {data.version}".strip(), data.created), present)


def document(
    title: str, meta: Sequence[str], sections: Mapping[str, tuple[str, str]], style: str = STYLE, script: str = SCRIPT
) -> str:
    """A whole page: a heading, navigation, and the sections (anchor -> short name and HTML) in order."""
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, (name, _) in sections.items())
    facts = " · ".join(esc(part) for part in meta if part)
    # The policy lets the page run its own script and nothing else, and lets it load nothing at all.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{esc(title)} · nearfar</title><style>{style}</style></head><body>"
        f'<header><p class="brand">{_LOGO}<span>{facts}</span></p><h1>{esc(title)}</h1></header>'
        f'<nav aria-label="Sections">{links}</nav><main>{"".join(part for _, part in sections.values())}</main>'
        f"<script>{script}</script></body></html>\n"
    )


def write_report(path: Path, data: ReportData) -> Path:
    """Write the page to `path` (folders are made) and return it; a page already there is replaced as a whole."""
    return put(Path(path), render(data))


def put(path: Path, page: str) -> Path:
    """Write a page as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, path)
    return path
