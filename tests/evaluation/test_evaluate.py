from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import Evaluation, compare, compare_table, evaluate_vectors, to_rows

NAMES = ["cat", "dog", "owl"]


def clusters(n: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).standard_normal((3, 8))
    y = np.arange(n) % 3
    return centres[y] + noise * np.random.default_rng(seed).standard_normal((n, 8)), y


X, Y = clusters(90, 0)
Z, U = clusters(60, 1)


@pytest.fixture(scope="module")
def good() -> Evaluation:
    return evaluate_vectors(X, Y, Z, U, draws=2, classes=NAMES, test_views=Z + 0.01)


def test_every_probe_leaves_its_metrics(good: Evaluation) -> None:
    for probe in ("knn", "linear", "fewshot"):
        for key in ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"):
            metric = good.metrics[f"{probe}_{key}"]
            assert metric.low <= metric.value <= metric.high
            assert metric.n == 60
    assert {"recall@1", "r_precision", "map@r", "effective_rank", "tolerance", "alignment"} <= set(good.metrics)
    assert good.verdict.startswith("No collapse")
    assert good.notes == []
    assert "kNN accuracy" in str(good)


def test_table_per_class_belongs_to_the_linear_probe(good: Evaluation) -> None:
    assert good.table_of == "linear"
    assert good.class_names == NAMES
    assert good.confusion is not None and good.confusion.sum() == 60
    assert np.trace(good.confusion) / 60 == pytest.approx(good.metrics["linear_accuracy"].value)
    assert [row["name"] for row in good.per_class] == NAMES
    recall = np.mean([row["recall"].value for row in good.per_class])
    assert recall == pytest.approx(good.metrics["linear_macro_recall"].value)
    assert len(good.draws) == 2


def test_json_round_trip(good: Evaluation) -> None:
    back = json.loads(json.dumps(good.to_json(), allow_nan=False))
    assert back["metrics"]["knn_accuracy"]["value"] == good.metrics["knn_accuracy"].value
    assert back["metrics"]["effective_rank"]["low"] is None
    assert back["per_class"][1]["name"] == "dog"
    assert np.sum(back["confusion"]) == 60
    assert "scores" not in back


def test_tensors_give_the_same_as_arrays() -> None:
    arrays = evaluate_vectors(X, Y, Z, U, probes=["knn", "retrieval"])
    tensors = evaluate_vectors(*(torch.tensor(value) for value in (X, Y, Z, U)), probes=["knn", "retrieval"])
    assert arrays.metrics == tensors.metrics


def test_order_of_training_rows_does_not_matter() -> None:
    order = np.random.default_rng(5).permutation(len(X))
    one = evaluate_vectors(X, Y, Z, U, probes=["knn", "linear"], strength=0.1)
    two = evaluate_vectors(X[order], Y[order], Z, U, probes=["knn", "linear"], strength=0.1)
    assert (one.scores["knn_accuracy"] == two.scores["knn_accuracy"]).all()
    assert (one.scores["linear_accuracy"] == two.scores["linear_accuracy"]).mean() > 0.98


def test_progress_names_each_probe() -> None:
    seen: list[tuple[str, int, int]] = []
    evaluate_vectors(X, Y, Z, U, probes=["geometry", "knn"], progress=lambda *step: seen.append(step))
    assert seen == [("knn", 0, 2), ("geometry", 1, 2), ("done", 2, 2)]


def test_comparison_table_and_rows(good: Evaluation) -> None:
    noise = evaluate_vectors(*clusters(90, 6, noise=9.0), *clusters(60, 7, noise=9.0), probes=["knn"])
    table = compare_table({"nearfar": good, "raw pixels": noise})
    lines = table.splitlines()
    assert len(lines) == 3
    assert lines[0].split("  ")[0] == "" and "kNN accuracy" in lines[0]
    assert lines[1].startswith("nearfar") and good.metrics["knn_accuracy"].short() in lines[1]
    assert lines[2].startswith("raw pixels") and lines[2].endswith("-")
    column = lines[0].index("kNN accuracy")
    assert lines[1][column:].startswith(good.metrics["knn_accuracy"].short())

    rows = to_rows({"nearfar": good, "raw pixels": noise})
    assert [row["name"] for row in rows] == ["nearfar", "raw pixels"]
    assert "map@r" in rows[0]["metrics"] and "map@r" not in rows[1]["metrics"]
    json.dumps(rows, allow_nan=False)
    with pytest.raises(ConfigError, match="'speed'"):
        compare_table({"nearfar": good}, metrics=["speed"])
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare_table({})


def test_compare_finds_the_better_encoder() -> None:
    generator = np.random.default_rng(7)
    bad_x, bad_z = generator.standard_normal((90, 8)), generator.standard_normal((60, 8))
    good = evaluate_vectors(X, Y, Z, U, probes=["knn", "retrieval"])
    bad = evaluate_vectors(bad_x, Y, bad_z, U, probes=["knn", "retrieval"])
    found = compare(good, bad)
    expected = good.metrics["knn_accuracy"].value - bad.metrics["knn_accuracy"].value
    assert found["knn_accuracy"].value == pytest.approx(expected)
    assert found["knn_accuracy"].low > 0 and found["map@r"].p_value < 0.01
    assert compare(good, good)["knn_accuracy"].p_value == 1


def test_unknown_labels_are_left_out_and_counted() -> None:
    labels, truth = Y.copy(), U.copy()
    labels[:4], truth[:2] = -1, -1
    found = evaluate_vectors(X, labels, Z, truth, probes=["knn", "geometry"])
    assert found.metrics["knn_accuracy"].n == 58
    assert found.metrics["effective_rank"].n == 60
    assert found.counts["train_unknown"] == 4
    assert found.notes[0].startswith("4 of 90 train rows have no label")
    alone = evaluate_vectors(X[4:], Y[4:], Z[2:], U[2:], probes=["knn"])
    assert found.metrics["knn_accuracy"].value == alone.metrics["knn_accuracy"].value


def test_labels_never_seen_in_training_are_counted_and_named() -> None:
    keep = Y != 2
    found = evaluate_vectors(X[keep], Y[keep], Z, U, probes=["knn", "linear"], classes=NAMES)
    assert found.counts["test_unseen"] == 20
    assert any("20 test rows" in note and "'owl'" in note for note in found.notes)
    assert found.metrics["knn_accuracy"].value <= 40 / 60
    assert found.metrics["knn_accuracy"].n == 60


def test_a_lone_test_row_is_noted() -> None:
    found = evaluate_vectors(X, Y, Z[:5], U[:5], probes=["retrieval"])
    assert any("1 test rows are alone" in note for note in found.notes)


def test_geometry_needs_no_labels() -> None:
    found = evaluate_vectors(X, None, Z, None, probes=["geometry"])
    assert "effective_rank" in found.metrics and "tolerance" not in found.metrics


def test_bad_input_says_what_to_do() -> None:
    broken = X.copy()
    broken[17, 3] = np.nan
    broken[20, 0] = np.inf
    with pytest.raises(DataError, match=r"train vectors: row 17 and 1 more rows holds NaN"):
        evaluate_vectors(broken, Y, Z, U)
    with pytest.raises(DataError, match="all train labels are 'dog'"):
        evaluate_vectors(X, np.ones(90, dtype=int), Z, U, classes=NAMES)
    with pytest.raises(DataError, match="no test labels"):
        evaluate_vectors(X, Y, Z, None)
    with pytest.raises(DataError, match=r"every train label is -1.*geometry"):
        evaluate_vectors(X, -np.ones(90, dtype=int), Z, U)
    with pytest.raises(DataError, match=r"k=91 .* choose k=90 or less"):
        evaluate_vectors(X, Y, Z, U, k=91)
    with pytest.raises(DataError, match=r"class 'cat' has 30 labelled train rows.*needs 31"):
        evaluate_vectors(X, Y, Z, U, per_class=31, classes=NAMES)
    with pytest.raises(DataError, match="width"):
        evaluate_vectors(X, Y, Z[:, :5], U)
    with pytest.raises(DataError, match="shape"):
        evaluate_vectors(X.reshape(90, 2, 4), Y, Z, U)
    with pytest.raises(DataError, match="empty"):
        evaluate_vectors(X[:0], Y[:0], Z, U)
    with pytest.raises(ConfigError, match="'nearest'"):
        evaluate_vectors(X, Y, Z, U, probes=["nearest"])
    with pytest.raises(ConfigError, match="no probe"):
        evaluate_vectors(X, Y, Z, U, probes=[])


def test_half_precision_and_bytes_are_welcome() -> None:
    scaled = np.clip(X * 20 + 128, 0, 255)
    queries = np.clip(Z * 20 + 128, 0, 255)
    for cast in (lambda a: a.astype(np.uint8), lambda a: torch.tensor(a).bfloat16(), lambda a: a.astype(np.float16)):
        found = evaluate_vectors(cast(scaled), Y, cast(queries), U, probes=["linear"], strength=1.0)
        assert found.metrics["linear_accuracy"].value > 0.5


def test_import_is_light() -> None:
    code = "import sys, nearfar.evaluation; print(sorted({'sklearn', 'scipy', 'torchvision'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
