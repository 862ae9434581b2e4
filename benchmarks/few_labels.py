"""Labels from few: accuracy of labels that spread over the rows of a store, beside probes on the same labels.

Of a store with all its labels, 1 % of the rows keep them, drawn at random from the first half five times, as many of
each class; scored on the second half, whose vectors spreading sees and probes do not. Intervals by the bootstrap over
draws and rows. `probe` is logistic regression with the usual choice of its strength, `kNN` the vote of 5 neighbours.

    nearfar embed runs/fashion bundled:fashion --store fashion.store
    python -m benchmarks.few_labels fashion.store
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from nearfar.curation.rows import read
from nearfar.curation.spreading import _rule, judged, near_graph, spread
from nearfar.evaluation import bootstrap_mean, knn_predict, linear_probe, paired_difference
from nearfar.evaluation.probes import draw_rows
from nearfar.store import Store


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--promise", type=float, default=0.9)
    asked = parser.parse_args()
    rows = read(Store.open(asked.store))
    half, classes = len(rows) // 2, len(rows.classes)
    each = max(1, round(asked.share * len(rows) / classes))
    x, y, truth = rows.vectors, rows.labels, rows.labels[half:]
    graph = near_graph(x, 10)

    def spreading(few: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return judged(spread(graph, labels, classes, 0.99)[half:])[0]

    ways: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "spread": spreading,
        "probe": lambda few, _: linear_probe(x[few], y[few], x[half:], truth).predictions,
        "kNN": lambda few, _: knn_predict(x[few], y[few], x[half:], k=5),
    }
    right: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    sure, covered = [], []
    for draw in range(asked.draws):
        few = draw_rows(y[:half], each, draw)
        labels = np.full(len(y), -1)
        labels[few] = y[few]
        for name, way in ways.items():
            right[name].append(way(few, labels) == truth)
        rule = _rule(graph, labels, classes, few, 0.99, asked.promise, 0)[0]
        best, confidence = judged(spread(graph, labels, classes, 0.99)[half:])
        sure.append((best == truth)[confidence >= rule].mean())
        covered.append((confidence >= rule).mean())
    for name, hits in right.items():
        print(name, bootstrap_mean("accuracy", np.array(hits, float)))
    for name in ("probe", "kNN"):
        print("spread -", name, paired_difference(np.array(right["spread"], float), np.array(right[name], float)))
    print("above the rule", np.round(sure, 3).tolist(), "covered", np.round(covered, 3).tolist())


if __name__ == "__main__":
    main()
