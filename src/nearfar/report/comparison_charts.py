"""Charts of several methods together: curves with names at their ends, and quality against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.report.comparison_parts import LONGEST, Point, Series, axis, look, spread
from nearfar.report.plots import runs, ticks
from nearfar.report.text import esc, num, score

WIDTH, HEIGHT = 1040, 400
LEFT, TOP, BOTTOM = 52, 12, 40
LETTER = 6.6  # width of a letter of a label


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
    right = WIDTH - 16 - LETTER * min(LONGEST, max(len(one.label) for one in series))
    place = _Plane(x0, x1, y0, y1, right)
    parts = [place.frame(across)]
    if rule is not None:
        y = float(place.down(rule[1]))
        parts.append(f'<line class="level" x1="{LEFT}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" text-anchor="end" x="{right - 6:.0f}" y="{y + 15:.1f}">{esc(rule[0])} '
            f"{num(rule[1])}</text>"
        )
    ends = [float(place.down(one.y[np.isfinite(one.y)][-1])) for one in series]
    for one, end, label in zip(series, ends, spread(ends, TOP + 4, HEIGHT - BOTTOM + 6), strict=True):
        parts.append(f'<g data-m="{one.look}" data-name="{esc(one.name)}">{_curve(place, one)}')
        last = float(place.over(one.x[np.isfinite(one.y)][-1]))
        parts.append(
            f'<polyline class="leader" points="{last + 3:.1f},{end:.1f} {right + 4:.1f},{label:.1f} '
            f'{right + 9:.1f},{label:.1f}"/><text class="name" x="{right + 12:.1f}" y="{label + 4:.1f}">'
            f"{esc(one.label)}</text></g>"
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
    place = _Plane(x0, x1, y0, y1, WIDTH - 16, wide)
    ats = [float(place.over(math.log10(point.x) if wide else point.x)) for point in points]
    downs = [float(place.down(point.value)) for point in points]
    parts = [place.frame(across)]
    for point, at, down, label in zip(points, ats, downs, _beside(points, ats, downs), strict=True):
        top, bottom = float(place.down(point.high)), float(place.down(point.low))
        css = look(point.look or 0)
        parts.append(
            f'<g data-m="{point.look}" data-name="{esc(point.name)}"><line class="whisker {css}" x1="{at:.1f}" '
            f'x2="{at:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/><circle class="dot {css}" cx="{at:.1f}" cy="{down:.1f}" '
            f'r="6"/>{label}</g>'
        )
    alt = f"{title}: " + "; ".join(f"{point.name} {score(point.value)} at {num(point.x)}" for point in points)
    return _figure(title, alt, place, parts, across)


def _beside(points: Sequence[Point], ats: Sequence[float], downs: Sequence[float]) -> list[str]:
    """A name beside every dot, where it covers neither a dot nor another name; else none, and the colour must do."""
    taken = [(at - 8, down - 8, at + 8, down + 8) for at, down in zip(ats, downs, strict=True)]
    made = []
    for point, at, down in zip(points, ats, downs, strict=True):
        width, found = LETTER * len(point.label), ""
        right, left, middle = at + 11, at - 11 - width, at - width / 2
        for x, y in ((right, down), (left, down), (middle, down - 16), (middle, down + 16), (right, down - 13),
                     (right, down + 13), (left, down - 13), (left, down + 13)):  # fmt: skip
            box = (x, y - 7, x + width, y + 7)
            clear = all(box[2] < a or box[0] > c or box[3] < b or box[1] > d for a, b, c, d in taken)
            if clear and box[0] > LEFT and box[2] < WIDTH and box[1] > 0 and box[3] < HEIGHT - BOTTOM:
                taken.append(box)
                found = f'<text class="name" x="{x:.1f}" y="{y + 4:.1f}">{esc(point.label)}</text>'
                break
        made.append(found)
    return made


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
