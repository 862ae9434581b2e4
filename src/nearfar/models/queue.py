"""A queue of vectors that remember which item they are of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.errors import ConfigError

EMPTY = -1


class Queue(nn.Module):
    """The newest `size` vectors and the ids of their items; the oldest make room. All of it is in the state.

    Slots that were never filled take no part: the queue begins empty, where the official code of MoCo, NNCLR and SwAV
    begins with random vectors.

    Args:
        size: vectors it holds, at least one. width: their length.

    >>> queue = Queue(3, 2)
    >>> queue.push(torch.ones(2, 2), torch.tensor([7, 8]))
    >>> len(queue), queue.rows()[1].tolist()
    (2, [7, 8])
    """

    vectors: Tensor
    ids: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"a queue holds at least one vector, got a size of {size}")
        self.register_buffer("vectors", torch.zeros(size, width))
        self.register_buffer("ids", torch.full((size,), EMPTY))
        self.register_buffer("pointer", torch.tensor(0))
        self.register_buffer("filled", torch.tensor(0))

    @property
    def size(self) -> int:
        """Vectors it holds when full."""
        return len(self.vectors)

    def __len__(self) -> int:
        return int(self.filled)

    def rows(self) -> tuple[Tensor, Tensor]:
        """Vectors (M, width) and ids (M,) of the filled slots, in no particular order."""
        return self.vectors[: len(self)], self.ids[: len(self)]

    @torch.no_grad()
    def push(self, vectors: Tensor, ids: Tensor) -> None:
        """Add vectors (B, width) of items (B,); of more than `size`, the last ones."""
        vectors, ids = vectors[-self.size :], ids[-self.size :]
        start, count = int(self.pointer), len(vectors)
        slots = torch.arange(start, start + count, device=self.ids.device) % self.size
        self.vectors[slots] = vectors.to(self.vectors.dtype)
        self.ids[slots] = ids
        self.pointer.fill_((start + count) % self.size)
        self.filled.fill_(min(len(self) + count, self.size))

    @torch.no_grad()
    def nearest(self, queries: Tensor) -> Tensor:
        """For each query (B, width) the vector of largest cosine, (B, width); the queries while nothing is held."""
        if len(self) == 0:
            return queries.detach()
        held = self.rows()[0].to(queries.dtype)
        return held[(queries @ normalize(held, dim=1).T).argmax(1)]
