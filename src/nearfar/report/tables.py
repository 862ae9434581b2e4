"""Results against baselines, with intervals, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.report.data import ReportData
from nearfar.report.plots import round_step, ticks
from nearfar.report.text import esc, num, score, section, words

_MOST_NUMBERED = 24  # classes up to which the cells of the confusion matrix hold numbers
_WORST_PAIRS = 8
_LEAD = (
    "The same measurements on each set of vectors. The bar behind a dot is its 95% interval: where the bars of two "
    "models do not overlap, their difference is more than the luck of the draw."
)

Result = Mapping[str, Any]


def bounds(result: Result) -> tuple[float, float, float]:
    """Value, low and high of a result; without an interval all three are the value."""
    value = float(result["value"])
    edges = [value if (edge := result.get(key)) is None else float(edge) for key in ("low", "high")]
    return value, edges[0], edges[1]


def metrics(data: ReportData) -> list[str]:
    """Names of all metrics in the order of first mention."""
    return list(dict.fromkeys(name for results in data.evaluation.values() for name in results))


def interval(result: Result) -> str:
    """The interval in words of numbers, or nothing when there is none."""
    value, low, high = bounds(result)
    return f"{score(low)} to {score(high)}" if low < value or high > value else ""


def results(
    data: ReportData,
    anchor: str = "results",
    heading: str = "Results against baselines",
    lead: str = _LEAD,
    column: str = "Vectors",
) -> str:
    """The section of results: one block per metric, one line per model, a dot with its interval on a common scale."""
    names = metrics(data)
    if not names:
        return ""
    shares = [name for name in names if all(0 <= edge <= 1 for edge in _edges(data, [name]))]
    low, high = _axis(_edges(data, shares))
    common = (max(low, 0.0), min(high, 1.0))
    body = "".join(_block(data, name, common if name in shares else _axis(_edges(data, [name]))) for name in names)
    columns = (
        ("", column),
        ("value", "Value"),
        ("range", "95% interval"),
        ("n", "n"),
        ("strip", "Value and interval"),
    )
    head = "".join(f'<th scope="col" class="{css}">{label}</th>' for css, label in columns)
    table = f'<table class="results"><thead><tr>{head}</tr></thead>{body}</table>'
    return section(anchor, heading, lead, f'<div class="scroll">{table}</div>')


def _edges(data: ReportData, names: list[str]) -> list[float]:
    found = [result[name] for result in data.evaluation.values() for name in names if name in result]
    return [edge for result in found for edge in bounds(result) if math.isfinite(edge)]


def _axis(edges: list[float]) -> tuple[float, float]:
    """Round limits around all edges."""
    if not edges:
        return 0.0, 1.0
    pad = (max(edges) - min(edges)) * 0.04 or abs(max(edges)) * 0.1 or 0.5
    low, high = min(edges) - pad, max(edges) + pad
    width = round_step(high - low, 3)
    return math.floor(low / width) * width, math.ceil(high / width) * width


def _block(data: ReportData, name: str, axis: tuple[float, float]) -> str:
    """One metric: a line with its name, settings and scale, then a line per model that has it."""
    marks = [(tick, 100 * (tick - axis[0]) / (axis[1] - axis[0])) for tick in ticks(*axis, 4)]
    scale = "".join(f'<span style="left:{at:.1f}%">{num(tick)}</span>' for tick, at in marks)
    lines = "".join(f'<i style="left:{at:.1f}%"></i>' for _, at in marks)
    having = [(model, found[name]) for model, found in data.evaluation.items() if name in found]
    settings: Mapping[str, Any] = next((result["settings"] for _, result in having if result.get("settings")), {})
    detail = f"<small>{esc(', '.join(f'{key} {value}' for key, value in settings.items()))}</small>" if settings else ""
    first = next(iter(data.evaluation))
    rows = "".join(_line(model, result, axis, lines, "ours" if model == first else "other") for model, result in having)
    return (
        f'<tbody><tr class="metric"><th colspan="4" scope="rowgroup">{esc(words(name))} {detail}</th>'
        f'<td class="strip scale" aria-hidden="true"><div>{scale}</div></td></tr>{rows}</tbody>'
    )


def _line(model: str, result: Result, axis: tuple[float, float], lines: str, css: str) -> str:
    value, start, stop = bounds(result)
    n = f"{int(result['n']):,}" if result.get("n") is not None else ""
    strip = lines
    if all(math.isfinite(edge) for edge in (value, start, stop)):
        at, left, right = (100 * (edge - axis[0]) / (axis[1] - axis[0]) for edge in (value, start, stop))
        bar = f'<b style="left:{left:.2f}%;width:{max(right - left, 0):.2f}%"></b>'
        strip = f'{lines}{bar}<em style="left:{at:.2f}%"></em>'
    alt = f"{model}: {score(value)}, interval {interval(result) or 'not known'}"
    return (
        f'<tr class="{css}"><th scope="row">{esc(model)}</th><td class="value">{score(value)}</td>'
        f'<td class="range">{interval(result)}</td><td class="n">{n}</td>'
        f'<td class="strip"><div role="img" aria-label="{esc(alt)}">{strip}</div></td></tr>'
    )


def _shares(data: ReportData) -> tuple[np.ndarray, np.ndarray] | None:
    """Counts and the same divided by their row sums (rows without items stay 0)."""
    if data.confusion is None or not np.size(data.confusion):
        return None
    counts = np.nan_to_num(np.asarray(data.confusion, dtype=float))
    total = counts.sum(1, keepdims=True)
    return counts, np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def worst_pairs(data: ReportData) -> list[tuple[str, str, float, int]]:
    """Most frequent mistakes: true class, class taken for, share of the true class, count."""
    found = _shares(data)
    if found is None:
        return []
    counts, shares = found
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_WORST_PAIRS]
    cells = [divmod(int(index), len(wrong)) for index in order]
    return [
        (data.class_name(i), data.class_name(j), float(wrong[i, j]), int(counts[i, j]))
        for i, j in cells
        if wrong[i, j] > 0
    ]


def confusion(data: ReportData) -> str:
    """The section of the confusion matrix: a table with numbers, or a picture when the classes are too many."""
    found = _shares(data)
    if found is None:
        return ""
    counts, shares = found
    names = [data.class_name(index) for index in range(len(counts))]
    matrix = _table(counts, shares, names) if len(names) <= _MOST_NUMBERED else _heat(counts, shares, names)
    pairs = "".join(
        f"<li><b>{esc(a)}</b> taken for <b>{esc(b)}</b> <small>{100 * s:.0f}%, {n:,}</small></li>"
        for a, b, s, n in worst_pairs(data)
    )
    mistakes = f'<div class="mistakes"><h3>Most frequent mistakes</h3><ol>{pairs}</ol></div>' if pairs else ""
    lead = (
        "Rows are the true classes, columns what the classifier said; each row is in percent of its class, so the "
        "diagonal is what it got right. Point at a cell for the count."
    )
    return section("confusion", "Confusion", lead, f'<div class="confused">{matrix}{mistakes}</div>')


def _table(counts: np.ndarray, shares: np.ndarray, names: list[str]) -> str:
    head = "".join(f'<th scope="col"><span>{esc(name)}</span></th>' for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, other in enumerate(names):
            share = shares[i, j]
            css = ("hit" if i == j else "miss") + (" strong" if share > 0.5 else "") + ("" if counts[i, j] else " zero")
            title = f"{name} taken for {other}: {int(counts[i, j]):,} of {int(counts[i].sum()):,}"
            text = f"{100 * share:.0f}" if share >= 0.005 else ("·" if not counts[i, j] else "<1")
            cells.append(f'<td class="{css}" style="--v:{share**0.7:.3f}" title="{esc(title)}">{esc(text)}</td>')
        rows.append(f'<tr><th scope="row">{esc(name)}</th>{"".join(cells)}</tr>')
    body = f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table class="heat">{body}</table></div>'


def _heat(counts: np.ndarray, shares: np.ndarray, names: list[str]) -> str:
    size, cell = len(names), 700 / len(names)
    cells = []
    for i, j in zip(*(axis.tolist() for axis in np.nonzero(counts)), strict=True):
        title = f"{names[i]} taken for {names[j]}: {int(counts[i, j]):,} of {int(counts[i].sum()):,}"
        cells.append(
            f'<rect class="{"hit" if i == j else "miss"}" x="{j * cell:.1f}" y="{i * cell:.1f}" '
            f'width="{cell:.1f}" height="{cell:.1f}" fill-opacity="{max(shares[i, j] ** 0.7, 0.06):.2f}">'
            f"<title>{esc(title)}</title></rect>"
        )
    right = float(np.trace(counts) / max(counts.sum(), 1))
    alt = f"Confusion matrix of {size} classes, {100 * right:.0f}% on the diagonal"
    return f'<svg class="heatmap" viewBox="0 0 700 700" role="img" aria-label="{esc(alt)}">{"".join(cells)}</svg>'
