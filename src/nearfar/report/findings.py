"""The page of a diagnosis: a claim, a verdict, figures, and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.report.comparison_charts import lines, scatter
from nearfar.report.comparison_parts import Point, Series
from nearfar.report.comparison_style import SCRIPT, STYLE
from nearfar.report.page import document
from nearfar.report.text import definitions, esc, section

_STYLE = """
#summary .lead,#summary .facts{margin-top:1rem}
#summary .facts dt{flex:0 1 28rem}
#figures th{white-space:nowrap}
"""
_SPREAD = "Bars and bands reach from the lowest seed to the highest."


@dataclass(frozen=True)
class Picture:
    """A chart: curves over x, or, where there are none, dots. across: the name of x. rule: a level to compare with."""

    title: str
    across: str
    curves: Sequence[Series] = ()
    dots: Sequence[Point] = ()
    rule: tuple[str, float] | None = None

    def drawn(self) -> str:
        """The chart as HTML."""
        if self.curves:
            return lines(self.title, self.curves, self.across, self.rule)
        return scatter(self.title, self.dots, self.across)


def curve(name: str, look: int, x: Sequence[float] | np.ndarray, y: np.ndarray) -> Series:
    """A curve of the means over seeds, y (seeds, points), in a band from the lowest to the highest seed.

    >>> curve("gap", 0, [1, 2], np.array([[0.0, 2.0], [2.0, 4.0]])).y.tolist()
    [1.0, 3.0]
    """
    y = np.atleast_2d(y)
    return Series(name, name, look, np.asarray(x, dtype=float), y.mean(0), y.min(0), y.max(0))


def dot(name: str, look: int, x: float, y: Sequence[float] | np.ndarray, label: str = "") -> Point:
    """A dot at x and the mean of y, with the range of y; `label` is written beside it.

    >>> dot("flip", 0, 0.5, [1.0, 3.0]).value
    2.0
    """
    values = np.asarray(y, dtype=float)
    return Point(name, label, float(values.mean()), float(values.min()), float(values.max()), float(x), look)


def render(
    name: str,
    claim: str,
    source: str,
    verdict: str,
    figures: Sequence[tuple[str, str]],
    table: Sequence[Mapping[str, str]],
    pictures: Sequence[Picture],
    settings: Mapping[str, Any],
) -> str:
    """The page as one string of HTML that needs nothing from outside.

    >>> page = render("growth", "A < B.", "nobody", "It holds.", [("slope", "1.0")], [{"k": "1"}], [], {"seeds": 3})
    >>> "A &lt; B." in page and "It holds." in page
    True
    """
    summary = (
        f'<p class="verdict">{esc(verdict)}</p><p class="lead">Claim: {esc(claim)} <small>{esc(source)}</small></p>'
        f"{definitions([(key, esc(value)) for key, value in figures])}"
    )
    drawn = "".join(picture.drawn() for picture in pictures)
    columns = list(dict.fromkeys(key for row in table for key in row))
    head = "".join(f'<th scope="col">{esc(key)}</th>' for key in columns)
    rows = "".join("<tr>" + "".join(f"<td>{esc(row.get(key, ''))}</td>" for key in columns) + "</tr>" for row in table)
    grid = f'<div class="scroll"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    parts = {
        "summary": ("Summary", section("summary", "Summary", "", summary)),
        "charts": ("Charts", section("charts", "Charts", _SPREAD, drawn)),
        "figures": ("Figures", section("figures", "Figures", "Intervals are over seeds, 95 %.", grid if rows else "")),
        "settings": (
            "Settings",
            section("settings", "Settings", "", definitions([(k, esc(v)) for k, v in settings.items()])),
        ),
    }
    return document(f"nearfar diag {name}", (), {k: v for k, v in parts.items() if v[1]}, STYLE + _STYLE, SCRIPT)
