"""Several encoders side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.errors import ConfigError

from .evaluate import Evaluation

HEADLINES = ("knn_accuracy", "linear_accuracy", "fewshot_accuracy", "recall@1", "map@r", "effective_rank")


def compare_table(evaluations: Mapping[str, Evaluation], metrics: Sequence[str] | None = None) -> str:
    """Plain text: one line for each name, one column for each metric, value and interval in the cells.

    metrics: keys of `Evaluation.metrics`; by default the `HEADLINES` that any of them holds. A metric that one of them
    lacks is shown as "-".

    Raises ConfigError when there is nothing to show or a metric is in none of them.
    """
    keys = _columns(evaluations, metrics)
    titles = [next(ev.metrics[key].name for ev in evaluations.values() if key in ev.metrics) for key in keys]
    lines = [["", *titles]]
    for name, evaluation in evaluations.items():
        cells = [evaluation.metrics[key].short() if key in evaluation.metrics else "-" for key in keys]
        lines.append([name, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(keys) + 1)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def to_rows(evaluations: Mapping[str, Evaluation], metrics: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The table for JSON: one {"name": ..., "metrics": {key: metric}} for each name; all metrics unless named."""
    everything = list(dict.fromkeys(key for evaluation in evaluations.values() for key in evaluation.metrics))
    keys = _columns(evaluations, metrics if metrics is not None else everything)
    return [
        {"name": name, "metrics": {key: ev.metrics[key].to_json() for key in keys if key in ev.metrics}}
        for name, ev in evaluations.items()
    ]


def _columns(evaluations: Mapping[str, Evaluation], metrics: Sequence[str] | None) -> list[str]:
    held = list(dict.fromkeys(key for evaluation in evaluations.values() for key in evaluation.metrics))
    if not held:
        raise ConfigError("nothing to compare: give at least one evaluation that holds a metric")
    if metrics is None:
        return [key for key in HEADLINES if key in held] or held
    missing = [key for key in metrics if key not in held]
    if missing:
        raise ConfigError(f"no evaluation holds the metric {missing[0]!r}; there are {', '.join(held)}")
    return list(metrics)
