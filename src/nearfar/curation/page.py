"""One page that shows rows side by side, group after group, and needs nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.report.page import document, put
from nearfar.report.text import esc, section
from nearfar.report.tiles import TILES, items, tile
from nearfar.store import Store
from nearfar.version import VERSION

from .rows import shown

MOST_GROUPS, MOST_ROWS = 200, 12  # that are shown; the table has all


@dataclass(frozen=True)
class Line:
    """One group of the page: a heading, a remark, ids of its rows, what stands below each, and whether one is first."""

    title: str
    remark: str
    ids: Sequence[str]
    captions: Sequence[str]
    first: bool = False


def write(path: Path, store: Store, title: str, lead: str, lines: Sequence[Line], heading: str = "Groups") -> Path:
    """Write the page; of many groups the first 200 are shown, and of each the first 12 rows.

    Args:
        lead: a sentence over them all.
        lines: the groups in order.
    """
    some = lines[:MOST_GROUPS]
    seen = shown(store, sorted({one for line in some for one in line.ids[:MOST_ROWS]}))
    body = "".join(_line(line, seen) for line in some)
    more = f" The first {MOST_GROUPS} of {len(lines):,} are shown." if len(lines) > MOST_GROUPS else ""
    parts = {"groups": (heading, section("groups", heading, esc(lead) + more, body or "<p>Nothing was found.</p>"))}
    return put(Path(path), document(title, (f"nearfar {VERSION}", str(store.path)), parts, style=TILES, script=""))


def _line(line: Line, seen: Mapping[str, Mapping[str, Any]]) -> str:
    tiles = [
        tile(one, caption, seen.get(one, {}), line.first and place == 0)
        for place, (one, caption) in enumerate(zip(line.ids[:MOST_ROWS], line.captions, strict=False))
    ]
    left = len(line.ids) - MOST_ROWS
    more = f'<p class="note">and {left:,} more</p>' if left > 0 else ""
    remark = f"<small>{esc(line.remark)}</small>" if line.remark else ""
    return f'<div class="group"><h3>{esc(line.title)}{remark}</h3>{items(tiles)}{more}</div>'
