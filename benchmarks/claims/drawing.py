"""Plots as SVG files that stand alone, on white: dots, lines and bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from nearfar.report.plots import ticks

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 330, 62, 20, 44, 46
COLOURS = ("#2563a8", "#c2571a", "#3b7d3a", "#7d3c98", "#555555")
STYLE = "font-family='sans-serif' font-size='12' fill='#333'"


@dataclass(frozen=True)
class Shown:
    """Points of one kind: "dots", a "line", or "bars" whose x are the edges, one more than y."""

    name: str
    x: np.ndarray
    y: np.ndarray
    kind: str = "dots"


def draw(path: Path, title: str, across: str, up: str, shown: Sequence[Shown], logs: bool = False) -> None:
    """Write a plot; `logs` spaces the horizontal axis by logarithms."""
    xs, ys = (np.concatenate([np.asarray(getattr(one, axis), float) for one in shown]) for axis in "xy")
    bars = any(one.kind == "bars" for one in shown)
    low, high = (0.0 if bars else float(ys.min())), float(ys.max())
    pad = 0.06 * (high - low or 1)
    y0, y1 = (0.0 if bars else low - pad), high + pad
    scale = np.log10 if logs else np.asarray
    x0, x1 = float(scale(xs.min())), float(scale(xs.max()))
    margin = 0.0 if bars else 0.03 * (x1 - x0 or 1)
    x0, x1 = x0 - margin, x1 + margin

    def at(x: np.ndarray) -> np.ndarray:
        return LEFT + (scale(np.asarray(x, float)) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def down(y: np.ndarray) -> np.ndarray:
        return HEIGHT - BOTTOM - (np.asarray(y, float) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    base = HEIGHT - BOTTOM
    parts = [f"<text x='{LEFT}' y='18' {STYLE} font-weight='bold'>{escape(title)}</text>"]
    for tick in ticks(y0, y1, 5):
        y = float(down(np.array(tick)))
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>")
        parts.append(f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end' {STYLE}>{tick:g}</text>")
    marks = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)] if logs else ticks(x0, x1, 6)
    for tick in marks:
        x = float(at(np.array(tick)))
        if LEFT <= x <= WIDTH - RIGHT:
            parts.append(f"<text x='{x:.1f}' y='{base + 16}' text-anchor='middle' {STYLE}>{tick:g}</text>")
    parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{base}' y2='{base}' stroke='#333'/>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text x='{middle}' y='{HEIGHT - 8}' text-anchor='middle' {STYLE}>{escape(across)}</text>")
    parts.append(
        f"<text transform='translate(16 {(TOP + base) / 2}) rotate(-90)' text-anchor='middle' {STYLE}>"
        f"{escape(up)}</text>"
    )
    begin = float(LEFT)
    for number, one in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        parts += _marks(one, colour, at(one.x), down(one.y), base)
        parts.append(f"<rect x='{begin:.0f}' y='27' width='10' height='10' fill='{colour}'/>")
        parts.append(f"<text x='{begin + 14:.0f}' y='36' {STYLE}>{escape(one.name)}</text>")
        begin += 30 + 6.6 * len(one.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}'>\n"
        f"<rect width='100%' height='100%' fill='white'/>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _marks(one: Shown, colour: str, x: np.ndarray, y: np.ndarray, base: int) -> list[str]:
    if one.kind == "line":
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        return [f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>"]
    if one.kind == "bars":
        steps = " ".join(f"V{b:.1f} H{a:.1f}" for a, b in zip(x[1:], y, strict=True))
        path = f"M{x[0]:.1f} {base} {steps} V{base} Z"
        return [f"<path d='{path}' fill='{colour}' fill-opacity='0.35' stroke='{colour}'/>"]
    return [
        f"<circle cx='{a:.1f}' cy='{b:.1f}' r='3.5' fill='{colour}' fill-opacity='0.7'/>"
        for a, b in zip(x, y, strict=True)
    ]
