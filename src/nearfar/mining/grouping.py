"""Groups of items that are hard for each other, as batches of them: clusters of vectors, communities of ranks."""

from __future__ import annotations

import heapq

import numpy as np

from nearfar.errors import ConfigError, DataError

from .exact import Exact
from .found import NOBODY
from .vectors import Similarity, as_table, blocks, fast_rows


def clusters(vectors: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(N,) int64 cluster of each row by k-means of unit vectors (on parts of the rows, so memory is bounded).

    Raises:
        ConfigError: more clusters than rows. Source: Hofstaetter et al. 2021 (TAS-B); Merrick 2024 (embed and cluster).

    >>> found = clusters(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), count=2)
    >>> bool(found[0] == found[1] != found[2])
    True
    """
    import torch
    from sklearn.cluster import MiniBatchKMeans

    table = as_table(vectors)
    if not 1 <= count <= len(table):
        raise ConfigError(f"{count} clusters of {len(table)} rows; choose 1 to {len(table)}")
    size = max(4096, count)
    model = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=size)
    order = np.random.default_rng(seed).permutation(len(table))
    model.fit(fast_rows(table, np.sort(order[: 50 * size]), "cosine", torch.float32).numpy())
    parts = [
        model.predict(fast_rows(table, rows, "cosine", torch.float32).numpy()) for rows in blocks(len(table), size)
    ]
    return np.concatenate(parts).astype(np.int64)


def mutual_ranks(
    queries: np.ndarray, documents: np.ndarray, skip: int = 30, keep: int = 100, similarity: Similarity = "cosine"
) -> np.ndarray:
    """(E, 2) pairs of items i < j that are hard for each other: the ranks of both lie above `skip`.

    Each ranks the document of the other from skip + 1 to skip + keep, among all but its own; the first `skip` are left
    out as likely false negatives. queries, documents: (N, D) of the same items, by the vectors of a teacher. Source:
    Thirukovalluru et al. 2025 (B3).

    Raises:
        DataError: other numbers of queries and documents, or fewer than skip + keep + 1 of them.
    """
    if len(queries) != len(documents):
        raise DataError(
            f"{len(queries)} queries and {len(documents)} documents are not the two sides of the same items"
        )
    miner, edges = Exact(queries, documents, similarity), []
    for part in blocks(len(queries), 4096):
        rows = np.arange(part.start, part.stop)
        index = miner.find(rows, skip + keep + 1).index
        own = index == rows[:, None]
        rank = (~own).cumsum(axis=1)
        chosen = ~own & (rank > skip) & (rank <= skip + keep)
        lines, columns = np.nonzero(chosen)
        edges.append(rows[lines] * len(queries) + index[lines, columns])
    there = np.concatenate(edges)
    one, other = np.divmod(there, len(queries))
    mutual = (one < other) & np.isin(there, other * len(queries) + one)
    return np.stack([one[mutual], other[mutual]], axis=1)


def communities(edges: np.ndarray, count: int, size: int) -> np.ndarray:
    """(count,) int64 community of each item: of `size` items with many edges inside.

    The last may be smaller. Each grows from the item with the fewest free neighbours by the free item that has the most
    edges into it (then the fewest to others, then the lowest number); where none has any, a new start is put into the
    same community. Published work cuts the graph by METIS; this greedy form needs no other package.

    Raises:
        ConfigError: a size below 1.

    >>> communities(np.array([[0, 2], [1, 3]]), count=4, size=2).tolist()
    [0, 1, 0, 1]
    """
    if size < 1:
        raise ConfigError(f"a community has 1 item or more, not {size}")
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for one, other in np.asarray(edges).tolist():
        neighbours[one].append(other)
        neighbours[other].append(one)
    free = [len(known) for known in neighbours]
    group = np.full(count, NOBODY, dtype=np.int64)
    starts = [(degree, item) for item, degree in enumerate(free)]
    heapq.heapify(starts)
    for taken in range(count):
        if taken % size == 0:
            inside: dict[int, int] = {}
            edge: list[tuple[int, int, int]] = []
        item = _next(edge, inside, free, group)
        if item is None:
            item = _start(starts, free, group)
        group[item] = taken // size
        for other in neighbours[item]:
            free[other] -= 1
            if group[other] == NOBODY:
                heapq.heappush(starts, (free[other], other))
                inside[other] = inside.get(other, 0) + 1
                heapq.heappush(edge, (-inside[other], free[other], other))
    return group


def _next(edge: list[tuple[int, int, int]], inside: dict[int, int], free: list[int], group: np.ndarray) -> int | None:
    """The free item with the most edges into the community; entries that have changed since are passed over."""
    while edge:
        count, others, item = heapq.heappop(edge)
        if group[item] == NOBODY and -count == inside[item]:
            if others == free[item]:
                return item
            heapq.heappush(edge, (count, free[item], item))
    return None


def _start(starts: list[tuple[int, int]], free: list[int], group: np.ndarray) -> int:
    while True:
        degree, item = heapq.heappop(starts)
        if group[item] == NOBODY and degree == free[item]:
            return item
