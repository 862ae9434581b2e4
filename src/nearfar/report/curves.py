"""Training as pictures: which curves to draw from the rows of metrics.jsonl, and the scores of near and far pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nearfar.report.plots import Line, chart, histogram
from nearfar.report.text import esc, num, plural, section, words

_PANELS: tuple[tuple[str, tuple[tuple[str, str, str], ...], float | None, str], ...] = (
    (
        "Mean score",
        (("near_mean", "near", "near"), ("far_mean", "far", "far")),
        None,
        "cosine; training widens the gap",
    ),
    (
        "Spread of scores",
        (("near_std", "near", "near"), ("far_std", "far", "far")),
        0.0,
        "standard deviation of the cosines; little among near pairs says that they are easy",
    ),
    (
        "Scores when mined",
        (("positive_mean", "near", "near"), ("negative_mean", "mined", "far")),
        None,
        "means of positives and of the negatives found for them",
    ),
    ("Effective rank", (("effective_rank", "rank", "main"),), 0.0, "dimensions in use; a fall towards 1 is collapse"),
    ("Alignment", (("alignment", "alignment", "main"),), 0.0, "distance between near pairs; lower is closer"),
    (
        "Distances beside the margin",
        (("near_distance", "near", "near"), ("far_distance", "far", "far"), ("diameter", "largest", "main")),
        0.0,
        "all below a tenth of the margin is collapse",
    ),
    ("Violating", (("violating", "share", "main"),), 0.0, "share of triplets that violate the margin"),
    ("Uniformity", (("uniformity", "uniformity", "main"),), None, "lower is spread more evenly over the sphere"),
    ("Learning rate", (("lr", "rate", "main"),), 0.0, ""),
    ("Temperature", (("temperature", "temperature", "main"),), None, ""),
    ("Gradient norm", (("grad_norm", "norm", "main"),), 0.0, ""),
    ("Items per second", (("items_per_second", "items", "main"),), 0.0, ""),
    ("Waiting for data", (("wait_share", "share", "main"),), 0.0, "share of the time; near 0 the model sets the pace"),
)
_AXES = {"step", "epoch", "seconds", "loss", "chance", "terms", "near_hist", "far_hist", "margin"}
_KNOWN = _AXES | {key for _, lines, _, _ in _PANELS for key, _, _ in lines}
_MOST_TERMS = 12


def number(value: object) -> float | None:
    """A cell of the history as a float: NaN for null, None for what is no number."""
    if value is None:
        return math.nan
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return float(value)
    return None


def flatten(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Rows of numbers; a row without a step takes its position.

    The entries of "terms", "renewed" and "watched" become keys of their own.
    """
    rows = []
    for position, row in enumerate(history):
        cells = dict(row)
        for group in ("terms", "renewed", "watched"):
            cells |= row[group] if isinstance(row.get(group), Mapping) else {}
        flat = {str(key): value for key, cell in cells.items() if (value := number(cell)) is not None}
        if not math.isfinite(flat.get("step", math.nan)):
            flat["step"] = float(position)
        rows.append(flat)
    return sorted(rows, key=lambda row: row["step"])


def series(rows: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one key, over the rows that have it; what is not finite becomes NaN."""
    pairs = [(row["step"], row[key] if math.isfinite(row[key]) else math.nan) for row in rows if key in row]
    table = np.asarray(pairs, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def last(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    """The last finite value of a key."""
    values = series(rows, key)[1]
    values = values[np.isfinite(values)]
    return float(values[-1]) if len(values) else None


def curves(history: Sequence[Mapping[str, Any]]) -> str:
    """The section of training curves."""
    rows = flatten(history)
    if not rows:
        return ""
    loss = [Line("loss", *series(rows, "loss")), Line("chance", *series(rows, "chance"), style="chance")]
    panels = [chart("Loss", loss) if np.isfinite(loss[0].y).any() else ""]
    for title, lines, floor, note in _PANELS:
        panels.append(
            chart(title, [Line(name, *series(rows, key), style=css) for key, name, css in lines], floor, note)
        )
    terms = sorted({key for row in rows for key in row} - _KNOWN)
    shown = [chart(words(key), [Line(key, *series(rows, key))]) for key in terms[:_MOST_TERMS]]
    body = "".join(panels)
    if not body and not any(shown):
        return ""
    parts = [_gaps(rows), f'<div class="panels">{body}</div>' if body else ""]
    if any(shown):
        parts.append(f'<h3>Named terms</h3><div class="panels">{"".join(shown)}</div>')
    if len(terms) > _MOST_TERMS:
        parts.append(f'<p class="note">Not drawn: {esc(", ".join(terms[_MOST_TERMS:]))}.</p>')
    span = (
        f"step {num(rows[0]['step'])} to {num(rows[-1]['step'])}" if len(rows) > 1 else f"step {num(rows[0]['step'])}"
    )
    lead = f"{plural(len(rows), 'row')} of measurements, {span}. The number beside each name is the last one measured."
    if len(rows) > 240:
        lead += " Curves are medians of neighbouring rows; the shade behind them runs from the lowest to the highest."
    return section("curves", "Training", lead, "".join(parts))


def _gaps(rows: Sequence[Mapping[str, float]]) -> str:
    """Say where numbers were not finite, as gaps in a curve are easy to overlook."""
    bad = [(key, row["step"]) for row in rows for key, value in row.items() if not math.isfinite(value)]
    if not bad:
        return ""
    keys = sorted({key for key, _ in bad})
    steps = sorted({step for _, step in bad})
    where = ", ".join(num(step) for step in steps[:8]) + (", …" if len(steps) > 8 else "")
    return (
        f'<p class="warn"><b>Not finite:</b> {esc(", ".join(keys))} at step {where} '
        f"({plural(len(steps), 'row')}). The curves have gaps there.</p>"
    )


def snapshots(history: Sequence[Mapping[str, Any]]) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """First, middle and last (step, near counts, far counts) among the rows that have usable histograms."""
    found = []
    for position, row in enumerate(history):
        near, far = (
            np.asarray(row.get(key) if row.get(key) is not None else [], dtype=float)
            for key in ("near_hist", "far_hist")
        )
        usable = near.ndim == far.ndim == 1 and len(near) == len(far) > 0
        if usable and np.isfinite(near.sum()) and np.isfinite(far.sum()) and near.sum() > 0 and far.sum() > 0:
            step = number(row.get("step", position))
            found.append((position if step is None or not math.isfinite(step) else step, near, far))
    keep = sorted({0, len(found) // 2, len(found) - 1}) if found else []
    return [found[index] for index in keep]


def scores(history: Sequence[Mapping[str, Any]]) -> str:
    """The section of score histograms: near and far pairs, at the first, the middle and the last snapshot."""
    shots = snapshots(history)
    if not shots:
        return ""
    top = 1.05 * max(float((counts / counts.sum()).max()) for _, near, far in shots for counts in (near, far))
    panels = "".join(histogram(f"Step {num(step)}", near, far, top) for step, near, far in shots)
    legend = (
        '<ul class="keys"><li><span class="key near"></span>near pairs (solid edge)</li>'
        '<li><span class="key far"></span>far pairs (dashed edge)</li></ul>'
    )
    lead = (
        "Cosine scores of pairs that should be near and of pairs that should be far, as shares of pairs. "
        "Training should pull the two apart: the smaller the shared area, the fewer pairs a threshold gets wrong."
    )
    return section("scores", "Near and far", lead, f'{legend}<div class="panels">{panels}</div>')
