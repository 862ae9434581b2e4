"""The page of generated views: how much they weigh, and the worst and best beside what they were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.report.data import Image
from nearfar.report.page import document
from nearfar.report.pictures import data_uri, picture
from nearfar.report.plots import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, figure, ticks
from nearfar.report.style import STYLE
from nearfar.report.text import definitions, esc, num, score, section
from nearfar.version import VERSION

BINS = 30
SIDE = 96  # pixels of a picture on the page
DIMMED = 0.25  # how much is left of what is background
_RIGHT = 12
_STYLE = (
    STYLE
    + """
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:1.6rem 1.4rem;margin-top:1.2rem}
.pair{margin:0;font-size:.8125rem;line-height:1.4;color:var(--soft);overflow-wrap:anywhere}
.pair div{display:grid;grid-template-columns:repeat(2,1fr);gap:4px;margin-bottom:.45rem}
.pair img{display:block;width:100%;aspect-ratio:1;object-fit:contain;border-radius:5px;background:var(--wash)}
.pair img.sharp{image-rendering:pixelated}
.pair b{color:var(--ink);font-weight:640}
.narrow{max-width:30rem}
"""
)


@dataclass(frozen=True)
class Pair:
    """A picture and what was generated of it.

    Attributes:
        original, generated: their names.
        pictures: both, uint8 (C, H, W).
        masks: (h, w) of both, from 0 for background to 1.
        foreground, background: cosines. weight: how much the pair counts.
    """

    original: str
    generated: str
    pictures: Sequence[Image]
    masks: Sequence[np.ndarray]
    foreground: float
    background: float
    weight: float


def render(
    weights: np.ndarray, scale: float, worst: Sequence[Pair], best: Sequence[Pair], facts: Mapping[str, str]
) -> str:
    """The page as one string of HTML that needs nothing from outside.

    >>> "Worst pairs" in render(np.array([0.5, 1.5]), 1.0, [], [], {"Encoder": "small"})
    False
    """
    low, high = np.quantile(weights, (0.05, 0.95))
    verdict = (
        f"Nine of ten generated pictures count between {num(float(low))} and {num(float(high))} times the mean, at "
        f"generated_weight = {num(scale)}."
    )
    lead = (
        "A pair counts the more, the more alike its foregrounds are and the less alike its backgrounds. What is "
        "foreground is said by the first principal component of the encoder’s feature maps."
    )
    summary = f'<p class="verdict">{esc(verdict)}</p><p class="lead">{lead}</p>'
    chart = f'<div class="panels narrow">{histogram("Weights", weights)}</div>'
    below = "Below each picture what is taken for its foreground; the rest is dimmed."
    parts = {
        "summary": ("Summary", section("summary", "Summary", "", summary + _facts(facts))),
        "weights": ("Weights", section("weights", "Weights", "", chart)),
        "worst": ("Worst", section("worst", "Worst pairs", f"Original and generated picture. {below}", _pairs(worst))),
        "best": ("Best", section("best", "Best pairs", f"Original and generated picture. {below}", _pairs(best))),
    }
    present = {anchor: part for anchor, part in parts.items() if part[1]}
    return document("Generated views", (f"nearfar {VERSION}",), present, style=_STYLE, script="")


def histogram(title: str, values: np.ndarray) -> str:
    """A panel with the counts of some numbers in 30 bins, and a line at their mean."""
    counts, edges = np.histogram(values, BINS)
    low, high, top, base = float(edges[0]), float(edges[-1]), int(counts.max()), HEIGHT - BOTTOM

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - _RIGHT)

    def down(count: float) -> float:
        return base - count / top * (base - TOP)

    parts = []
    for tick in (tick for tick in ticks(0, top, 3) if tick == int(tick)):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - _RIGHT}" y1="{down(tick):.1f}" y2="{down(tick):.1f}"/>'
        )
        parts.append(
            f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{down(tick) + 3.5:.1f}">{num(tick)}</text>'
        )
    steps = " ".join(f"V{down(count):.1f}H{across(edge):.1f}" for count, edge in zip(counts, edges[1:], strict=True))
    parts.append(f'<path class="area near" d="M{LEFT} {base}{steps}V{base}"/>')
    mean = float(values.mean())
    parts.append(f'<line class="axis" x1="{across(mean):.1f}" x2="{across(mean):.1f}" y1="{TOP}" y2="{base}"/>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    for tick in ticks(low, high, 4):
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{across(tick):.1f}" y="{HEIGHT - 8}">{num(tick)}</text>'
        )
    alt = f"{title}: {len(values)} from {num(low)} to {num(high)}, median {num(float(np.median(values)))}"
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(alt)}">{"".join(parts)}</svg>'
    return figure(
        title, svg, f"{num(low)} to {num(high)}", "How many generated pictures; the upright line is the mean."
    )


def foreground(image: Image, mask: np.ndarray) -> np.ndarray:
    """The picture with what a mask (h, w) calls background dimmed."""
    pixels = np.asarray(image)
    rows, columns = (np.arange(side) * cells // side for side, cells in zip(pixels.shape[1:], mask.shape, strict=True))
    left = DIMMED + (1 - DIMMED) * mask[rows][:, columns]
    return np.asarray((pixels * left).round(), dtype=np.uint8)


def _facts(facts: Mapping[str, str]) -> str:
    return definitions([(name, esc(value)) for name, value in facts.items()])


def _pairs(pairs: Sequence[Pair]) -> str:
    return f'<div class="pairs">{"".join(map(_pair, pairs))}</div>' if pairs else ""


def _pair(pair: Pair) -> str:
    shown = [*pair.pictures, *(foreground(*both) for both in zip(pair.pictures, pair.masks, strict=True))]
    names = [pair.original, pair.generated, f"foreground of {pair.original}", f"foreground of {pair.generated}"]
    tiles = "".join(_tile(image, name) for image, name in zip(shown, names, strict=True))
    said = (
        f"<b>weight {score(pair.weight)}</b> · foreground {score(pair.foreground)}, background "
        f"{score(pair.background)}<br>{esc(pair.generated)} of {esc(pair.original.rsplit('/', 1)[-1])}"
    )
    return f'<figure class="pair"><div>{tiles}</div><figcaption>{said}</figcaption></figure>'


def _tile(image: Image, name: str) -> str:
    small = picture(image, SIDE)
    sharp = ' class="sharp"' if max(small.size) <= 64 else ""
    return f'<img{sharp} src="{data_uri(small)}" alt="{esc(name)}">'
