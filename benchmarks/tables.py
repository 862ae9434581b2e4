"""Tables with few labels: every method without labels beside raw columns, forests and gradient-boosted trees.

Run: python -m benchmarks.tables TABLE --label-column NAME [--share 0.01] [--draws 10] [--steps 3000] [--markdown]

The encoder learns from all training rows without labels. Then logistic regression and kNN are fitted on its vectors and
a few labels, the same rows for everybody, and scored on the test rows. Intervals (95 %) are over draws of the labels
and over test rows; differences are paired in both.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nearfar import methods, modalities
from nearfar.data.sampling import EpochSampler
from nearfar.data.source import Source
from nearfar.data.split import stratified_split
from nearfar.evaluation import classify, knn_predict
from nearfar.evaluation.bootstrap import bootstrap_mean
from nearfar.evaluation.classification import Classification
from nearfar.evaluation.probes import draw_rows, few_shot_probe
from nearfar.run import embed_rows
from nearfar.training import Trainer, TrainingSettings
from nearfar.training.rng import seed_all

TABLES = modalities.find("tables")
CPU = torch.device("cpu")
TEST_SHARE, NEIGHBOURS = 0.3, 3
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]  # rows, labels, test rows, draw


class Bench:
    """One table, its split and the draws of its labels."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.options = TABLES.Options(label_column=chosen.label_column, recipe=chosen.recipe)
        source = TABLES.read(chosen.table, self.options, None, None, False)
        rest, held = stratified_split(source.labels, TEST_SHARE, chosen.seed, source.classes)
        self.train, self.test = source.select(rest), source.select(held)
        self.y, self.truth = self.train.labels, self.test.labels
        self.per_class = max(1, round(chosen.share * len(rest) / len(source.classes)))

    def scored(self, vectors: tuple[np.ndarray, np.ndarray]) -> tuple[Classification, Classification]:
        """Logistic regression and kNN on vectors of the training and the test rows."""
        linear = few_shot_probe(vectors[0], self.y, vectors[1], self.truth, self.per_class, self.chosen.draws,
                                seed=self.chosen.seed).report  # fmt: skip
        return linear, self.drawn(vectors, lambda x, y, z, _: knn_predict(x, y, z, k=min(NEIGHBOURS, len(x))))

    def drawn(self, vectors: tuple[np.ndarray, np.ndarray], predict: Predict) -> Classification:
        """Predictions from the same draws of labels that `few_shot_probe` takes."""
        seeds = [self.chosen.seed + draw for draw in range(self.chosen.draws)]
        rows = [draw_rows(self.y, self.per_class, seed) for seed in seeds]
        guesses = [predict(vectors[0][r], self.y[r], vectors[1], s) for r, s in zip(rows, seeds, strict=True)]
        return classify(self.truth, np.stack(guesses), seed=self.chosen.seed)

    def vectors(self, encoder: nn.Module, views: Any) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of the training and the test rows."""

        def embedded(source: Source) -> np.ndarray:
            return embed_rows(encoder, views, source, CPU, False)

        return embedded(self.train), embedded(self.test)

    def learnt(self, name: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of an encoder trained by a method, or untrained for None."""
        facts, chosen = self.train.describe(), self.chosen
        kind = methods.find(name or "simclr")
        seed_all(chosen.seed)
        _, encoder = TABLES.encoder(chosen.encoder, facts)
        method = kind(encoder, kind.Options())
        views = TABLES.views(facts, method.options.views, self.options)
        if name is not None:
            settings = TrainingSettings(steps=chosen.steps, batch_size=chosen.batch_size, seed=chosen.seed, threads=1)
            sampler = EpochSampler(len(self.train), chosen.batch_size, chosen.seed)
            with tempfile.TemporaryDirectory() as out:
                Trainer(method, self.train, views, sampler, settings, out, progress=False).run()
        return self.vectors(method.encoder, views)


def boosted(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: int) -> np.ndarray:
    """Gradient-boosted trees; leaves may be small, since scikit-learn's 20 rows are too many for few labels."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(min_samples_leaf=2, random_state=seed)
    return np.asarray(model.fit(x, y).predict(z))


def boosted_default(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: int) -> np.ndarray:
    """Gradient-boosted trees with the settings of scikit-learn."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return np.asarray(HistGradientBoostingClassifier(random_state=seed).fit(x, y).predict(z))


def forest(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: int) -> np.ndarray:
    """A random forest of 500 trees, which few labels suit better than boosting."""
    from sklearn.ensemble import RandomForestClassifier

    return np.asarray(RandomForestClassifier(500, random_state=seed).fit(x, y).predict(z))


def main() -> None:
    """Print a table: accuracy by each probe, and paired differences of the logistic one."""
    free = [name for name, kind in methods.catalogue().items() if not kind.supervised]
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path)
    parser.add_argument("--label-column", required=True)
    parser.add_argument("--methods", default=",".join(free))
    parser.add_argument("--encoder", default="mlp")
    parser.add_argument("--recipe", default="auto")
    parser.add_argument("--share", type=float, default=0.01, help="of the training rows that have labels")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(chosen)
    labelled = bench.per_class * len(bench.train.classes)
    print(
        f"{len(bench.train)} training rows, {labelled} of them labelled ({bench.per_class} of each class), "
        f"{len(bench.test)} test rows, {chosen.draws} draws, {chosen.steps} steps of {chosen.batch_size}\n"
    )
    raw = TABLES.raw(bench.train), TABLES.raw(bench.test)
    columns, columns_knn = bench.scored(raw)
    trees = {
        "boosted trees, leaves of 2": bench.drawn(raw, boosted),
        "boosted trees, defaults": bench.drawn(raw, boosted_default),
        "random forest": bench.drawn(raw, forest),
    }
    best = max(trees.values(), key=_value)
    _row(chosen.markdown, "", "logistic", f"{NEIGHBOURS}-NN", "logistic - raw", "logistic - best trees")
    if chosen.markdown:
        print("|---|---|---|---|---|")
    for name, report in trees.items():
        _row(chosen.markdown, name, _shown(report), "", _minus(report, columns), "")
    _row(chosen.markdown, "raw columns", _shown(columns), _shown(columns_knn), "", _minus(columns, best))
    for name in (None, *chosen.methods.split(",")):
        linear, knn = bench.scored(bench.learnt(name))
        label = name or "untrained encoder"
        _row(chosen.markdown, label, _shown(linear), _shown(knn), _minus(linear, columns), _minus(linear, best))


def _value(report: Classification) -> float:
    return report.metrics["accuracy"].value


def _shown(report: Classification) -> str:
    return report.metrics["accuracy"].short()


def _minus(report: Classification, other: Classification) -> str:
    gain = bootstrap_mean("gain", report.correct.astype(np.float64) - other.correct)
    return f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _row(markdown: bool, name: str, *cells: str) -> None:
    plain = f"{name:<28}" + "".join(f"{cell:<26}" for cell in cells).rstrip()
    print(f"| {name} | {' | '.join(cells)} |" if markdown else plain, flush=True)


if __name__ == "__main__":
    main()
