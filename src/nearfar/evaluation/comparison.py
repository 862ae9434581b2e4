"""Several encoders side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.errors import ConfigError

from .bootstrap import Difference
from .evaluate import Evaluation

FEWSHOT = "fewshot_accuracy"  # where several sizes were measured: fewshot@1_accuracy, fewshot@5_accuracy, ...
HEADLINES = (
    *("knn_accuracy", "linear_accuracy", FEWSHOT, "finetune_accuracy", "recall@1", "map@r"),
    *("similarity_spearman", "pairs_average_precision", "search_ndcg@10"),
    *("clustering_accuracy", "clustering_nmi", "dense_foreground_iou", "dense_corloc", "effective_rank"),
)
SECTIONS = {
    "kNN": ("knn_accuracy", "knn_macro_f1"),
    "Linear probe": ("linear_accuracy", "linear_macro_f1"),
    "Few labels": (FEWSHOT,),
    "Fine-tuning": ("finetune_accuracy", "finetune_macro_f1"),
    "Retrieval": ("recall@1", "r_precision", "map@r"),
    "Clustering": ("clustering_accuracy", "clustering_nmi", "clustering_ari", "clustering_silhouette"),
    "Episodes": ("episodes_accuracy", "episodes_transported"),
    "Dense": ("dense_pixel_accuracy", "dense_mean_iou", "dense_foreground_iou", "dense_box_iou", "dense_corloc"),
    "Similarity": ("similarity_spearman", "similarity_pearson"),
    "Pairs": ("pairs_average_precision", "pairs_accuracy", "pairs_f1"),
    "Search": ("search_ndcg@10", "search_mrr@10", "search_map@100", "search_hit@1", "search_recall@10"),
    "Geometry": ("effective_rank", "uniformity"),
    "Domains": ("domains_accuracy",),
}


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


def sections(evaluations: Mapping[str, Evaluation], gains: Mapping[str, Mapping[str, Difference]]) -> str:
    """Plain text: for each probe a title, a table of all encoders that it measured, and the paired differences.

    evaluations: the encoder of interest first. gains: baseline -> metric -> difference to it.
    """
    held = _held(evaluations)
    parts = []
    for title, wanted in SECTIONS.items():
        keys = present(held, wanted)
        if not keys:
            continue
        measured = {name: e for name, e in evaluations.items() if any(key in e.metrics for key in keys)}
        lines = [title, compare_table(measured, keys)]
        lines += [
            f"{key} against {name}: {differences[key]}"
            for name, differences in gains.items()
            for key in keys
            if key in differences
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def present(held: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The keys of `wanted` that are held, in its order; few labels in all sizes that were measured.

    >>> present(["fewshot@5_accuracy", "knn_accuracy", "fewshot@1_accuracy"], ["knn_accuracy", FEWSHOT])
    ['knn_accuracy', 'fewshot@1_accuracy', 'fewshot@5_accuracy']
    """
    found = []
    for key in wanted:
        probe, _, rest = key.partition("_")
        sized = [match for match in (re.fullmatch(rf"{probe}@(\d+)_{rest}", other) for other in held) if match]
        found += [key] if key in held else [m[0] for m in sorted(sized, key=lambda match: int(match[1]))]
    return found


def to_rows(evaluations: Mapping[str, Evaluation], metrics: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The table for JSON: one {"name": ..., "metrics": {key: metric}} for each name; all metrics unless named."""
    keys = _columns(evaluations, metrics if metrics is not None else _held(evaluations))
    return [
        {"name": name, "metrics": {key: ev.metrics[key].to_json() for key in keys if key in ev.metrics}}
        for name, ev in evaluations.items()
    ]


def _held(evaluations: Mapping[str, Evaluation]) -> list[str]:
    return list(dict.fromkeys(key for evaluation in evaluations.values() for key in evaluation.metrics))


def _columns(evaluations: Mapping[str, Evaluation], metrics: Sequence[str] | None) -> list[str]:
    held = _held(evaluations)
    if not held:
        raise ConfigError("nothing to compare: give at least one evaluation that holds a metric")
    if metrics is None:
        return present(held, HEADLINES) or held
    missing = [key for key in metrics if key not in held]
    if missing:
        raise ConfigError(f"no evaluation holds the metric {missing[0]!r}; there are {', '.join(held)}")
    return list(metrics)
