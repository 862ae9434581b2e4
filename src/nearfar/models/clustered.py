"""A queue whose vectors lie in clusters that share what comes evenly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.errors import ConfigError
from nearfar.models.queue import EMPTY, Queue
from nearfar.objectives.prototypes import sinkhorn

ROUNDS = 10  # in which clusters are found


class ClusteredQueue(Queue):
    """The newest `size` unit vectors, each in one of K clusters with a prototype. All of it is in the state.

    Until it is full it is a plain queue. Then it is put into clusters: vectors spread over it are the first prototypes,
    and in some rounds all vectors are dealt to them and each prototype becomes the mean of its own. What comes later is
    dealt in the same way, by balanced assignment (`sinkhorn`), so that each cluster gets an even share of a batch, and
    prototypes move towards the means of all that is held then; one without vectors stays.

    Args:
        size: vectors it holds, at least one for each cluster. width: their length. clusters: K, at least 2.
        momentum: how much of a prototype is kept at each push. epsilon, iterations: of the assignment.

    Source: Poulakakis-Daktylidis & Jamali-Rad 2024, BECLR (dynamic clustered memory, DyCE); stypoumic/BECLR dyce.py,
    which begins with k-means, keeps vectors at their length, and by default assigns by +distance, to far prototypes.

    >>> queue = ClusteredQueue(4, 2, clusters=2)
    >>> queue.push(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]]), torch.arange(4))
    >>> queue.clusters.tolist(), queue.alike(torch.tensor([[2.0, 0.1]]), 2).tolist()
    ([0, 0, 1, 1], [[0, 1]])
    """

    clusters: Tensor
    prototypes: Tensor

    def __init__(
        self,
        size: int,
        width: int,
        clusters: int,
        momentum: float = 0.9,
        epsilon: float = 0.05,
        iterations: int = 10,
    ) -> None:
        super().__init__(size, width)
        if not 2 <= clusters <= size:
            raise ConfigError(f"a queue of {size} vectors has 2 to {size} clusters, not {clusters}")
        self.momentum, self.epsilon, self.iterations = momentum, epsilon, iterations
        self.register_buffer("clusters", torch.full((size,), EMPTY))
        self.register_buffer("prototypes", torch.zeros(clusters, width))

    @property
    def begun(self) -> bool:
        """Whether there are clusters: from when it was full."""
        return int(self.clusters[0]) != EMPTY

    @torch.no_grad()
    def push(self, vectors: Tensor, ids: Tensor) -> None:
        """Add vectors (B, width) of items (B,), at unit length, and deal them to the clusters once there are any."""
        rows = normalize(vectors[-self.size :].to(self.vectors.dtype), dim=1)
        slots = self._slots(len(rows))
        super().push(rows, ids)
        if self.begun:
            self.clusters[slots] = self._dealt(rows)
            self._follow(self.momentum)
        elif len(self) == self.size:
            self.cluster()

    @torch.no_grad()
    def cluster(self) -> None:
        """Find clusters of all that is held, whatever they were; nothing happens before it is full."""
        if len(self) < self.size:
            return
        spread = torch.arange(len(self.prototypes), device=self.ids.device) * self.size // len(self.prototypes)
        self.prototypes.copy_(self.vectors[spread])
        for _ in range(ROUNDS):
            self.clusters.copy_(self._dealt(self.vectors))
            self._follow(0.0)

    @torch.no_grad()
    def alike(self, queries: Tensor, count: int) -> Tensor:
        """Which slots hold the vectors of largest cosine with each query (B, width), (B, count), the largest first.

        They are of the cluster whose prototype is nearest to the query; of all where that one has fewer.
        """
        rows = normalize(queries.to(self.vectors.dtype), dim=1)
        own = (rows @ normalize(self.prototypes, dim=1).T).argmax(1)
        few = self.clusters.bincount(minlength=len(self.prototypes))[own] < count
        elsewhere = (self.clusters != own[:, None]) & ~few[:, None]
        return (rows @ self.vectors.T).masked_fill(elsewhere, -torch.inf).topk(count, 1).indices

    def _dealt(self, rows: Tensor) -> Tensor:
        """(B,) a cluster for each unit row (B, width), each cluster with an even share."""
        scores = rows @ normalize(self.prototypes, dim=1).T
        return sinkhorn(scores, self.epsilon, self.iterations).argmax(1)

    def _follow(self, momentum: float) -> None:
        """Prototypes move towards the means of their vectors."""
        sums = torch.zeros_like(self.prototypes).index_add_(0, self.clusters, self.vectors)
        counts = self.clusters.bincount(minlength=len(sums))[:, None]
        moved = momentum * self.prototypes + (1 - momentum) * sums / counts.clamp_min(1)
        self.prototypes.copy_(torch.where(counts > 0, moved, self.prototypes))
