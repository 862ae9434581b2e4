"""Pieces of the comparison page: the look and the label of a method, the key to all charts, and intervals in panels.

Every method has one look in all charts: a colour, and from the eleventh on a dash. Charts take both from the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.report.plots import ticks
from nearfar.report.style import LIGHT
from nearfar.report.text import esc, num, score

LONGEST = 34  # letters of a name in a chart
GAP = 15.0  # between labels


@dataclass(frozen=True)
class Series:
    """One curve: x and y of equal length, perhaps the lowest and highest of several seeds, and the look of a method.

    label: the name, short enough to stand in a chart.
    """

    name: str
    label: str
    look: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Point:
    """One dot: what it cost, what it reached, and the interval of that. look None: a baseline.

    label: the name, short enough to stand in a chart. below: the values of single seeds.
    """

    name: str
    label: str
    value: float
    low: float
    high: float
    x: float = math.nan
    look: int | None = None
    labels: bool = False
    below: Sequence[float] = ()


def look(index: int) -> str:
    """Classes of the index-th method: colours first, then the same colours dashed, then dotted.

    >>> look(3), look(13)
    ('k3', 'k3 dash1')
    """
    again = index // len(LIGHT)
    return f"k{index % len(LIGHT)}" + (f" dash{min(again, 2)}" if again else "")


def labels(names: Sequence[str]) -> dict[str, str]:
    """Names that fit beside a chart: of long variants of one method, what they have in common is left out.

    >>> one, other = (f"simclr objective=HardNegative projection=512 temperature={t}" for t in (0.1, 0.2))
    >>> labels(["moco", one, other])[other]
    'simclr … temperature=0.2'
    """
    made = {}
    for name in names:
        method, *words = name.split(" ")
        same = [other.split(" ")[1:] for other in names if other.split(" ")[0] == method and " " in other]
        if len(name) > LONGEST and len(same) > 1:
            words = ["…", *(word for word in words if not all(word in other for other in same))]
        short = " ".join([method, *words])
        made[name] = short if len(short) <= LONGEST else f"{short[: LONGEST - 15]}…{short[-14:]}"
    return made


def spread(positions: Sequence[float], low: float, high: float, gap: float = GAP) -> list[float]:
    """Positions moved apart to at least `gap`, in their order, between `low` and `high` where they fit.

    >>> spread([5, 6, 50], 0, 100, 10)
    [5.0, 15.0, 50.0]
    """
    order = np.argsort(positions, kind="stable")
    placed = [0.0] * len(positions)
    last = low - gap
    for index in order:
        placed[index] = last = max(float(positions[index]), last + gap)
    limit = high
    for index in order[::-1]:  # push back up what was pushed out at the end
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


def axis(edges: Sequence[float]) -> tuple[float, float]:
    """Limits a little outside all edges."""
    low, high = min(edges), max(edges)
    pad = (high - low) * 0.05 or abs(high) * 0.1 or 0.5
    return low - pad, high + pad


def legend(names: Sequence[tuple[str, int, bool]]) -> str:
    """The key to all charts: (name, look, uses labels)."""
    items = "".join(
        f'<li data-m="{index}" tabindex="0"><svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">'
        f'<line class="curve {look(index)}" x1="1" x2="25" y1="5" y2="5"/></svg>{esc(name)}'
        f"{' <small>uses labels</small>' if labels else ''}</li>"
        for name, index, labels in names
    )
    return f'<ul class="methods">{items}</ul>'


def dots(title: str, points: Sequence[Point], reference: str | None, note: str = "") -> str:
    """A panel with one line per method, best first: value, interval, and the interval of the reference as a band."""
    edges = [edge for point in points for edge in (point.low, point.high, *point.below) if math.isfinite(edge)]
    low, high = axis(edges)
    if min(edges) >= 0:
        low = max(low, 0.0)
    if max(edges) <= 1:
        high = min(high, 1.0)

    def at(value: float) -> float:
        return 100 * (value - low) / (high - low)

    marks = [tick for tick in ticks(low, high, 4) if low <= tick <= high]
    lines = "".join(f'<i style="left:{at(tick):.1f}%"></i>' for tick in marks)
    band = next((point for point in points if point.name == reference and point.high > point.low), None)
    if band is not None:
        lines += f'<u style="left:{at(band.low):.2f}%;width:{at(band.high) - at(band.low):.2f}%"></u>'
    rows = []
    for point in sorted(points, key=lambda point: -point.value):
        bar = f'<b style="left:{at(point.low):.2f}%;width:{at(point.high) - at(point.low):.2f}%"></b>'
        seeds = "".join(f'<s style="left:{at(value):.2f}%"></s>' for value in point.below)
        sure = f", interval {score(point.low)} to {score(point.high)}" if point.high > point.low else ""
        css, mark = ("base", "") if point.look is None else (look(point.look), f' data-m="{point.look}"')
        flag = ' <small title="learns from labels">labels</small>' if point.labels else ""
        rows.append(
            f'<tr class="{css}"{mark}><th scope="row" title="{esc(point.name)}">{esc(point.label)}{flag}</th>'
            f'<td class="strip"><div role="img" aria-label="{esc(f"{point.name}: {score(point.value)}{sure}")}">{lines}'
            f'{bar}{seeds}<em style="left:{at(point.value):.2f}%"></em></div></td>'
            f'<td class="value">{score(point.value)}</td></tr>'
        )
    scale = "".join(f'<span style="left:{at(tick):.1f}%">{num(tick)}</span>' for tick in marks)
    foot = f'<tr class="foot"><td></td><td class="strip scale" aria-hidden="true"><div>{scale}</div></td><td></td></tr>'
    below = f'<p class="note">{note}</p>' if note else ""
    return (
        f'<figure class="dots"><figcaption><b>{esc(title)}</b></figcaption><table><tbody>{"".join(rows)}{foot}</tbody>'
        f"</table>{below}</figure>"
    )
