from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle
from sklearn.cluster import KMeans

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import clustering, evaluate_vectors
from nearfar.evaluation.clustering import majority, matched


def clusters(n: int = 120, noise: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).standard_normal((4, 6))
    y = np.arange(n) % 4
    return centres[y] + noise * np.random.default_rng(0).standard_normal((n, 6)), y


X, Y = clusters()


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def best_by_trying_all(y: np.ndarray, found: np.ndarray) -> float:
    """The share of right rows under the best way to give every cluster at most one class, each class used once."""
    from itertools import permutations

    k, c = int(found.max()) + 1, int(y.max()) + 1
    names = [*range(c), *([-1] * max(0, k - c))]
    return max(float((np.array(given)[found] == y).mean()) for given in set(permutations(names, k)))


@pytest.mark.parametrize("k", [3, 4, 5])
def test_figures_equal_scikit_learn_and_trying_every_matching(k: int) -> None:
    found = clustering(X, Y, clusters=k, seeds=3, resamples=50, seed=7)
    rows = unit(X)
    runs = [KMeans(k, n_init=1, random_state=7 + seed).fit_predict(rows) for seed in range(3)]
    expected = {
        "nmi": oracle.normalized_mutual_info_score,
        "ami": oracle.adjusted_mutual_info_score,
        "ari": oracle.adjusted_rand_score,
        "accuracy": best_by_trying_all,
        "purity": lambda y, run: sum(np.bincount(y[run == c]).max() for c in range(k)) / len(y),
    }
    for key, score in expected.items():
        values = [score(Y, run) for run in runs]
        assert found.metrics[key].value == pytest.approx(np.mean(values), abs=1e-12), key
        assert found.metrics[key].low <= found.metrics[key].value <= found.metrics[key].high
    silhouettes = [oracle.silhouette_score(rows, run) for run in runs]
    assert found.metrics["silhouette"].value == pytest.approx(np.mean(silhouettes), rel=1e-5)
    # What no row is resampled for can reach no further than the runs themselves.
    assert min(silhouettes) - 1e-6 <= found.metrics["silhouette"].low
    assert found.metrics["accuracy"].settings == {"clusters": k, "classes": 4, "seeds": 3}


def test_names_of_clusters_and_classes_do_not_matter() -> None:
    y = np.array([0, 0, 1, 1, 2, 2, 2])
    run = np.array([9, 9, 4, 4, 4, 7, 7])
    assert matched(y, run).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert majority(y, run).tolist() == [0, 0, 1, 1, 1, 2, 2]
    found = clustering(X, 10 + 3 * Y, seeds=2, resamples=20)
    assert found.metrics == clustering(X, Y, seeds=2, resamples=20).metrics
    assert clustering(X * 50, Y, seeds=2, resamples=20).metrics["nmi"].value == found.metrics["nmi"].value


def test_more_clusters_than_classes_leave_rows_without_a_class() -> None:
    y = np.zeros(6, dtype=int)
    y[3:] = 1
    run = np.array([0, 0, 1, 2, 2, 2])
    assert (matched(y, run) == y).tolist() == [True, True, False, True, True, True]
    assert (majority(y, run) == y).all()


def test_one_seed_has_no_interval_over_seeds() -> None:
    found = clustering(X, Y, seeds=1, resamples=20)
    assert not found.metrics["ari"].has_interval
    assert found.metrics["accuracy"].has_interval


def test_the_same_seed_gives_the_same_groups_and_leaves_the_generators_alone() -> None:
    before = np.random.get_state()[1].copy()
    one, two = clustering(X, Y, seeds=2, resamples=20), clustering(X, Y, seeds=2, resamples=20)
    assert (one.assignments == two.assignments).all() and one.metrics == two.metrics
    assert (np.random.get_state()[1] == before).all()


def test_rows_that_are_all_the_same_are_one_group() -> None:
    found = clustering(np.ones((8, 3)), np.arange(8) % 2, seeds=2, resamples=20)
    assert found.metrics["accuracy"].value == 0.5
    assert found.metrics["nmi"].value == pytest.approx(0)
    assert np.isnan(found.metrics["silhouette"].value)
    assert found.metrics["silhouette"].to_json()["value"] is None


def test_clustering_among_the_probes() -> None:
    found = evaluate_vectors(X, Y, X, Y, probes=["clustering"], clusters=4, cluster_seeds=2)
    alone = clustering(X, Y, clusters=4, seeds=2)
    assert found.metrics["clustering_nmi"] == alone.metrics["nmi"]
    assert found.scores["clustering_accuracy"].shape == (2, 120)
    assert np.mean(found.scores["clustering_accuracy"]) == alone.metrics["accuracy"].value


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(DataError, match="all labels are 3"):
        clustering(X, np.full(len(X), 3))
    with pytest.raises(DataError, match=r"9 clusters asked of 8 rows; choose clusters=8 or less"):
        clustering(X[:8], Y[:8], clusters=9)
    with pytest.raises(ConfigError, match="at least 2"):
        clustering(X, Y, clusters=1)
    with pytest.raises(DataError, match="NaN"):
        clustering(np.full((4, 2), np.nan), [0, 1, 0, 1])
