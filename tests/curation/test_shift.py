"""Classes found by their proportions in domains: in closed form, on regions apart, and where it must fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, nnls

from nearfar.curation import cluster
from nearfar.curation.shift import class_proportions, domain_posterior, latent_shift, mixture
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation.clustering import matched
from nearfar.store import Store
from saying import Command

PROPORTIONS = np.array([[0.7, 0.1, 0.2, 0.5, 0.1], [0.2, 0.8, 0.1, 0.4, 0.3], [0.1, 0.1, 0.7, 0.1, 0.6]])


def drawn(proportions: np.ndarray, noise: float = 0.15, per_domain: int = 400) -> tuple[np.ndarray, ...]:
    """Vectors around three corners, the domain and the class of each row."""
    rng = np.random.default_rng(0)
    domains = np.repeat(np.arange(5), per_domain)
    y = np.concatenate([rng.choice(3, per_domain, p=proportions[:, d]) for d in range(5)])
    return np.eye(3)[y] + noise * rng.standard_normal((len(y), 3)), domains, y


def test_classes_and_their_proportions_are_found_again():
    x, domains, y = drawn(PROPORTIONS)
    found = latent_shift(x, domains, 3)
    true = np.stack([np.bincount(y[domains == d], minlength=3) / 400 for d in range(5)], 1)
    far = np.abs(true[:, None] - found.proportions[None]).sum(2)
    order = linear_sum_assignment(far)[1]
    assert np.abs(true - found.proportions[order]).mean() < 0.05
    assert (matched(y, found.numbers) == y).mean() > 0.97
    np.testing.assert_allclose(found.proportions.sum(0), 1)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    # What a vector says of its domain: no more than its class says, which is known here.
    joint = true / 5
    assert 0.8 < found.information / (joint * np.log(true / true.mean(1, keepdims=True))).sum() <= 1.05


def test_equal_proportions_tell_nothing():
    x, domains, _ = drawn(np.repeat(PROPORTIONS[:, :1], 5, 1))
    with pytest.raises(DataError, match="cannot be told apart"):
        latent_shift(x, domains, 3)


def test_factors_of_pure_clusters_are_the_proportions():
    """Where each cluster is of one class, p(cluster|y) is a matrix of blocks, and the factors are unique."""
    inside = np.zeros((6, 3))
    inside[[0, 1], 0], inside[[2, 3], 1], inside[[4, 5], 2] = (0.3, 0.7), (0.5, 0.5), (0.9, 0.1)
    true = np.array([[0.8, 0.0, 0.1, 0.3], [0.2, 0.9, 0.0, 0.3], [0.0, 0.1, 0.9, 0.4]])
    found = class_proportions(inside @ true, 3)
    order = linear_sum_assignment(np.abs(true[:, None] - found[None]).sum(2))[1]
    np.testing.assert_allclose(found[order], true, atol=1e-3)


def test_a_mixture_is_taken_apart_as_by_least_squares():
    rng = np.random.default_rng(0)
    parts = rng.dirichlet(np.ones(5), 3).T
    posterior = rng.dirichlet(np.full(3, 5.0), 20) @ parts.T  # is a mixture, so that both find it
    want = np.stack([nnls(parts, row)[0] for row in posterior])
    np.testing.assert_allclose(mixture(posterior, parts), want, atol=0.02)


def test_the_posterior_of_a_row_is_not_learned_from_it():
    """Noise in many directions, which a fit on the rows themselves would learn by heart."""
    rng = np.random.default_rng(0)
    domains = np.arange(100) % 2
    posterior = domain_posterior(rng.standard_normal((100, 60)), domains)
    np.testing.assert_allclose(posterior.sum(1), 1)
    assert (posterior.argmax(1) == domains).mean() < 0.65


def test_what_cannot_be_found_is_refused():
    x, domains, _ = drawn(PROPORTIONS, per_domain=20)
    with pytest.raises(DataError, match="6 classes need 6 domains"):
        latent_shift(x, domains, 6)
    with pytest.raises(ConfigError, match="3 classes and 2 clusters"):
        latent_shift(x, domains, 3, clusters=2)


def test_groups_of_a_store_by_shift(tmp_path: Path, command: Command):
    x, domains, y = drawn(PROPORTIONS, per_domain=60)
    path = tmp_path / "places.store"
    store = Store.create(path, 3, columns={"label": "string", "place": "string"})
    names = [f"place {one}" for one in domains]
    store.add(
        [f"r{row}" for row in range(len(x))], x.astype(np.float32), {"label": [str(n) for n in y], "place": names}
    )
    asked = "--by", "shift", "--domain-column", "place", "--clusters", "3"
    said = command("cluster", path, *asked, "--out", tmp_path / "t.csv")
    assert said.code == 0, said.err
    rows = (tmp_path / "t.csv").read_text().splitlines()[1:]
    numbers = np.array([int(row.split(",")[1]) for row in rows])
    of_row = np.array([int(row.split(",")[0].removeprefix("r")) for row in rows])
    assert (matched(y[of_row], numbers) == y[of_row]).mean() > 0.85
    assert said.out.count("in place ") == 5
    for wrong in (["--by", "shift", "--clusters", "3"], ["--domain-column", "place"]):
        assert "shift, and no other way, needs a column of domains" in command("cluster", path, *wrong).err
    gone = Store.create(tmp_path / "gone.store", 3, columns={"place": "string"})
    gone.add([f"r{row}" for row in range(60)], x[::5].astype(np.float32), {"place": [None, *names[::5][1:]]})
    with pytest.raises(DataError, match="1 rows have no place"):
        cluster(gone, "shift", 3, domain="place")
