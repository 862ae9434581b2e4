"""The opening of the page: headline figures, the verdict, what to read; and what was run on which data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.report.curves import flatten, last, snapshots
from nearfar.report.data import ReportData
from nearfar.report.pictures import agreement
from nearfar.report.plots import overlap
from nearfar.report.tables import bounds, interval, metrics, worst_pairs
from nearfar.report.text import definitions, duration, esc, num, plural, score, section, words

_MOST_FIGURES = 4
# What stands at the head of the page when nothing was evaluated: key, label, and what it is read against.
_ENDS = (
    ("loss", "Loss at the end", "chance", "chance"),
    ("near_mean", "Mean score of near pairs", "far_mean", "far pairs"),
    ("effective_rank", "Effective rank", "", ""),
    ("items_per_second", "Items per second", "", ""),
)


def headline(data: ReportData) -> str:
    """Up to four figures: results of the first model beside its baselines or, without results, the end of training."""
    figures = []
    model, *others = data.evaluation or [""]
    for name in metrics(data):
        if model and name in data.evaluation[model]:
            result = data.evaluation[model][name]
            n = f", n = {int(result['n']):,}" if result.get("n") is not None else ""
            sure = f"{interval(result)} (95%{n})" if interval(result) else n.lstrip(", ")
            rivals = [
                f"{other}: {score(bounds(data.evaluation[other][name])[0])}" for other in _having(data, others, name)
            ]
            figures.append(_figure(words(name), score(bounds(result)[0]), [line for line in [sure, *rivals] if line]))
    if not figures:
        rows = flatten(data.history)
        for key, label, beside, name in _ENDS:
            value, other = last(rows, key), last(rows, beside)
            if value is not None:
                figures.append(_figure(label, num(value), [f"{name}: {num(other)}"] if other is not None else []))
    return f'<div class="figures">{"".join(figures[:_MOST_FIGURES])}</div>' if figures else ""


def _having(data: ReportData, models: list[str], name: str) -> list[str]:
    return [model for model in models if name in data.evaluation[model]]


def _figure(label: str, value: str, below: list[str]) -> str:
    lines = "".join(f"<small>{esc(line)}</small>" for line in below)
    return f'<div class="figure"><span>{esc(label)}</span><strong>{value}</strong>{lines}</div>'


def readings(data: ReportData) -> list[tuple[str, str]]:
    """What the page shows, one sentence each: (section to read, sentence)."""
    found = [("results", sentence) for sentence in _against_baselines(data)]
    rows = flatten(data.history)
    loss, chance = last(rows, "loss"), last(rows, "chance")
    if loss is not None:
        against = f"; a model that tells nothing apart stays at {num(chance)}" if chance is not None else ""
        found.append(("curves", f"The loss ended at {num(loss)}{against}."))
    if (rank := last(rows, "effective_rank")) is not None:
        found.append(("curves", f"The projections use about {num(rank)} dimensions at the end (effective rank)."))
    if shots := snapshots(data.history):
        shares = [100 * overlap(near, far) for _, near, far in (shots[0], shots[-1])]
        change = f"went from {shares[0]:.0f}% to {shares[1]:.0f}%" if len(shots) > 1 else f"is {shares[1]:.0f}%"
        found.append(("scores", f"The area that scores of near and far pairs share {change}."))
    if counted := agreement(data):
        found.append(
            ("neighbours", f"{counted[0]} of {plural(counted[1], 'neighbour')} shown have the label of their query.")
        )
    if pairs := worst_pairs(data):
        true, taken, share, _ = pairs[0]
        found.append(
            ("confusion", f"The most frequent mistake takes {true} for {taken} ({100 * share:.0f}% of that class).")
        )
    if (count := len(_skipped(data.source)[1]) or _skipped(data.source)[0]) > 0:
        found.append(
            ("run", f"{plural(count, 'item')} could not be read and {'was' if count == 1 else 'were'} skipped.")
        )
    return found


def _against_baselines(data: ReportData) -> list[str]:
    model, *others = data.evaluation or [""]
    sentences = []
    for other in others:
        both = [name for name in data.evaluation[model] if name in data.evaluation[other]]
        pairs = [(bounds(data.evaluation[model][name]), bounds(data.evaluation[other][name])) for name in both]
        if pairs:
            above = sum(ours[0] > theirs[0] for ours, theirs in pairs)
            apart = sum(ours[1] > theirs[2] or ours[2] < theirs[1] for ours, theirs in pairs)
            sentences.append(
                f"Against {other}, {model} is higher on {above} of {plural(len(pairs), 'measurement')}; "
                f"the intervals are apart on {apart}."
            )
    return sentences


def summary(data: ReportData, present: Mapping[str, str]) -> str:
    """The opening section; `present` holds anchor -> short name of the sections it may point to."""
    verdict = f'<p class="verdict">{esc(data.verdict)}</p>' if data.verdict else ""
    items = "".join(
        f'<li>{esc(text)} <a href="#{anchor}">{esc(present[anchor])}</a></li>'
        for anchor, text in readings(data)
        if anchor in present
    )
    guide = f'<div class="guide"><h3>What to read</h3><ul>{items}</ul></div>' if items else ""
    return section("summary", "Summary", "", verdict + headline(data) + guide)


def _skipped(source: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    """Number of skipped items when only that is known, and (name, reason) of each when they are listed."""
    value = source.get("skipped") or 0
    if isinstance(value, int):
        return value, []
    rows = []
    for entry in value:
        if isinstance(entry, Mapping):
            rows.append((str(entry.get("name", "")), str(entry.get("reason", ""))))
        elif hasattr(entry, "reason"):
            rows.append((str(entry.name), str(entry.reason)))
        else:
            name, reason = entry
            rows.append((str(name), str(reason)))
    return len(rows), rows


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            rows.append((f"{prefix}{key}", esc(text)))
    return rows


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{esc(title)}</summary>{body}</details>"


def _source_facts(source: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if source.get("kind") is not None:
        facts.append(("Kind", esc(source["kind"])))
    if source.get("items") is not None:
        facts.append(("Items", f"{int(source['items']):,}"))
    if shape := source.get("shape"):
        unit = " <small>channels, height, width</small>" if len(shape) == 3 else ""
        facts.append(("Shape", " × ".join(esc(size) for size in shape) + unit))
    classes = source.get("classes")
    if classes:
        facts.append(
            ("Classes", f"{classes:,}" if isinstance(classes, int) else _class_list([str(c) for c in classes]))
        )
    duplicates = source.get("duplicates")
    if duplicates is not None:
        count = duplicates if isinstance(duplicates, int) else len(duplicates)
        facts.append(("Duplicates", f"{count:,}"))
    if source.get("skipped") is not None:
        facts.append(("Skipped", f"{_skipped(source)[0]:,}"))
    return facts


def _class_list(names: list[str]) -> str:
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"{len(names):,} <small>{esc(shown)}</small>"


def what_was_run(data: ReportData) -> str:
    """The section on the command, its settings, the data and what was left out of it."""
    parts = []
    if data.command:
        command = data.command if isinstance(data.command, str) else shlex.join(map(str, data.command))
        parts.append(f'<pre class="command"><code>{esc(command)}</code></pre>')
    facts = _source_facts(data.source)
    times = [(words(stage), duration(float(seconds))) for stage, seconds in data.timings.items()]
    columns = [("Data", facts), ("Time", times)]
    blocks = "".join(f"<div><h3>{name}</h3>{definitions(pairs)}</div>" for name, pairs in columns if pairs)
    parts.append(f'<div class="columns">{blocks}</div>' if blocks else "")
    settings = _flat(data.config)
    if settings:
        parts.append(_folded(plural(len(settings), "setting"), definitions(settings)))
    _, skipped = _skipped(data.source)
    if skipped:
        rows = "".join(f"<tr><td>{esc(name)}</td><td>{esc(reason)}</td></tr>" for name, reason in skipped)
        head = "<thead><tr><th>Name</th><th>Reason</th></tr></thead>"
        table = f'<table class="plain">{head}<tbody>{rows}</tbody></table>'
        parts.append(_folded(f"{plural(len(skipped), 'item')} skipped", f'<div class="scroll">{table}</div>'))
    duplicates = data.source.get("duplicates")
    if isinstance(duplicates, (list, tuple, np.ndarray)) and len(duplicates):
        rows = "".join(f"<li>{esc(_group(entry))}</li>" for entry in duplicates)
        parts.append(_folded(plural(len(duplicates), "duplicate"), f"<ul>{rows}</ul>"))
    return section("run", "What was run", "", "".join(parts))


def _group(entry: object) -> str:
    return " = ".join(map(str, entry)) if isinstance(entry, (list, tuple)) else str(entry)
