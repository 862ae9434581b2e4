"""The comparison as text: a table for the terminal, in blocks that fit its width, and Markdown for documents."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial

from ..assess import UNTOUCHED, UNTRAINED
from .comparison import GEOMETRY, LEVEL, Comparison, Line

WIDTH = 120
GAP = "  "
COSTS = (
    ("steps", "steps", 0),
    ("seconds", "seconds", 1),
    ("items_per_second", "items/s", 0),
    ("peak_mib", "MiB", 0),
    ("parameters", "params", 0),
)
Column = tuple[str, Callable[[Line], str]]


def text(comparison: Comparison, width: int = WIDTH) -> str:
    """Table, verdicts and notes for the terminal."""
    blocks = _blocks(comparison, _columns(comparison, brief=True), width)
    said = [*comparison.verdicts, "", *(f"Note: {note}" for note in comparison.notes)]
    wrapped = [textwrap.fill(sentence, width, subsequent_indent="  ", break_long_words=False) for sentence in said]
    return "\n\n".join([*blocks, "\n".join(wrapped)])


def markdown(comparison: Comparison) -> str:
    """The same in Markdown: what was measured, then what it cost, then the verdicts."""
    quality, rest = _columns(comparison, brief=False)
    parts = []
    for columns in (quality, rest):
        if columns:
            head = ["", *(title for title, _ in columns)]
            rows = [[_label(line), *(cell(line) for _, cell in columns)] for line in comparison.lines]
            lines = [head, ["---"] * len(head), *rows]
            parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines))
    parts.append("\n".join(f"- {sentence}" for sentence in [*comparison.verdicts, *comparison.notes]))
    return "\n\n".join(parts)


def _columns(comparison: Comparison, brief: bool) -> tuple[list[Column], list[Column]]:
    """Figures with intervals; and differences, geometry and cost."""
    quality: list[Column] = [
        (_title(comparison, key, brief), partial(_figure, key=key, brief=brief)) for key in comparison.quality
    ]
    rest: list[Column] = []
    head = comparison.headline
    for reference, tests in comparison.against.items():
        if tests.get(head):
            to = {"best": "best", UNTRAINED: "untrained", UNTOUCHED: "untouched"}[reference]
            rest.append((f"{_title(comparison, head, True)} - {to}", partial(_difference, comparison, reference)))
    for key in GEOMETRY[: 1 if comparison.quality else None]:
        rest.append((_title(comparison, key, brief), partial(_plain, key=key)))
    for key, title, digits in COSTS:
        rest.append((title, partial(_cost, key=key, digits=digits)))
    return quality, rest


def _blocks(comparison: Comparison, groups: Sequence[Sequence[Column]], width: int) -> list[str]:
    """Each group of columns beside the names, cut into as many tables as the width asks for."""
    names = ["", *(_label(line) for line in comparison.lines)]
    first = min(max(len(name) for name in names), width // 2)
    tables = []
    for columns in groups:
        filled = [[title, *(cell(line) for line in comparison.lines)] for title, cell in columns]
        while filled:
            used, room = 0, width - first
            for cells in filled:
                needed = len(GAP) + max(map(len, cells))
                if used and needed > room:
                    break
                used, room = used + 1, room - needed
            tables.append(_table(names, filled[:used], first))
            filled = filled[used:]
    return tables


def _table(names: Sequence[str], columns: Sequence[Sequence[str]], first: int) -> str:
    widths = [max(map(len, cells)) for cells in columns]
    lines = []
    for row, name in enumerate(names):
        cells = [cells[row].ljust(width) for cells, width in zip(columns, widths, strict=True)]
        lines.append(GAP.join([_cut(name, first).ljust(first), *cells]).rstrip())
    return "\n".join(lines)


def _cut(name: str, width: int) -> str:
    """The name, its middle left out where it is too long: variants differ at their ends."""
    if len(name) <= width:
        return name
    half = (width - 1) // 2
    return f"{name[: width - 1 - half]}…{name[-half:]}"


def _label(line: Line) -> str:
    return f"{line.name} (uses labels)" if line.supervised else line.name


def _title(comparison: Comparison, key: str, brief: bool) -> str:
    name = next((metric.name for line in comparison.lines if (metric := line.metric(key)) is not None), key)
    return name.removesuffix(" accuracy").replace(" labels per class", " per class") if brief else name


def _figure(line: Line, key: str, brief: bool) -> str:
    metric = line.metric(key)
    if metric is None or line.found is None:
        return "failed" if line.failed else "-"
    spread = f" ±{line.found.spread[key]:.3f}" if key in line.found.spread else ""
    if not brief or not metric.has_interval:
        return metric.short() + spread
    low, high = (f"{edge:.3f}".removeprefix("0")[:4] for edge in (metric.low, metric.high))  # .975, and 1.00
    return f"{metric.value:.3f} [{low}, {high}]{spread}"


def _difference(comparison: Comparison, reference: str, line: Line) -> str:
    head = comparison.headline
    test = comparison.against[reference][head].get(line.name)
    if test is None:
        return "the best" if reference == "best" and comparison.best.get(head) == line.name else "-"
    return f"{test.difference.value:+.3f} p={test.corrected:.2g}{'' if test.corrected < LEVEL else ' ='}"


def _plain(line: Line, key: str) -> str:
    metric = line.metric(key)
    if metric is None:
        return "-"
    alarm = " collapsed?" if key == GEOMETRY[0] and line.collapsed else ""
    return f"{metric.value:.1f}{alarm}" if metric.value >= 10 else f"{metric.value:.2f}{alarm}"


def _cost(line: Line, key: str, digits: int) -> str:
    value = line.mean_cost(key)
    if value is None:
        return "-"
    return f"{value / 1e6:.2f} M" if key == "parameters" else f"{value:,.{digits}f}"
