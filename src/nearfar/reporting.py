"""From a run to its report page: what was run, how it went, and what the vectors are like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .assess import OURS, Assessment
from .data.source import Source
from .evaluation import Evaluation, nearest
from .evaluation.comparison import present
from .methods import Mixed
from .models import contradicting
from .report import Neighbours, ReportData, write_report
from .run import Run

MAP_POINTS = 2000
QUERIES, NEIGHBOURS = 12, 8
SHOWN = (
    *("knn_accuracy", "linear_accuracy", "fewshot_accuracy", "finetune_accuracy", "recall@1", "map@r"),
    *("similarity_spearman", "similarity_pearson", "pairs_average_precision", "pairs_accuracy", "pairs_f1"),
    *("search_ndcg@10", "search_mrr@10", "search_map@100", "search_hit@1", "search_recall@10", "search_recall@100"),
    *("dense_foreground_iou", "dense_mean_iou", "dense_pixel_accuracy", "dense_box_iou", "dense_corloc"),
    *("clustering_accuracy", "clustering_nmi", "clustering_ari", "clustering_silhouette"),
    *("linear_macro_precision", "linear_macro_recall", "linear_macro_f1", "fewshot_macro_f1"),
    "finetune_macro_f1",
    *("effective_rank", "uniformity", "domains_accuracy"),
)


def write(
    run: Run,
    assessment: Assessment | None = None,
    source: Source | None = None,
    path: Path | None = None,
    progress: bool | None = None,
) -> Path:
    """Write `report.html` of a run.

    Args:
        assessment: what `evaluate` found; figures, baselines and the confusion matrix come from it.
        source: rows for the map and the neighbours, where nothing was assessed; those of the assessment otherwise.
        path: where to; `report.html` in the run folder when None.
    """
    history = run.history
    verdicts = [text for line in history for text in line.get("verdicts", {}).values()]
    data = ReportData(
        title=f"{run.config['method']} on {Path(run.config['data']).name}",
        verdict=verdicts[-1] if verdicts else None,
        version=str(run.config["nearfar"]),
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        command=run.config["command"],
        config={k: v for k, v in run.config.items() if k not in ("source", "command", "nearfar", "format")},
        source=_listed(run.config["source"]),
        history=history,
        timings={"training": float(history[-1]["seconds"])} if history else {},
    )
    if assessment is not None:
        ours = assessment.evaluations[OURS]
        source, vectors = assessment.test, assessment.test_vectors
        data.evaluation = {name: _figures(e) for name, e in assessment.evaluations.items()}
        data.classes, data.confusion = ours.class_names, ours.confusion
        data.verdict = data.verdict or ours.verdict or None
    elif source is not None:
        source = source.select(_sample(len(source), MAP_POINTS))
        vectors = run.vectors_of(run.method, source, progress)
        data.classes = source.classes
    learned = source if assessment is None else assessment.train
    if learned is not None and isinstance(run.method, Mixed) and run.method.biased is not None:
        data.contradicting = _contradicting_grid(run, run.method, learned)
    if source is not None and len(source) > 1:
        chosen = _sample(len(source), MAP_POINTS)
        data.embeddings = vectors[chosen]
        data.labels = None if source.labels is None else source.labels[chosen]
        data.names = [source.names[i] for i in chosen]
        seen = run.modality.pictures(source, chosen)
        data.thumbnails = seen if isinstance(seen, np.ndarray) else None
        data.neighbours = _neighbour_grid(run, source, vectors)
        data.classes = data.classes or source.classes
    return write_report(path or run.path / "report.html", data)


def _listed(source: dict[str, Any]) -> dict[str, Any]:
    """What was read, with the skipped items by name where the configuration names all of them, else their number."""
    examples = source.get("skipped_examples", [])
    return {**source, "skipped": examples} if len(examples) == source.get("skipped") else source


def _figures(evaluation: Evaluation) -> dict[str, dict[str, object]]:
    """The figures that people look for, by the names they are printed with; all others are in the JSON."""
    metrics = evaluation.metrics
    return {metrics[key].name: metrics[key].to_json() for key in present(list(metrics), SHOWN)}


def _sample(n: int, most: int) -> np.ndarray:
    """At most `most` of n positions, ascending, the same every time."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


def _neighbour_grid(run: Run, source: Source, vectors: np.ndarray) -> Neighbours | None:
    queries = _spread_queries(source)
    k = min(NEIGHBOURS, len(source) - 1)
    found = nearest(vectors[queries], vectors, k + 1)
    # A row finds itself first, unless another row is the same: drop itself wherever it stands.
    rows = [[int(j) for j in row if j != q][:k] for q, row in zip(queries, found.index, strict=True)]
    pictures = run.modality.pictures(source, queries)
    if pictures is None:
        return None
    similarities = None
    if isinstance(pictures, list):  # of texts the eye does not see how near they are
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        similarities = [(unit[row] @ unit[q]).tolist() for q, row in zip(queries, rows, strict=True)]
    labels = source.labels
    return Neighbours(
        queries=list(pictures),
        neighbours=[list(_pictures(run, source, row)) for row in rows],
        similarities=similarities,
        query_labels=None if labels is None else [int(labels[q]) for q in queries],
        neighbour_labels=None if labels is None else [[int(labels[j]) for j in row] for row in rows],
    )


def _contradicting_grid(run: Run, method: Mixed, source: Source) -> Neighbours | None:
    """A few labelled rows, each with the partner of its label and that of another one, among as many as a batch has."""
    if source.labels is None:
        return None
    source = source.select(np.flatnonzero(source.labels >= 0))
    source = source.select(_sample(len(source), int(run.config["training"]["batch_size"])))
    assert source.labels is not None
    views = run.modality.views(run.config["source"], 2, run.options, method.encoder)
    rows = views.plain(source.rows(slice(0, len(source)))).to(next(method.parameters()).device)
    believed, labels = method.believed([rows]), torch.as_tensor(source.labels, device=rows.device)
    queries = _spread_queries(source)
    found = [contradicting(believed, labels, same).cpu().numpy()[queries] for same in (True, False)]
    partners = [[int(j) for j in pair if j != q] for q, pair in zip(queries, zip(*found, strict=True), strict=True)]
    return Neighbours(
        queries=list(_pictures(run, source, queries.tolist())),
        neighbours=[list(_pictures(run, source, pair)) for pair in partners],
        query_labels=source.labels[queries].tolist(),
        neighbour_labels=[source.labels[pair].tolist() for pair in partners],
    )


def _pictures(run: Run, source: Source, rows: Sequence[int]) -> np.ndarray | list[str]:
    pictures = run.modality.pictures(source, np.array(rows, dtype=np.int64))
    assert pictures is not None
    return pictures


def _spread_queries(source: Source) -> np.ndarray:
    """A few rows, spread over the classes where there are labels."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(source))
    if source.labels is None:
        return np.sort(order[:QUERIES])
    labels = source.labels[order]
    rank = np.zeros(len(order), dtype=np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return order[np.argsort(rank, kind="stable")][:QUERIES]
