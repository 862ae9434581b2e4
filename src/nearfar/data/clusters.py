"""Batches from clusters: what stands together in a batch is alike, so that its negatives are hard."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from nearfar.data.sampling import PlannedSampler, _check_settings
from nearfar.errors import ConfigError, DataError


class ClusterSampler(PlannedSampler):
    """Each batch is put together of pieces, and each piece is of one cluster; every row once per epoch.

    In each epoch the rows of a cluster are shuffled and cut into pieces of batch_size / clusters_per_batch rows, the
    pieces of all clusters are shuffled, and each batch takes the next ones. Rows that fill no piece of their own
    cluster are put together into pieces of several, cluster by cluster; `whole=True` leaves them out.

    With clusters of texts by meaning and one cluster per batch this is topic-aware sampling (TAS-B) and
    embed-and-cluster; with communities of the size of a piece it is B3. Give as cluster a number for each (source,
    cluster) to keep sources apart as well.

    Attributes:
        batch_size: rows in a batch. steps_per_epoch: full batches in an epoch; the last rows of an epoch that fill no
            batch are left out, others in each epoch.

    Raises:
        ConfigError: numbers below 1, a negative seed, or a batch size that is no multiple of the clusters per batch.
        DataError: too few rows for one batch.

    Source: Hofstaetter et al. 2021 (TAS-B); Merrick 2024 (embed and cluster); Thirukovalluru et al. 2025 (B3).

    Example:
        >>> sampler = ClusterSampler(np.array([0, 1, 0, 1, 1, 0, 1, 0]), batch_size=4, seed=0)
        >>> sorted(sampler.batch(0).tolist()) in ([0, 2, 5, 7], [1, 3, 4, 6])
        True
    """

    def __init__(
        self, clusters: np.ndarray, batch_size: int, seed: int, clusters_per_batch: int = 1, whole: bool = False
    ) -> None:
        _check_settings(seed, batch_size=batch_size, clusters_per_batch=clusters_per_batch)
        if batch_size % clusters_per_batch:
            raise ConfigError(f"batch_size={batch_size} is no multiple of clusters_per_batch={clusters_per_batch}")
        clusters = np.asarray(clusters)
        self._members = [np.flatnonzero(clusters == name) for name in np.unique(clusters)]
        self._sha256 = hashlib.sha256(clusters.astype(np.int64).tobytes()).hexdigest()
        self.n, self.batch_size, self.seed = len(clusters), batch_size, seed
        self.clusters_per_batch, self.whole = clusters_per_batch, whole
        self._piece = batch_size // clusters_per_batch
        full = sum(len(rows) // self._piece for rows in self._members)
        left = 0 if whole else sum(len(rows) % self._piece for rows in self._members) // self._piece
        self.steps_per_epoch = (full + left) // clusters_per_batch
        if self.steps_per_epoch < 1:
            raise DataError(f"{self.n} rows in {len(self._members)} clusters make no batch of {batch_size}; lower it")

    def state(self) -> dict[str, Any]:
        """Settings that must be equal for a resumed run to continue with the same rows; the rest is the step number."""
        return {
            "sampler": "cluster",
            "n": self.n,
            "clusters": len(self._members),
            "sha256": self._sha256,
            "batch_size": self.batch_size,
            "clusters_per_batch": self.clusters_per_batch,
            "seed": self.seed,
            "whole": self.whole,
        }

    def _plan(self, epoch: int) -> np.ndarray:
        rng, size = np.random.default_rng([self.seed, epoch]), self._piece
        shuffled = [rng.permutation(rows) for rows in self._members]
        pieces = [rows[: len(rows) // size * size].reshape(-1, size) for rows in shuffled]
        if not self.whole:
            rests = [shuffled[place][len(shuffled[place]) // size * size :] for place in rng.permutation(len(shuffled))]
            rest = np.concatenate(rests)
            pieces.append(rest[: len(rest) // size * size].reshape(-1, size))
        order = rng.permutation(np.concatenate(pieces))
        used = self.steps_per_epoch * self.clusters_per_batch
        return order[:used].reshape(self.steps_per_epoch, self.batch_size).astype(np.int64)
