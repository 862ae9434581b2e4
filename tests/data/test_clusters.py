from __future__ import annotations

import numpy as np
import pytest

from nearfar.data import ClusterSampler
from nearfar.errors import ConfigError, DataError

CLUSTERS = np.random.default_rng(0).permutation(np.repeat(np.arange(6), [20, 16, 9, 7, 4, 1]))  # 57 rows


def test_every_row_comes_once_and_pieces_are_of_one_cluster():
    sampler = ClusterSampler(CLUSTERS, batch_size=8, seed=1, clusters_per_batch=2)
    assert sampler.steps_per_epoch == 7
    rows = np.concatenate([sampler.batch(step) for step in range(7)])
    assert len(set(rows.tolist())) == 56
    pieces = CLUSTERS[rows.reshape(-1, 4)]
    pure = (pieces == pieces[:, :1]).all(axis=1)
    assert pure.sum() >= 5 + 4 + 2 + 1 + 1 - 1  # of all whole pieces at most one is left out


def test_whole_pieces_alone():
    sampler = ClusterSampler(CLUSTERS, batch_size=4, seed=0, whole=True)
    assert sampler.steps_per_epoch == 5 + 4 + 2 + 1 + 1
    batches = CLUSTERS[np.stack([sampler.batch(step) for step in range(13)])]
    assert (batches == batches[:, :1]).all()


def test_a_batch_is_a_function_of_the_step():
    one, other = (ClusterSampler(CLUSTERS, batch_size=8, seed=4) for _ in range(2))
    later = other.batch(20)
    assert [one.batch(step).tolist() for step in range(21)][20] == later.tolist()
    assert one.batch(0).tolist() != one.batch(one.steps_per_epoch).tolist()
    assert one.state() == other.state() != ClusterSampler(CLUSTERS, batch_size=8, seed=5).state()


def test_one_cluster_is_a_random_order():
    sampler = ClusterSampler(np.zeros(12), batch_size=4, seed=0)
    assert sorted(np.concatenate([sampler.batch(step) for step in range(3)]).tolist()) == list(range(12))


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="no multiple"):
        ClusterSampler(CLUSTERS, batch_size=7, seed=0, clusters_per_batch=2)
    with pytest.raises(DataError, match="make no batch of 64"):
        ClusterSampler(CLUSTERS, batch_size=64, seed=0)
