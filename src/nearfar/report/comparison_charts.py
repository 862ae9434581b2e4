"""Charts of several methods together: intervals per metric, curves with names at their ends, and cost against quality.

Every method has one look in all charts: a colour, and from the eleventh on a dash. Charts take both from the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nearfar.report.plots import runs, ticks
from nearfar.report.style import LIGHT
from nearfar.report.text import esc, num, score

WIDTH, HEIGHT = 1040, 400
LEFT, TOP, BOTTOM = 52, 12, 40
LETTER, LONGEST = 6.6, 34  # width of a letter of a label, and the most letters of a name in a chart
GAP = 15.0  # between labels


@dataclass(frozen=True)
class Series:
    """One curve: x and y of equal length, perhaps the lowest and highest of several seeds, and the look of a method."""

    name: str
    look: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Point:
    """One dot: what it cost, what it reached, and the interval of that. look None: a baseline."""

    name: str
    value: float
    low: float
    high: float
    x: float = math.nan
    look: int | None = None
    labels: bool = False
    below: Sequence[float] = field(default_factory=tuple)  # the values of single seeds


def look(index: int) -> str:
    """Classes of the index-th method: colours first, then the same colours dashed, then dotted.

    >>> look(3), look(13)
    ('k3', 'k3 dash1')
    """
    again = index // len(LIGHT)
    return f"k{index % len(LIGHT)}" + (f" dash{min(again, 2)}" if again else "")


def short(name: str) -> str:
    """A name that fits beside a chart; variants differ at their ends, so the middle is left out."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 15]}…{name[-14:]}"


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
            f'<tr class="{css}"{mark}><th scope="row" title="{esc(point.name)}">{esc(short(point.name))}{flag}</th>'
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


def lines(title: str, series: Sequence[Series], across: str, rule: tuple[str, float] | None = None) -> str:
    """A wide chart of all methods with their names at the ends of the curves; `rule` is a level to beat.

    `across` names the horizontal axis. Empty when there is no finite point.
    """
    series = [one for one in series if np.isfinite(one.y).any()]
    if not series:
        return ""
    xs = np.concatenate([one.x for one in series])
    ys = np.concatenate([edge[np.isfinite(edge)] for one in series for edge in _edges(one)])
    x0, x1 = 0.0, float(xs.max()) or 1.0
    y0, y1 = axis([*ys.tolist(), *([rule[1]] if rule else [])])
    right = WIDTH - 16 - LETTER * min(LONGEST, max(len(one.name) for one in series))
    place = _Plane(x0, x1, y0, y1, right)
    parts = [place.frame(across)]
    if rule is not None:
        y = float(place.down(rule[1]))
        parts.append(f'<line class="level" x1="{LEFT}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT + 4}" y="{y - 4:.1f}">{esc(rule[0])} {num(rule[1])}</text>')
    ends = [float(place.down(one.y[np.isfinite(one.y)][-1])) for one in series]
    labels = spread(ends, TOP + 4, HEIGHT - BOTTOM + 6)
    for one, end, label in zip(series, ends, labels, strict=True):
        parts.append(f'<g data-m="{one.look}" data-name="{esc(one.name)}">{_curve(place, one)}')
        last = float(place.over(one.x[np.isfinite(one.y)][-1]))
        parts.append(
            f'<polyline class="leader" points="{last + 3:.1f},{end:.1f} {right + 4:.1f},{label:.1f} '
            f'{right + 9:.1f},{label:.1f}"/><text class="name" x="{right + 12:.1f}" y="{label + 4:.1f}">'
            f"{esc(short(one.name))}</text></g>"
        )
    alt = f"{title}: " + "; ".join(_spoken(one) for one in series)
    return _figure(title, alt, place, parts, across)


def scatter(title: str, points: Sequence[Point], across: str) -> str:
    """Quality over cost: one dot per method with the interval of its quality; logarithmic where costs differ much."""
    points = [point for point in points if math.isfinite(point.x) and point.x > 0 and math.isfinite(point.value)]
    if not points:
        return ""
    x = np.array([point.x for point in points])
    wide = x.max() / x.min() > 20
    lowest, highest = (math.log10(x.min()), math.log10(x.max())) if wide else (float(x.min()), float(x.max()))
    x0, x1 = axis([lowest, highest])
    y0, y1 = axis([edge for point in points for edge in (point.low, point.high)])
    right = WIDTH - 16 - LETTER * min(LONGEST, max(len(point.name) for point in points))
    place = _Plane(x0, x1, y0, y1, right, wide)
    parts = [place.frame(across)]
    downs = [float(place.down(point.value)) for point in points]
    labels = spread(downs, TOP + 4, HEIGHT - BOTTOM)
    for point, down, label in zip(points, downs, labels, strict=True):
        at = float(place.over(math.log10(point.x) if wide else point.x))
        top, bottom = float(place.down(point.high)), float(place.down(point.low))
        css = look(point.look or 0)
        parts.append(
            f'<g data-m="{point.look}"><line class="whisker {css}" x1="{at:.1f}" x2="{at:.1f}" y1="{top:.1f}" '
            f'y2="{bottom:.1f}"/><circle class="dot {css}" cx="{at:.1f}" cy="{down:.1f}" r="6"/>'
            f'<polyline class="leader" points="{at + 8:.1f},{down:.1f} {right + 4:.1f},{label:.1f} '
            f'{right + 9:.1f},{label:.1f}"/><text class="name" x="{right + 12:.1f}" y="{label + 4:.1f}">'
            f"{esc(short(point.name))}</text></g>"
        )
    alt = f"{title}: " + "; ".join(f"{point.name} {score(point.value)} at {num(point.x)}" for point in points)
    return _figure(title, alt, place, parts, across)


@dataclass(frozen=True)
class _Plane:
    """From values to places in the picture."""

    x0: float
    x1: float
    y0: float
    y1: float
    right: float
    powers: bool = False  # x are powers of ten

    def over(self, x: np.ndarray | float) -> np.ndarray:
        return LEFT + (np.asarray(x, float) - self.x0) / (self.x1 - self.x0) * (self.right - LEFT)

    def down(self, y: np.ndarray | float) -> np.ndarray:
        return HEIGHT - BOTTOM - (np.asarray(y, float) - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def frame(self, across: str) -> str:
        parts = []
        for tick in ticks(self.y0, self.y1, 6):
            y = float(self.down(tick))
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{self.right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 7}" y="{y + 4:.1f}">{num(tick)}</text>')
        base = HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{self.right:.0f}" y1="{base}" y2="{base}"/>')
        for tick, label in self._across():
            x = float(self.over(tick))
            parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{base + 15}">{label}</text>')
        middle = (LEFT + self.right) / 2
        parts.append(f'<text class="tick" text-anchor="middle" x="{middle:.0f}" y="{base + 33}">{esc(across)}</text>')
        return "".join(parts)

    def _across(self) -> list[tuple[float, str]]:
        if not self.powers:
            return [(tick, num(tick)) for tick in ticks(self.x0, self.x1, 8)]
        nice = [m * 10.0**p for p in range(math.floor(self.x0), math.ceil(self.x1) + 1) for m in (1, 2, 5)]
        return [(math.log10(v), num(v)) for v in nice if self.x0 <= math.log10(v) <= self.x1]


def _edges(one: Series) -> list[np.ndarray]:
    return [edge for edge in (one.y, one.low, one.high) if edge is not None]


def _curve(place: _Plane, one: Series) -> str:
    css, parts = look(one.look), []
    for piece in runs(one.y):
        x, y = place.over(one.x[piece]), place.down(one.y[piece])
        if one.low is not None and one.high is not None:
            edge = [f"{a:.1f},{b:.1f}" for a, b in zip(x, place.down(one.high[piece]), strict=True)]
            back = [f"{a:.1f},{b:.1f}" for a, b in zip(x, place.down(one.low[piece]), strict=True)][::-1]
            parts.append(f'<polygon class="band {css}" points="{" ".join(edge + back)}"/>')
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<polyline class="curve {css}" points="{points}"/>')
        parts += [f'<circle class="dot {css}" cx="{a:.1f}" cy="{b:.1f}" r="2.4"/>' for a, b in zip(x, y, strict=True)]
    return "".join(parts)


def _spoken(one: Series) -> str:
    good = np.isfinite(one.y)
    return f"{one.name} from {num(float(one.y[good][0]))} to {num(float(one.y[good][-1]))}"


def _figure(title: str, alt: str, place: _Plane, parts: Sequence[str], across: str) -> str:
    facts = " ".join(f"{value:.10g}" for value in (place.x0, place.x1, place.y0, place.y1, LEFT, place.right))
    down = f"{HEIGHT - BOTTOM} {TOP} {int(place.powers)}"
    return (
        f'<figure class="wide"><figcaption><b>{esc(title)}</b><span class="now"></span></figcaption>'
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(alt)}" '
        f'data-plane="{facts} {down}" data-across="{esc(across)}">{"".join(parts)}</svg></div></figure>'
    )
