"""Words and numbers for the page: escaping, rounding, durations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from html import escape
from typing import Any

_SPELLINGS = {
    "knn": "kNN",
    "nmi": "NMI",
    "ari": "ARI",
    "ami": "AMI",
    "map": "mAP",
    "mrr": "MRR",
    "ndcg": "nDCG",
    "auc": "AUC",
}


def esc(value: object) -> str:
    """Escape text for use in elements and in quoted attributes; lone surrogates of odd file names become '?'."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"), quote=True)


def num(value: float) -> str:
    """Three significant digits, thousands with commas, a real minus sign.

    >>> num(0.8534), num(12345.6), num(0.0003), num(-1.5), num(float("nan"))
    ('0.853', '12,346', '0.0003', '−1.5', 'not finite')
    """
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    if size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 100:
        text = f"{value:.0f}"
    elif size == 0 or size >= 1e-4:
        text = f"{value:.3g}"
    else:
        text = f"{value:.2e}".replace("e-0", "e-").replace(".00e", "e")
    return text.replace("-", "−") if size >= 1e-4 or size == 0 else text


def score(value: float) -> str:
    """A metric: always three digits or more, so that a column of them lines up.

    >>> score(0.9), score(-3.1), score(11), score(1234.5)
    ('0.900', '−3.10', '11.0', '1,234')
    """
    if not math.isfinite(value):
        return "not finite"
    decimals = next((digits for digits, below in ((3, 2), (2, 10), (1, 1000)) if abs(value) < below), 0)
    return f"{value:,.{decimals}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(0.52), duration(75), duration(7322)
    ('0.52 s', '1 min 15 s', '2 h 2 min')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Count with its noun.

    >>> plural(1, "file"), plural(2000, "file"), plural(2, "class", "classes")
    ('1 file', '2,000 files', '2 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def words(name: str) -> str:
    """A key as a label.

    >>> words("items_per_second"), words("knn_accuracy"), words("ndcg@10")
    ('Items per second', 'kNN accuracy', 'nDCG@10')
    """
    first, *rest = name.replace("_", " ").split() or [name]
    begun = _spelt(first) if first.partition("@")[0] in _SPELLINGS else first[:1].upper() + first[1:]
    return " ".join([begun, *map(_spelt, rest)])


def _spelt(word: str) -> str:
    key, at, depth = word.partition("@")
    return f"{_SPELLINGS.get(key, key)}{at}{depth}"


def json_block(value: Any, element_id: str) -> str:
    """A data block for the page's script; `<` is escaped so that no text can close the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{esc(element_id)}">{text}</script>'


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """A definition list of escaped names and ready-made values."""
    rows = "".join(f"<div><dt>{esc(name)}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def section(anchor: str, heading: str, lead: str, body: str) -> str:
    """One section of the page, or nothing when its body is empty."""
    if not body:
        return ""
    intro = f'<p class="lead">{lead}</p>' if lead else ""
    return f'<section id="{anchor}"><h2>{esc(heading)}</h2>{intro}{body}</section>'
