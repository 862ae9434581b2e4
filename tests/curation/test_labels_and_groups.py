"""Spread labels, outliers and groups against closed forms, scikit-learn and plain loops."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nearfar.curation import cluster, doubtful_labels, outliers, spread_labels
from nearfar.curation.clusters import keywords
from nearfar.curation.rows import units
from nearfar.curation.spreading import lowest_rule, near_graph, spread
from nearfar.errors import ConfigError, DataError
from nearfar.store import Store
from saying import Command

RNG = np.random.default_rng(1)
CENTRES = np.eye(3, 8)
TRUTH = np.arange(90) % 3
VECTORS = (CENTRES[TRUTH] + 0.12 * RNG.standard_normal((90, 8))).astype(np.float32)
VECTORS[80] = -VECTORS[80]  # unlike all others
NAMES = ["cat", "dog", "star"]
WORDS = {"cat": "the cat naps", "dog": "the dog barks", "star": "the star shines"}
IDS = [f"r{row}" for row in range(90)]


def made(path: Path, labels: list[str | None]) -> Store:
    store = Store.create(path, 8, columns={"label": "string", "text": "string"})
    store.add(IDS, VECTORS, {"label": labels, "text": [WORDS[NAMES[one]] for one in TRUTH]})
    return store


@pytest.fixture
def full(tmp_path: Path) -> Store:
    return made(tmp_path / "full", [NAMES[2 if row == 0 else TRUTH[row]] for row in range(90)])  # r0 is wrong


@pytest.fixture
def few(tmp_path: Path) -> Store:
    return made(tmp_path / "few", [NAMES[TRUTH[row]] if row < 15 else None for row in range(90)])


def test_spread_labels_are_the_closed_form():
    graph, labels = near_graph(units(VECTORS), 5), np.where(np.arange(90) < 15, TRUTH, -1)
    dense = graph.toarray()
    scale = np.diag(1 / np.sqrt(dense.sum(1)))
    start = np.eye(3)[TRUTH] * (np.arange(90) < 15)[:, None] / 5  # five labels of each kind
    known = 0.1 * np.linalg.solve(np.eye(90) - 0.9 * scale @ dense @ scale, start)
    np.testing.assert_allclose(spread(graph, labels, 3, 0.9), known, atol=1e-5)


def test_spread_labels_are_those_of_scikit_learn():
    from sklearn.semi_supervised import LabelSpreading

    graph, labels = near_graph(units(VECTORS), 5), np.where(np.arange(90) < 15, TRUTH, -1)
    theirs = LabelSpreading(kernel=lambda a, b: graph.toarray(), alpha=0.9, max_iter=500, tol=1e-9)
    theirs.fit(VECTORS, labels)
    mass = spread(graph, labels, 3, 0.9)
    np.testing.assert_allclose(mass / mass.sum(1, keepdims=True), theirs.label_distributions_, atol=1e-4)


def test_the_graph_is_that_of_every_comparison():
    x = units(VECTORS).astype(np.float64)
    cosines = x @ x.T
    np.fill_diagonal(cosines, -2)
    near = [set(np.argsort(-line)[:4].tolist()) for line in cosines]
    naive = np.array([[max(cosines[i, j], 0) if j in near[i] or i in near[j] else 0 for j in range(90)]
                      for i in range(90)])  # fmt: skip
    np.testing.assert_allclose(near_graph(units(VECTORS), 4).toarray(), naive, atol=1e-6)


def test_labels_are_found_where_sure_and_kept_where_known(few: Store):
    found = spread_labels(few, k=5)
    right = [one == NAMES[truth] for one, truth in zip(found.labels, TRUTH, strict=True) if one is not None]
    assert np.mean(right) > 0.95 and found.known.sum() == 15 and found.right is not None and found.right >= 0.95
    assert [one for one in found.labels[:15]] == [NAMES[one] for one in TRUTH[:15]]
    strict = spread_labels(few, k=40, rule=1.0)
    assert sum(one is None for one in strict.labels) > 0
    assert all(c == 1.0 for c, one in zip(strict.confidence, strict.labels, strict=True) if one is not None)


def test_the_rule_is_the_lowest_that_keeps_the_promise():
    right, sure = RNG.random(200) < 0.7, np.round(RNG.random(200), 2)
    rule, share, covered = lowest_rule(right, sure, 0.72)
    naive = [c for c in sorted(set(sure)) if right[sure >= c].mean() >= 0.72]
    assert rule == naive[0] and share == pytest.approx(right[sure >= rule].mean())
    assert covered == pytest.approx((sure >= rule).mean())
    assert lowest_rule(np.zeros(3, bool), np.ones(3), 0.5) == (1.0, 1.0, 0.0)


def test_distances_and_factors_are_those_of_plain_loops_and_scikit_learn(full: Store):
    from sklearn.neighbors import LocalOutlierFactor

    x = units(VECTORS).astype(np.float64)
    cosines = x @ x.T
    naive = {IDS[i]: float(np.mean(1 - np.sort(np.delete(cosines[i], i))[::-1][:7])) for i in range(90)}
    found = outliers(full, "distance", k=7)
    assert found.ids[0] == "r80" and np.all(np.diff(found.scores) <= 0)
    assert dict(zip(found.ids, found.scores, strict=True)) == pytest.approx(naive, abs=1e-5)
    theirs = -LocalOutlierFactor(n_neighbors=7, algorithm="brute").fit(x).negative_outlier_factor_
    mine = outliers(full, "density", k=7)
    assert dict(zip(mine.ids, mine.scores, strict=True)) == pytest.approx(dict(zip(IDS, theirs, strict=True)), rel=1e-4)


def test_distances_to_the_own_class_are_those_of_its_covariance(full: Store):
    from sklearn.covariance import ledoit_wolf

    x, labels = units(VECTORS).astype(np.float64), np.array([2, *TRUTH[1:]])
    apart = np.stack([x[i] - x[labels == labels[i]].mean(0) for i in range(90)])
    inverse = np.linalg.inv(ledoit_wolf(apart, assume_centered=True)[0])
    naive = {IDS[i]: float(np.sqrt(apart[i] @ inverse @ apart[i])) for i in range(90)}
    found = outliers(full, "class")
    assert dict(zip(found.ids, found.scores, strict=True)) == pytest.approx(naive, rel=1e-4)


def test_a_wrong_label_is_doubted(full: Store):
    found = doubtful_labels(full, k=5)
    at = found.ids.index("r0")
    assert (found.labels[at], found.others[at]) == ("star", "cat") and found.own_share[at] < found.other_share[at]
    assert set(found.ids) <= {"r0", "r80"} | {IDS[row] for row in range(0, 90, 3)}


@pytest.mark.parametrize("way", ["kmeans", "hdbscan"])
def test_groups_are_found_and_named(full: Store, way: str):
    from sklearn.metrics import adjusted_rand_score

    found = cluster(full, way, least=8)  # type: ignore[arg-type]
    inside = found.numbers >= 0
    assert len(found.clusters) == 3 and adjusted_rand_score(TRUTH[inside], found.numbers[inside]) > 0.9
    assert {one.words[0] for one in found.clusters} <= {"cat", "dog", "star", "naps", "barks", "shines"}
    assert [one.size for one in found.clusters] == sorted((one.size for one in found.clusters), reverse=True)
    assert {one.label for one in found.clusters} == set(NAMES)


def test_silhouettes_are_those_of_scikit_learn(full: Store):
    from sklearn.metrics import silhouette_score

    found = cluster(full, count=3)
    assert found.silhouette == pytest.approx(silhouette_score(units(VECTORS), found.numbers, metric="cosine"), abs=1e-5)


def test_keywords_are_those_of_the_formula():
    texts, groups = ["red cat cat", "cat sleeps", "red star", "star star shines"], np.array([0, 0, 1, 1])
    count = {"red": (1, 1), "cat": (3, 0), "sleeps": (1, 0), "star": (0, 3), "shines": (0, 1)}
    naive = [sorted(count, key=lambda w: -count[w][n] / 5 * np.log(1 + 5 / sum(count[w])))[:1] for n in range(2)]
    assert keywords(texts, groups, 1) == naive == [["cat"], ["star"]]
    assert keywords(["the", "of"], np.array([0, 1])) == [[], []]


def test_what_cannot_be_is_said(few: Store, tmp_path: Path):
    none, one = made(tmp_path / "none", [None] * 90), made(tmp_path / "one", ["cat"] * 90)
    empty = Store.create(tmp_path / "empty", 8, columns={"label": "string"})
    sparse = made(tmp_path / "sparse", ["cat", "dog", "star", *[None] * 87])
    for call, error, message in (
        (lambda: spread_labels(none), DataError, "has no labels"),
        (lambda: spread_labels(one), DataError, "all labels of .* are 'cat'"),
        (lambda: spread_labels(few, "kind"), ConfigError, "has no column 'kind'"),
        (lambda: spread_labels(few, promise=1.5), ConfigError, "promise is between 0 and 1"),
        (lambda: spread_labels(sparse), DataError, "too few to see how often found ones are right"),
        (lambda: spread_labels(empty), DataError, "has 0 rows"),
        (lambda: outliers(empty), DataError, "has 0 rows"),
        (lambda: outliers(few, "x"), ConfigError, "distance, density, class"),  # type: ignore[arg-type]
        (lambda: outliers(few, k=0), ConfigError, "1 near row or more"),
        (lambda: doubtful_labels(one), DataError, "at least 2 kinds"),
        (lambda: cluster(empty), DataError, "has 0 rows"),
        (lambda: cluster(few, count=1), ConfigError, "make 2 to 89 clusters, not 1"),
        (lambda: cluster(few, "x"), ConfigError, "kmeans, hdbscan or shift"),  # type: ignore[arg-type]
        (lambda: cluster(few, "hdbscan", least=1), ConfigError, "at least 2 rows"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_the_commands_write_tables_pages_and_columns(few: Store, full: Store, tmp_path: Path, command: Command):
    said = command("label", few.path, "-k", 5, "--out", tmp_path / "l.csv", "--write")
    assert said.code == 0 and said.out.startswith("15 labels known, ")
    rows = list(csv.DictReader((tmp_path / "l.csv").open()))
    written = Store.open(few.path)
    held = dict(zip(written.column("id").to_pylist(), written.column("label_found").to_pylist(), strict=True))
    assert len(rows) == 90 and {row["id"]: row["label_found"] or None for row in rows} == held
    for way in ("distance", "density", "class", "labels"):
        said = command(
            "outliers", full.path, "--by", way, "--report", tmp_path / "o.html", "--out", tmp_path / "o.json"
        )
        assert said.code == 0 and ("r80" in (tmp_path / "o.json").read_text() or way == "labels")
        assert "<img" not in (tmp_path / "o.html").read_text()
    said = command("cluster", full.path, "--clusters", 3, "--report", tmp_path / "c.html", "--write")
    assert said.code == 0 and "3 groups of 90 rows" in said.out
    assert set(Store.open(full.path).column("cluster").to_pylist()) == {0, 1, 2}
    assert command("label", full.path, "--rule", 3).code == 2
