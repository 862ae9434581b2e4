"""The table of all figures of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.report.text import esc, num, score

Entry = Mapping[str, Any]
_COSTS = (
    ("steps", "Steps", 0),
    ("seconds", "Training seconds", 1),
    ("items_per_second", "Items per second", 0),
    ("peak_mib", "Peak memory, MiB", 0),
    ("parameters", "Parameters trained", 0),
)


def table(lines: Sequence[Entry], titles: Mapping[str, str], headline: str | None) -> str:
    """One row per line, one column per metric (key -> title), difference and cost.

    headline: the metric whose differences are shown; None shows none.
    """
    references = list(dict.fromkeys(name for line in lines for name in line["against"])) if headline else []
    head = ["Method", *titles.values()]
    head += [f"{titles[headline]}: difference to the {name}" for name in references if headline]
    head += [*(title for _, title, _ in _COSTS), "Geometry"]
    heads = "".join(f'<th scope="col">{esc(title)}</th>' for title in head)
    rows = "".join(_row(line, titles, references, headline) for line in lines)
    made = f'<table class="figures-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{made}</div>'


def mean_cost(line: Entry, key: str) -> float | None:
    """A cost of a line, averaged over its runs."""
    values = [float(run[key]) for run in line["cost"] if run.get(key) is not None]
    return sum(values) / len(values) if values else None


def _row(line: Entry, keys: Mapping[str, str], references: Sequence[str], headline: str | None) -> str:
    cells = [_cell(line["metrics"].get(key)) for key in keys]
    cells += [_gap(line["against"].get(name, {}).get(headline)) for name in references]
    for key, _, digits in _COSTS:
        value = mean_cost(line, key)
        cells.append("<td>–</td>" if value is None else f"<td>{value:,.{digits}f}</td>")
    said = "; ".join([*line["failed"], *line["alarms"]]) or str(line["geometry"])
    cells.append(f'<td title="{esc(said)}">{esc("failed" if line["failed"] else _brief(line))}</td>')
    flag = " <small>uses labels</small>" if line["uses_labels"] else ""
    css = ' class="base"' if line["baseline"] else ""
    return f'<tr{css}><th scope="row">{esc(line["name"])}{flag}</th>{"".join(cells)}</tr>'


def _cell(metric: Entry | None) -> str:
    if metric is None or metric["value"] is None:
        return "<td>–</td>"
    sure = "" if metric["low"] is None else f"<small>{score(metric['low'])} to {score(metric['high'])}</small>"
    spread = f"<small>± {score(metric['spread'])} over seeds</small>" if metric.get("spread") is not None else ""
    return f"<td>{score(metric['value'])}{sure}{spread}</td>"


def _gap(test: Entry | None) -> str:
    if test is None:
        return "<td>–</td>"
    sign = "+" if test["value"] >= 0 else "−"
    css = ' class="apart"' if test["p_holm"] < 0.05 else ""
    return f"<td{css}>{sign}{score(abs(test['value']))}<small>p {num(test['p_holm'])}</small></td>"


def _brief(line: Entry) -> str:
    """The geometry in a word or two: what stands before the facts."""
    said = "alarm" if line["alarms"] else str(line["geometry"])
    return said.partition(":")[0].partition("(")[0].strip(" .")
