"""The page of a comparison: who is better by how much and how surely, at what cost, and how each was made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from nearfar.report.comparison_charts import lines, scatter
from nearfar.report.comparison_figures import mean_cost, table
from nearfar.report.comparison_parts import Point, Series, dots, labels, legend
from nearfar.report.comparison_style import SCRIPT, STYLE
from nearfar.report.page import document, put
from nearfar.report.plots import Line, chart
from nearfar.report.text import definitions, duration, esc, num, plural, section

Entry = Mapping[str, Any]
_SEARCH = ("search_ndcg@10", "search_hit@1")
_QUALITY = ("knn_accuracy", "linear_accuracy", "fewshot_accuracy", "recall@1", "map@r", *_SEARCH)
_GEOMETRY = ("effective_rank", "uniformity")
_UNTRAINED = "untrained encoder"


def render_comparison(data: Mapping[str, Any]) -> str:
    """The page as one string of HTML.

    data: what `nearfar.comparing.Comparison.to_json` gives, which is also what compare.json holds.
    """
    page = _Page(data)
    parts = {
        "summary": ("Summary", page.summary()),
        "results": ("Results", page.results()),
        "progress": ("While training", page.progress()),
        "cost": ("Cost", page.cost()),
        "losses": ("Losses", page.losses()),
        "figures": ("All figures", page.figures()),
        "methods": ("How each was made", page.methods()),
        "run": ("What was run", page.run()),
    }
    title = f"{plural(len(page.contenders), 'method')} on {_leaf(str(data.get('data', '')))}"
    meta = (f"nearfar {data.get('nearfar', '')}".strip(), str(data.get("created", "")))
    return document(title, meta, {key: part for key, part in parts.items() if part[1]}, STYLE, SCRIPT)


def write_comparison(path: Path, data: Mapping[str, Any]) -> Path:
    """Write the page to `path` (folders are made) and return it; a page already there is replaced as a whole."""
    return put(Path(path), render_comparison(data))


class _Page:
    """The sections; every method keeps its number, and so its look, through all of them."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.lines: list[Entry] = list(data["lines"])
        self.contenders = [line for line in self.lines if not line["baseline"]]
        self.looks = {line["name"]: number for number, line in enumerate(self.contenders)}
        measured = [key for key in (*_QUALITY, *_GEOMETRY) if any(key in line["metrics"] for line in self.lines)]
        self.quality = [key for key in measured if key in _QUALITY]
        # Where there are labels or pairs, one figure of the geometry is enough: it cannot say who is better.
        self.keys = [*self.quality, _GEOMETRY[0]] if self.quality else measured
        self.headline = str(data["headline"])
        self.labels = labels([line["name"] for line in self.lines])
        self.curves = [curve for line in self.contenders for curve in line["curves"]]

    def title(self, key: str) -> str:
        """What people call a metric."""
        named = next((line["metrics"][key]["name"] for line in self.lines if key in line["metrics"]), key)
        return str(named)[:1].upper() + str(named)[1:] if str(named).islower() else str(named)

    def summary(self) -> str:
        """The verdicts, and what a reader must know."""
        first, *others = [str(sentence) for sentence in self.data["verdicts"]] or [""]
        listed = "".join(f"<li>{esc(sentence)}</li>" for sentence in others)
        notes = "".join(f"<li>{esc(note)}</li>" for note in self.data["notes"])
        body = f'<p class="verdict">{esc(first)}</p>' if first else ""
        body += f'<ul class="verdicts">{listed}</ul>' if listed else ""
        body += f'<h3>How to read it</h3><ul class="verdicts note">{notes}</ul>' if notes else ""
        return section("summary", "Summary", "", body)

    def key(self) -> str:
        """The legend of the charts."""
        return legend([(line["name"], self.looks[line["name"]], line["uses_labels"]) for line in self.contenders])

    def point(self, line: Entry, key: str, cost: str | None = None) -> Point | None:
        """A figure of a line as a dot."""
        metric = line["metrics"].get(key)
        if metric is None or metric["value"] is None:
            return None
        value = float(metric["value"])
        low, high = (value if metric[edge] is None else float(metric[edge]) for edge in ("low", "high"))
        price = mean_cost(line, cost) if cost else None
        return Point(
            line["name"],
            self.labels[line["name"]],
            value,
            low,
            high,
            math.nan if price is None else price,
            self.looks.get(line["name"]),
            bool(line["uses_labels"]),
            metric.get("per_seed") or (),
        )

    def points(self, key: str, cost: str | None = None) -> list[Point]:
        """All lines that have a figure."""
        found = [self.point(line, key, cost) for line in self.lines]
        return [point for point in found if point is not None]

    def results(self) -> str:
        """One panel per metric, best first."""
        panels = "".join(dots(self.title(key), self.points(key), _UNTRAINED) for key in self.keys if self.points(key))
        if not panels:
            return ""
        lead = (
            "Best first. The bar behind a dot is its 95% interval over the scored items; the grey band is that of the "
            "untrained encoder. Hollow dots are baselines, which learned nothing."
            if self.quality
            else "There are no labels to score against: these say how the vectors are spread, not how good they are."
        )
        if any(line["uses_labels"] for line in self.contenders):
            lead += " Methods marked “labels” saw the labels of the training rows; the others did not."
        if any(point.below for point in self.points(self.keys[0])):
            lead += " Thin marks are single seeds."
        return section("results", "Results", lead, f'<div class="metrics">{panels}</div>')

    def progress(self) -> str:
        """Quality over steps and over seconds."""
        key = "knn_accuracy" if any("knn_accuracy" in curve for curve in self.curves) else _GEOMETRY[0]
        name = {"knn_accuracy": "kNN accuracy"}.get(key, "Effective rank")
        start = self._start(key)
        over = [
            lines(f"{name} over steps", self.series(key, "look_step"), "steps", start),
            lines(f"{name} over time", self.series(key, "look_seconds"), "seconds of training", start),
        ]
        if not any(over):
            return ""
        lead = (
            "Measured while training, on a part of the rows, so that the last points differ a little from the results. "
            "The time of measuring is not counted. Point at a curve, or at a name, to see it alone."
        )
        return section("progress", "While training", lead, self.key() + "".join(over))

    def _start(self, key: str) -> tuple[str, float] | None:
        firsts = [curve[key][0] for curve in self.curves if curve.get(key) and curve["look_step"][0] == 0]
        return ("before training", float(np.mean(firsts))) if firsts else None

    def series(self, key: str, across: str) -> list[Series]:
        """The curve of every method: the mean over its seeds, with the lowest and the highest."""
        made = []
        for line in self.contenders:
            curves = [curve for curve in line["curves"] if curve.get(key)]
            if not curves:
                continue
            count = min(len(curve[key]) for curve in curves)
            x = np.array([_floats(curve[across])[:count] for curve in curves]).mean(0)
            y = np.array([_floats(curve[key])[:count] for curve in curves])
            several = len(curves) > 1
            made.append(
                Series(
                    line["name"],
                    self.labels[line["name"]],
                    self.looks[line["name"]],
                    x,
                    y.mean(0),
                    y.min(0) if several else None,
                    y.max(0) if several else None,
                )
            )
        return made

    def cost(self) -> str:
        """What the quality took: time, and memory."""
        if not self.quality:
            return ""
        name = self.title(self.headline)
        charts = [
            scatter(f"{name} against time", self.points(self.headline, "seconds"), "seconds of training"),
            scatter(f"{name} against memory", self.points(self.headline, "peak_mib"), "MiB, peak of the process"),
        ]
        lead = (
            "Up is better, left is cheaper. Every method was trained in a process of its own, whose peak of memory "
            "includes Python and its libraries."
        )
        return section("cost", "Cost", lead, self.key() + "".join(charts))

    def losses(self) -> str:
        """The loss of every method by itself."""
        panels = []
        for line in self.contenders:
            shown = [
                Line(
                    f"seed {curve['seed']}" if len(line["curves"]) > 1 else "loss",
                    _floats(curve["step"]),
                    _floats(curve["loss"]),
                )
                for curve in line["curves"]
            ]
            panels.append(chart(line["name"], shown))
        if not any(panels):
            return ""
        lead = (
            "Over steps. Losses of different methods measure different things: compare their shapes, not their values."
        )
        return section("losses", "Losses", lead, f'<div class="panels">{"".join(panels)}</div>')

    def figures(self) -> str:
        """Everything in one table."""
        titles = {key: self.title(key) for key in self.keys}
        lead = (
            "Value and 95% interval. Differences are paired on the scored items, with p after Holm's correction for "
            "the number of methods; bold where it is below 0.05. All p-values, metrics and settings are in "
            '<a href="compare.json">compare.json</a>.'
        )
        return section(
            "figures", "All figures", lead, table(self.lines, titles, self.headline if self.quality else None)
        )

    def methods(self) -> str:
        """Settings, command and folders of every method."""
        parts = []
        for line in self.contenders:
            links = ", ".join(f'<a href="{esc(quote(folder))}/">{esc(folder)}</a>' for folder in line["folders"])
            facts = [(str(key), esc(_plain(value))) for key, value in line["settings"].items()]
            facts += [("run", links)] if links else []
            facts += [("failed", esc(text)) for text in line["failed"]]
            facts += [("monitor", esc(text)) for text in dict.fromkeys(line["alarms"])]
            facts += [(f"seed {run['seed']}", _took(run)) for run in line["cost"]]
            command = f'<pre class="command"><code>{esc(line["command"])}</code></pre>' if line["command"] else ""
            body = f"<summary>{esc(line['name'])}</summary>{definitions(facts)}{command}"
            parts.append(f'<details class="contender">{body}</details>')
        lead = "Settings beyond the defaults, and the command that trains the method alone, where there is one."
        return section("methods", "How each was made", lead, "".join(parts))

    def run(self) -> str:
        """The command, and what all methods had in common."""
        command = f'<pre class="command"><code>{esc(self.data["command"])}</code></pre>' if self.data["command"] else ""
        rows = self.data.get("rows", {})
        facts = [
            (key.replace("_", " "), esc(_plain(rows[key])))
            for key in ("learned_from", "scored_on", "split", "cpus")
            if rows.get(key)
        ]
        facts += [(str(key), esc(_plain(value))) for key, value in self.data["terms"].items() if key != "format"]
        return section("run", "What was run", "", command + definitions(facts))


def _floats(values: Sequence[Any]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _leaf(data: str) -> str:
    return data.rstrip("/").rpartition("/")[2] or data


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _took(run: Entry) -> str:
    return esc(
        f"{plural(int(run['steps']), 'step')} in {duration(float(run['seconds']))}, peak {num(run['peak_mib'])} MiB "
        f"({num(run['start_mib'])} before training), {plural(int(run['threads']), 'thread')}"
    )
