"""A queue in clusters: even shares by linear assignment, prototypes and neighbours by plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nearfar.errors import ConfigError
from nearfar.models import ClusteredQueue


def groups(rows: int, count: int = 4, seed: int = 0, spread: float = 0.2) -> tuple[Tensor, Tensor]:
    """Unit rows about some directions, and which."""
    generator = torch.Generator().manual_seed(seed)
    of = torch.arange(rows) % count
    rows_ = torch.eye(6)[of] + spread * torch.randn(rows, 6, generator=generator)
    return torch.nn.functional.normalize(rows_, dim=1).double(), of


def filled(**options: float) -> ClusteredQueue:
    """24 rows of four groups, in four clusters."""
    queue = ClusteredQueue(24, 6, clusters=4, **options).double()
    queue.push(groups(24)[0], torch.arange(24))
    return queue


def test_it_is_a_plain_queue_until_it_is_full():
    queue = ClusteredQueue(24, 6, clusters=4).double()
    rows, of = groups(24)
    queue.push(rows[:20], torch.arange(20))
    queue.cluster()
    assert not queue.begun and len(queue) == 20
    queue.push(3 * rows[20:], torch.arange(20, 24))
    assert queue.begun and torch.equal(queue.ids, torch.arange(24))
    torch.testing.assert_close(queue.vectors, rows)
    assert all(len(set(queue.clusters[of == group].tolist())) == 1 for group in range(4))
    assert queue.clusters.bincount().tolist() == [6] * 4


def test_a_batch_is_dealt_in_even_shares_with_the_largest_cosines():
    queue = filled(epsilon=0.005, iterations=500)
    prototypes = queue.prototypes.numpy().copy()
    rows = torch.cat([groups(24, seed=1)[0][::4], groups(12, seed=2)[0][:6]]).numpy()  # most are of one group
    cosine = rows @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    row, place = linear_sum_assignment(-cosine.repeat(3, axis=1))  # three places in each cluster
    queue.push(torch.from_numpy(rows), torch.arange(12))
    assert queue.clusters[:12].tolist() == (place[row.argsort()] // 3).tolist()
    assert (cosine.argmax(1) == 0).sum() > 6


def test_prototypes_move_towards_the_means_of_all_that_is_held_and_stay_where_nothing_is():
    queue = filled(momentum=0.75)
    queue.clusters[queue.clusters == 2] = 1
    before, rows = queue.prototypes.tolist(), groups(5, seed=3)[0]
    queue.clusters[5:] = queue.clusters[5:].clamp_max(1)
    queue.epsilon = 1e-3
    queue.push(rows[:1], torch.tensor([30]))
    held, clusters = queue.vectors.tolist(), queue.clusters.tolist()
    want = []
    for cluster, prototype in enumerate(before):
        own = [row for row, where in zip(held, clusters, strict=True) if where == cluster]
        mean = [sum(column) / len(own) for column in zip(*own, strict=True)] if own else prototype
        want.append([0.75 * a + 0.25 * b for a, b in zip(prototype, mean, strict=True)])
    torch.testing.assert_close(queue.prototypes, torch.tensor(want, dtype=torch.float64))
    assert len(set(clusters)) < 4 and queue.ids[0] == 30


@pytest.mark.parametrize("count", [3, 7])
def test_what_is_alike_is_sought_in_the_nearest_cluster_or_in_all_where_that_is_too_small(count: int):
    queue, queries = filled(), 5 * groups(8, seed=4, spread=0.4)[0]
    vectors, prototypes = queue.vectors.numpy(), queue.prototypes.numpy()
    prototypes = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    for query, found in zip(queries.numpy(), queue.alike(queries, count).tolist(), strict=True):
        nearest = int(np.argmax(prototypes @ query))
        own = [slot for slot in range(24) if count > 6 or int(queue.clusters[slot]) == nearest]  # each has six
        assert found == sorted(own, key=lambda slot: -float(vectors[slot] @ query))[:count]


def test_clusters_found_afresh_do_not_depend_on_those_before():
    queue, other = filled(), filled()
    other.prototypes.copy_(torch.randn(4, 6))
    other.clusters.zero_()
    queue.cluster()
    other.cluster()
    assert torch.equal(queue.clusters, other.clusters) and torch.equal(queue.prototypes, other.prototypes)


@pytest.mark.parametrize("clusters", [1, 5])
def test_impossible_numbers_of_clusters_are_refused(clusters: int):
    with pytest.raises(ConfigError, match=f"a queue of 4 vectors has 2 to 4 clusters, not {clusters}"):
        ClusteredQueue(4, 2, clusters)
