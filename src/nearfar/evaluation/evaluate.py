"""Every probe on one encoder's vectors, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.data.split import stratified_split
from nearfar.errors import ConfigError, DataError

from .bootstrap import Difference, paired_difference
from .checks import Labels, Vectors, as_labels, as_vectors, same_width
from .classification import Classification, classify
from .clustering import clustering
from .dense import DenseResult
from .episodes import episodes
from .geometry import geometry
from .metric import Metric, plain
from .neighbours import knn_predict
from .probes import few_shot_probe, linear_probe
from .quality import Quality
from .retrieval import retrieval

PROBES = ("knn", "linear", "fewshot", "retrieval", "geometry")  # cheap, and so the default
VECTOR_PROBES = (*PROBES, "clustering", "episodes")  # those that need vectors and labels only
MATCH_PROBES = ("similarity", "pairs", "search")  # of data that say what belongs together, in place of classes
ALL_PROBES = (*VECTOR_PROBES, "finetune", "dense", *MATCH_PROBES)
TABLE_ORDER = ("linear", "knn", "fewshot", "finetune")  # whose confusion matrix is shown, where several have one

Progress = Callable[[str, int, int], None]


@dataclass
class Evaluation:
    """What the probes found.

    metrics: "knn_accuracy", "linear_macro_f1", "fewshot_accuracy", "recall@1", "map@r", "effective_rank", ... ->
    Metric. classes: (C,) labels of `confusion` and `per_class`; class_names: their names. confusion: (C, C) counts, row
    = truth, and per_class: label, name, n, precision, recall, f1, both of one probe (`table_of`, the first of
    `TABLE_ORDER`). draws: each few-shot draw; finetune_draws: each training; dense_per_class: label, name, n, iou of
    the classes of pixels. spectrum: singular values of the test vectors. verdict: the geometry in one sentence. notes:
    everything that was left out or cannot be right, counted and named. scores: per-item scores behind the metrics, for
    `compare`; not part of the JSON.
    """

    metrics: dict[str, Metric] = field(default_factory=dict)
    classes: list[int] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    confusion: np.ndarray | None = None
    per_class: list[dict[str, Any]] = field(default_factory=list)
    table_of: str | None = None
    draws: list[dict[str, Any]] = field(default_factory=list)
    finetune_draws: list[dict[str, Any]] = field(default_factory=list)
    dense_per_class: list[dict[str, Any]] = field(default_factory=list)
    spectrum: np.ndarray | None = None
    verdict: str = ""
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, probe: str, report: Classification, classes: Sequence[str] | None = None) -> None:
        """Take in what a classifier reached: "<probe>_accuracy" and so on, and its table where none goes before it."""
        self.metrics.update({f"{probe}_{key}": metric for key, metric in report.metrics.items()})
        self.scores[f"{probe}_accuracy"] = report.correct.astype(np.float64)
        kind = probe.partition("@")[0]
        if self.table_of is None or TABLE_ORDER.index(kind) < TABLE_ORDER.index(self.table_of):
            names = _Names(classes)
            self.table_of = kind
            self.classes = report.classes.tolist()
            self.class_names = [names(label) for label in self.classes]
            self.confusion = report.confusion
            self.per_class = [
                {"label": row["label"], "name": name, **{key: row[key] for key in row if key != "label"}}
                for row, name in zip(report.per_class, self.class_names, strict=True)
            ]
        if report.metrics["accuracy"].settings.get("converged") is False:
            self.notes.append(f"the {probe} probe stopped before L-BFGS converged")

    def add_domains(
        self,
        vectors: np.ndarray,
        domains: np.ndarray,
        strength: float | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        """Take in how well a linear probe tells from vectors (N, D) where rows come from: "domains_accuracy".

        Fitted on four fifths of the rows of known domain, scored on the others. Nothing where there is one domain
        alone, or one with a single row.
        """
        known = domains >= 0
        vectors, domains = vectors[known], domains[known]
        _, counts = np.unique(domains, return_counts=True)
        if len(counts) < 2 or counts.min() < 2:
            return
        kept, held = stratified_split(domains, 0.2, seed)
        fitted = linear_probe(
            vectors[kept], domains[kept], vectors[held], domains[held], strength,
            resamples=resamples, seed=seed, name="domain",
        )  # fmt: skip
        self.metrics["domains_accuracy"] = fitted.report.metrics["accuracy"]
        self.scores["domains_accuracy"] = fitted.report.correct.astype(np.float64)

    def add_dense(self, found: DenseResult, classes: Sequence[str]) -> None:
        """Take in what a dense probe reached: "dense_mean_iou" and so on."""
        report = found.report
        self.metrics.update({f"dense_{key}": metric for key, metric in report.metrics.items()})
        self.scores.update({f"dense_{key}": scores for key, scores in report.scores.items() if len(scores)})
        self.dense_per_class = [{"name": classes[row["label"]], **row} for row in report.per_class]
        if report.empty:
            self.notes.append(f"{report.empty} test pictures have no foreground and were left out of boxes")
        if not found.converged:
            self.notes.append("the dense probe stopped before L-BFGS converged")

    def add_quality(self, probe: str, found: Quality) -> None:
        """Take in what search, similarity or pairs reached: "search_ndcg@10" and so on."""
        self.metrics.update({f"{probe}_{key}": metric for key, metric in found.metrics.items()})
        self.scores.update({f"{probe}_{key}": scores for key, scores in found.scores.items()})
        self.notes += found.notes

    def __str__(self) -> str:
        lines = [str(metric) for metric in self.metrics.values()]
        return "\n".join([*lines, *([self.verdict] if self.verdict else []), *(f"Note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain dict for JSON, without the per-item scores."""
        return {
            "metrics": {key: metric.to_json() for key, metric in self.metrics.items()},
            "classes": plain(self.classes),
            "class_names": list(self.class_names),
            "confusion": plain(self.confusion),
            "per_class": [_plain_row(row) for row in self.per_class],
            "table_of": self.table_of,
            "draws": plain(self.draws),
            "finetune_draws": plain(self.finetune_draws),
            "dense_per_class": [_plain_row(row) for row in self.dense_per_class],
            "spectrum": plain(self.spectrum),
            "verdict": self.verdict,
            "notes": list(self.notes),
            "counts": plain(self.counts),
        }


def evaluate_vectors(
    train: Vectors,
    train_labels: Labels | None,
    test: Vectors,
    test_labels: Labels | None,
    probes: Sequence[str] = PROBES,
    per_class: int | Sequence[int] = 10,
    draws: int = 5,
    k: int = 20,
    temperature: float = 0.07,
    strength: float | None = None,
    ks: Sequence[int] = (1, 5, 10),
    clusters: int | None = None,
    cluster_seeds: int = 5,
    episode_ways: int = 5,
    episode_shots: int | Sequence[int] = (1, 5),
    episode_queries: int = 15,
    episode_count: int = 600,
    classes: Sequence[str] | None = None,
    test_views: Vectors | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Probe vectors: fitted on the training rows, scored on the test rows, every number with a 95 % interval.

    train (N, D), test (M, D): embeddings of one encoder. Labels: -1 = unknown; such rows are left out of every probe
    that needs labels, and counted. probes: any of "knn", "linear", "fewshot", "retrieval" (test rows search one
    another), "geometry" (of the test rows, labels optional), "clustering" (of the test rows, into `clusters` groups or
    as many as there are classes, from `cluster_seeds` seeds), "episodes" (of the test rows, see
    `nearfar.evaluation.episodes`). per_class: labels of each class for "fewshot"; of several
    sizes each is measured, as "fewshot@5_accuracy" and so on. classes: names of labels 0, 1, ... for messages and
    tables. test_views: second views of the test rows, adds the alignment. strength: C of the linear probes, chosen by
    validation if None. progress: called with (probe, done, total).

    A test label that training never shows cannot be predicted: its rows stay, count as errors and are named in `notes`.

    Raises DataError: rows with NaN, no labels where needed, one class only, k above the bank, too few rows of a class
    for the few-label probe; ConfigError: an unknown probe.

    >>> x, y = np.eye(4).repeat(6, axis=0), np.arange(24) // 6
    >>> print(evaluate_vectors(x, y, x, y, probes=["knn"], k=3).metrics["knn_accuracy"])
    kNN accuracy 1.000 [1.000, 1.000] n=24
    """
    unknown = [probe for probe in probes if probe not in VECTOR_PROBES]
    if unknown or not probes:
        listed = ", ".join(VECTOR_PROBES)
        raise ConfigError(f"{f'unknown probe {unknown[0]!r}' if unknown else 'no probe asked for'}; there are {listed}")
    sizes = shot_sizes(per_class)
    x, z = as_vectors(train, "train vectors"), as_vectors(test, "test vectors")
    same_width(x, z, "train and test vectors")
    result = Evaluation(counts={"train": len(x), "test": len(z), "width": x.shape[1]})
    names = _Names(classes)
    labelled = [probe for probe in VECTOR_PROBES if probe in probes and probe != "geometry"]
    if labelled:
        x, y = _known(x, train_labels, "train", labelled, result)
        q, truth = _known(z, test_labels, "test", labelled, result)
        _look_over(y, truth, names, labelled, max(sizes), result)
    ordered = [probe for probe in VECTOR_PROBES if probe in probes]
    for done, probe in enumerate(ordered):
        if progress:
            progress(probe, done, len(ordered))
        if probe == "knn":
            if k > len(x):
                raise DataError(f"k={k} neighbours asked of {len(x)} labelled train rows; choose k={len(x)} or less")
            guess = knn_predict(x, y, q, k, temperature)
            settings = {"k": k, "temperature": temperature, "metric": "cosine", "bank": len(x)}
            result.add(probe, classify(truth, guess, "kNN", settings, resamples, seed), classes)
        elif probe == "linear":
            fitted = linear_probe(x, y, q, truth, strength, resamples=resamples, seed=seed)
            result.add(probe, fitted.report, classes)
        elif probe == "fewshot":
            for size in sizes:
                shots = few_shot_probe(x, y, q, truth, size, draws, strength, resamples=resamples, seed=seed)
                result.add(probe if len(sizes) == 1 else f"{probe}@{size}", shots.report, classes)
                result.draws += [{"per_class": size, **draw} for draw in shots.draws]
        elif probe == "retrieval":
            found = retrieval(q, truth, ks=ks, resamples=resamples, seed=seed)
            result.metrics.update(found.metrics)
            result.scores.update(found.scores)
            if found.lone:
                result.notes.append(f"{found.lone} test rows are alone in their class and were left out of retrieval")
        elif probe == "clustering":
            groups = clustering(q, truth, clusters, cluster_seeds, resamples, seed)
            result.metrics.update({f"clustering_{key}": metric for key, metric in groups.metrics.items()})
            result.scores["clustering_accuracy"] = groups.correct.astype(np.float64)
        elif probe == "episodes":
            for shots_ in shot_sizes(episode_shots):
                tasks = episodes(
                    q, truth, episode_ways, shots_, episode_queries, episode_count, resamples=resamples, seed=seed
                )
                for key, metric in tasks.metrics.items():
                    result.metrics[f"episodes@{shots_}_{key}"] = metric
                    result.scores[f"episodes@{shots_}_{key}"] = tasks.scores[key]
        else:
            shape = geometry(z, test_labels, test_views, resamples, seed)
            result.metrics.update(shape.metrics)
            result.verdict, result.spectrum = shape.verdict, shape.spectrum
    if progress:
        progress("done", len(ordered), len(ordered))
    return result


def shot_sizes(per_class: int | Sequence[int]) -> list[int]:
    """The sizes of the few-label probe, ascending, each once.

    Raises ConfigError when there is none, or one below 1.

    >>> shot_sizes(10), shot_sizes([5, 1, 5])
    ([10], [1, 5])
    """
    sizes = sorted({per_class} if isinstance(per_class, int) else set(per_class))
    if not sizes or sizes[0] < 1:
        raise ConfigError(f"per_class must be whole numbers of at least 1, got {per_class}")
    return sizes


def compare(a: Evaluation, b: Evaluation, resamples: int = 1000, seed: int = 0) -> dict[str, Difference]:
    """Paired difference a - b of every metric for which both hold per-item scores of the same number of items.

    Both must have been evaluated on the same test rows in the same order.
    """
    shared = [key for key in a.scores if key in b.scores]
    return {key: paired_difference(a.scores[key], b.scores[key], resamples, seed) for key in shared}


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to_json() if isinstance(value, Metric) else plain(value) for key, value in row.items()}


class _Names:
    """Names of labels for people: the class name with the label, or the label alone."""

    def __init__(self, classes: Sequence[str] | None) -> None:
        self.classes = list(classes) if classes is not None else []

    def __call__(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)


def _known(
    vectors: np.ndarray, labels: Labels | None, which: str, probes: list[str], result: Evaluation
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a label; the others are counted in the notes."""
    remedy = 'give labels, or ask for probes=("geometry",), which needs none'
    if labels is None:
        raise DataError(f"{', '.join(probes)} need labels and there are no {which} labels; {remedy}")
    y = as_labels(labels, len(vectors), f"{which} labels", unknown=True)
    known = y >= 0
    if not known.any():
        raise DataError(f"every {which} label is -1 (unknown), {', '.join(probes)} need labels; {remedy}")
    missing = int((~known).sum())
    result.counts[f"{which}_unknown"] = missing
    if missing:
        result.notes.append(f"{missing} of {len(y)} {which} rows have no label and were left out of labelled probes")
    return vectors[known], y[known]


def _look_over(
    y: np.ndarray, truth: np.ndarray, names: _Names, probes: list[str], per_class: int, result: Evaluation
) -> None:
    """Refuse labels no probe can learn from, before anything is computed; note those it can never get right."""
    seen, sizes = np.unique(y, return_counts=True)
    fitted = [probe for probe in probes if probe not in ("retrieval", "clustering", "episodes")]
    if fitted and len(seen) < 2:
        raise DataError(f"all train labels are {names(int(seen[0]))!r}; {', '.join(fitted)} need at least two classes")
    small = int(sizes.argmin())
    if "fewshot" in probes and sizes[small] < per_class:
        raise DataError(
            f"class {names(int(seen[small]))!r} has {sizes[small]} labelled train rows, the few-label probe needs "
            f"{per_class}; label more of it, choose per_class={sizes[small]} or less, or leave out the fewshot probe"
        )
    unseen = np.setdiff1d(truth, seen)
    if fitted and len(unseen):
        rows = int(np.isin(truth, unseen).sum())
        listed = ", ".join(repr(names(int(label))) for label in unseen[:10]) + (", ..." if len(unseen) > 10 else "")
        result.counts["test_unseen"] = rows
        result.notes.append(f"{rows} test rows have labels never seen in training and count as errors: {listed}")
