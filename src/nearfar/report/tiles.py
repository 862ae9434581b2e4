"""Items side by side: a picture, or words, with what is to be said of each below it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nearfar.report.style import STYLE
from nearfar.report.text import esc

TILES = (
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
.item.marked img,.item.marked p{outline:3px solid var(--good);outline-offset:-3px}
.item b{color:var(--ink);font-weight:640}
"""
)


def items(tiles: Sequence[str]) -> str:
    """Tiles in a row that goes on in the next line."""
    return f'<div class="items">{"".join(tiles)}</div>'


def tile(name: str, caption: str, row: Mapping[str, Any], marked: bool = False) -> str:
    """An item: its picture or its words, and below them its label, a caption and what it is called.

    Args:
        row: what there is of label, text, name, thumbnail (a file, PNG or WebP) and called; a row with a text is not
            called anything unless that is said.
        marked: with an edge in colour.
    """
    label = f"<b>{esc(row['label'])}</b><br>" if row.get("label") is not None else ""
    below = f"{label}{esc(caption)}<br>" if caption else label
    css = "item marked" if marked else "item"
    if row.get("thumbnail"):
        kind = "png" if row["thumbnail"][:4] == b"\x89PNG" else "webp"
        data = base64.b64encode(row["thumbnail"]).decode("ascii")
        shown_as = f'<img src="data:image/{kind};base64,{data}" alt="{esc(name)}">'
    else:
        css += " words"
        shown_as = f"<p>{esc(row.get('text') or row.get('name') or name)}</p>"
    called = (
        esc(row.get("called", "" if row.get("text") else Path(name).name)).replace(":", ":<wbr>").replace("[", "<wbr>[")
    )
    return f'<figure class="{css}" title="{esc(name)}">{shown_as}<figcaption>{below}{called}</figcaption></figure>'
