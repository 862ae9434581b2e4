"""One page that shows rows side by side, group after group, and needs nothing from outside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.report.page import document, put
from nearfar.report.style import STYLE
from nearfar.report.text import esc, section
from nearfar.store import Store
from nearfar.version import VERSION

from .rows import shown

MOST_GROUPS, MOST_ROWS = 200, 12  # that are shown; the table has all
_STYLE = (
    STYLE
    + """
.group{border-top:1px solid var(--rule);padding:.9rem 0 .2rem}
.group h3{margin:0 0 .6rem}
.group h3 small{font-weight:400;margin-left:.6rem}
.items{display:flex;flex-wrap:wrap;gap:.9rem 1rem;align-items:start}
.item{width:112px;font-size:.75rem;line-height:1.3;color:var(--soft);overflow-wrap:anywhere}
.item img{display:block;width:112px;height:112px;object-fit:contain;border-radius:6px;background:var(--wash);
  image-rendering:pixelated;margin-bottom:.3rem}
.item.words{width:min(21rem,100%)}
.item p{font-size:.875rem;line-height:1.4;color:var(--ink);background:var(--wash);border-radius:6px;
  padding:.5rem .65rem;margin-bottom:.3rem}
.item.first img,.item.first p{outline:3px solid var(--good);outline-offset:-3px}
.item b{color:var(--ink);font-weight:640}
"""
)


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
    return put(Path(path), document(title, (f"nearfar {VERSION}", str(store.path)), parts, style=_STYLE, script=""))


def _line(line: Line, seen: Mapping[str, Mapping[str, Any]]) -> str:
    tiles = [
        _tile(one, caption, seen.get(one, {}), line.first and place == 0)
        for place, (one, caption) in enumerate(zip(line.ids[:MOST_ROWS], line.captions, strict=False))
    ]
    left = len(line.ids) - MOST_ROWS
    more = f'<p class="note">and {left:,} more</p>' if left > 0 else ""
    remark = f"<small>{esc(line.remark)}</small>" if line.remark else ""
    return f'<div class="group"><h3>{esc(line.title)}{remark}</h3><div class="items">{"".join(tiles)}</div>{more}</div>'


def _tile(name: str, caption: str, row: Mapping[str, Any], first: bool) -> str:
    label = f"<b>{esc(row['label'])}</b><br>" if row.get("label") is not None else ""
    below = f"{label}{esc(caption)}<br>" if caption else label
    css = "item first" if first else "item"
    if row.get("thumbnail"):
        kind = "png" if row["thumbnail"][:4] == b"\x89PNG" else "webp"
        data = base64.b64encode(row["thumbnail"]).decode("ascii")
        shown_as = f'<img src="data:image/{kind};base64,{data}" alt="{esc(name)}">'
    else:
        css += " words"
        shown_as = f"<p>{esc(row.get('text') or row.get('name') or name)}</p>"
    called = esc(Path(name).name) if not row.get("text") else ""
    return f'<figure class="{css}" title="{esc(name)}">{shown_as}<figcaption>{below}{called}</figcaption></figure>'
