"""Charts as inline SVG: they take their colours from the page, so they follow light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.report.text import esc, num

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 48, 10, 24


@dataclass(frozen=True)
class Line:
    """One curve: x and y of equal length (y may hold NaN: a gap), and a style ("main", "near", "far" or "chance")."""

    name: str
    x: np.ndarray
    y: np.ndarray
    style: str = "main"


def round_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that cuts `span` into at most `count` pieces."""
    least = span / count
    power = 10.0 ** math.floor(math.log10(least))
    return next((power * nice for nice in (1, 2, 2.5, 5) if power * nice >= least * 0.999), power * 10)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers inside [low, high], about `count` of them.

    >>> ticks(0, 1), ticks(13, 97)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [25.0, 50.0, 75.0])
    """
    if high <= low:
        return [low]
    step = round_step(high - low, count)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


def thin(x: np.ndarray, y: np.ndarray, limit: int = 240) -> tuple[np.ndarray, ...]:
    """At most `limit` points: x, and the median, lowest and highest y of each bucket (NaN where a bucket has none)."""
    if len(x) <= limit:
        return x, y, y, y
    rows: list[tuple[float, float, float, float]] = []
    for index in np.array_split(np.arange(len(x)), limit):
        good = y[index][np.isfinite(y[index])]
        stats = (np.median(good), good.min(), good.max()) if len(good) else (np.nan,) * 3
        rows.append((float(x[index].mean()), float(stats[0]), float(stats[1]), float(stats[2])))
    columns = np.asarray(rows).T
    return columns[0], columns[1], columns[2], columns[3]


def runs(y: np.ndarray) -> list[slice]:
    """Stretches of finite values: a curve is drawn in pieces, with a gap where numbers are missing."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.isfinite(y).astype(int), [0]])))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _limits(values: np.ndarray, floor: float | None) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if floor is not None:
        low = min(floor, low)
    if high - low <= 1e-9 * max(abs(high), abs(low), 1e-12):
        pad = abs(high) * 0.1 or 1.0
        return (low, high + pad) if floor is not None and low == floor else (low - pad, high + pad)
    pad = (high - low) * 0.06
    return (low if floor is not None and low == floor else low - pad), high + pad


def _spread(positions: list[float], gap: float = 11.0) -> list[float]:
    """Move labels apart so that none covers another, keeping their order and staying inside the chart."""
    order = np.argsort(positions, kind="stable")
    placed = [0.0] * len(positions)
    last = -math.inf
    for index in order:
        last = max(positions[index], last + gap)
        placed[index] = last
    excess = max(0.0, max(placed, default=0.0) - (HEIGHT - BOTTOM + 2))
    return [position - excess for position in placed]


def chart(title: str, lines: Sequence[Line], floor: float | None = None, note: str = "") -> str:
    """A panel with curves over training steps; empty when no curve has a finite point.

    `floor` is a value the vertical axis must reach down to; single points are drawn as dots.
    """
    lines = [line for line in lines if np.isfinite(line.y).any()]
    if not lines:
        return ""
    xs = np.concatenate([line.x for line in lines])
    ys = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    x0, x1 = float(xs.min()), float(xs.max())
    if x1 <= x0:
        x0, x1 = x0 - 1, x1 + 1
    y0, y1 = _limits(ys, floor)

    def across(x: np.ndarray | float) -> np.ndarray:
        return LEFT + (np.asarray(x, float) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def down(y: np.ndarray | float) -> np.ndarray:
        return HEIGHT - BOTTOM - (np.asarray(y, float) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    steps = [tick for tick in ticks(x0, x1, 3) if tick == int(tick) and xs.min() <= tick <= xs.max()]
    x_ticks = [(float(across(tick)), num(tick)) for tick in steps]
    y_ticks = [(float(down(tick)), num(tick)) for tick in ticks(y0, y1, 4)]
    parts = [_frame(x_ticks, y_ticks)]
    ends = []
    for line in lines:
        x, middle, low, high = thin(line.x, line.y)
        for piece in runs(middle):
            px, py = across(x[piece]), down(middle[piece])
            if len(line.x) > len(x):
                edge = [f"{a:.1f},{b:.1f}" for a, b in zip(px, down(high[piece]), strict=True)]
                back = [f"{a:.1f},{b:.1f}" for a, b in zip(px, down(low[piece]), strict=True)][::-1]
                parts.append(f'<polygon class="band {line.style}" points="{" ".join(edge + back)}"/>')
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
            if len(px) == 1:
                parts.append(f'<circle class="dot {line.style}" cx="{px[0]:.1f}" cy="{py[0]:.1f}" r="3"/>')
            parts.append(f'<polyline class="curve {line.style}" data-name="{esc(line.name)}" points="{points}"/>')
        ends.append(float(down(middle[np.isfinite(middle)][-1])))
    if len(lines) > 1:
        for line, y in zip(lines, _spread(ends), strict=True):
            parts.append(
                f'<text class="end {line.style}" x="{WIDTH - RIGHT + 5}" y="{y + 3.5:.1f}">{esc(line.name)}</text>'
            )
    alt = f"{title}: " + "; ".join(_spoken(line) for line in lines)
    last = lines[0].y[np.isfinite(lines[0].y)][-1]
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(alt)}" data-axes="{x0} {x1} {y0} {y1} '
        f'{LEFT} {WIDTH - RIGHT} {HEIGHT - BOTTOM} {TOP}">{"".join(parts)}</svg>'
    )
    return figure(title, svg, num(float(last)), note)


def _frame(x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]) -> str:
    parts = []
    for y, label in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{label}</text>')
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    for x, label in x_ticks:
        parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{HEIGHT - 8}">{label}</text>')
    return "".join(parts)


def _spoken(line: Line) -> str:
    good = np.isfinite(line.y)
    x, y = line.x[good], line.y[good]
    if len(y) == 1:
        return f"{line.name} {num(float(y[0]))} at step {num(float(x[0]))}"
    (start, begin), (end, stop) = ((num(float(y[i])), num(float(x[i]))) for i in (0, -1))
    return f"{line.name} from {start} at step {begin} to {end} at step {stop}"


def figure(title: str, picture: str, now: str = "", note: str = "") -> str:
    """A panel: name on the left, the last value on the right, the picture, and a note in ready-made HTML."""
    value = f'<span class="now">{now}</span>' if now else ""
    below = f'<p class="note">{note}</p>' if note else ""
    return f'<figure class="panel"><figcaption><b>{esc(title)}</b>{value}</figcaption>{picture}{below}</figure>'


def overlap(near: np.ndarray, far: np.ndarray) -> float:
    """Area that two histograms share, each scaled to one: 0 = told apart at a glance, 1 = the same.

    >>> float(overlap(np.array([0, 2]), np.array([5, 5])))
    0.5
    """
    return float(np.minimum(near / near.sum(), far / far.sum()).sum())


def histogram(
    title: str,
    near: np.ndarray,
    far: np.ndarray,
    top: float,
    ends: tuple[float, float] = (-1.0, 1.0),
    names: tuple[str, str] = ("near pairs", "far pairs"),
) -> str:
    """Two overlaid histograms of equal bins between two ends as shares of pairs; `top` is the share at the upper edge.

    A histogram without counts is not drawn; one of the two has some.
    """
    low, high = ends
    edges = np.linspace(low, high, len(near) + 1)
    across = LEFT + (edges - low) / (high - low) * (WIDTH - LEFT - 12)
    base = HEIGHT - BOTTOM
    parts = []
    for t in ticks(0, top, 3):
        y = base - t / top * (base - TOP)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{100 * t:.0f}%</text>')
    middle = (edges[:-1] + edges[1:]) / 2
    said: list[str] = []
    for counts, style, name in ((far, "far", names[1]), (near, "near", names[0])):
        if not counts.sum():
            continue
        y = base - counts / counts.sum() / top * (base - TOP)
        steps = " ".join(f"H{right:.1f}V{v:.1f}" for right, v in zip(across[1:], [*y[1:], base], strict=True))
        path = f"M{across[0]:.1f} {base}V{y[0]:.1f} {steps}"
        parts.append(f'<path class="area {style}" d="{path}"/>')
        said.insert(0, f"{name} average {num(float((counts / counts.sum() * middle).sum()))}")
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 12}" y1="{base}" y2="{base}"/>')
    for value in ticks(low, high, 5):
        x = LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 12)
        parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{HEIGHT - 8}">{num(value)}</text>')
    shared = f"{100 * overlap(near, far):.0f}%" if len(said) > 1 else ""
    alt = f"{title}: " + ", ".join([*said, *([f"shared area {shared}"] if shared else [])])
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(alt)}">{"".join(parts)}</svg>'
    return figure(title, svg, f"{shared} shared" if shared else "")
