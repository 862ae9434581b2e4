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
        count, slots = len(vectors), self._slots(len(vectors))
        self.vectors[slots] = vectors.to(self.vectors.dtype)
        self.ids[slots] = ids
        self.pointer.fill_((int(self.pointer) + count) % self.size)
        self.filled.fill_(min(len(self) + count, self.size))

    def _slots(self, count: int) -> Tensor:
        """Where the next vectors go, at most `size` of them."""
        return torch.arange(count, device=self.ids.device).add(self.pointer) % self.size

    @torch.no_grad()
    def nearest(self, queries: Tensor) -> Tensor:
        """For each query (B, width) the vector of largest cosine, (B, width); the queries while nothing is held."""
        if len(self) == 0:
            return queries.detach()
        held = self.rows()[0].to(queries.dtype)
        return held[(queries @ normalize(held, dim=1).T).argmax(1)]


class LabelledQueue(Queue):
    """A queue of labelled vectors that keeps the newest `size` of all and, however rare a class is, some of it.

    Beside the newest rows of each class, `least` of them, the newest of all are held; frequent classes fill the rest in
    proportion. Rows are kept in order of age; `ids` are labels, and rows whose label is -1 are not held.

    Args:
        size: vectors it holds, at least `least` for each class that there is. width: their length.
        least: how many of a class stay, if there were so many.

    Source: Suh & Seo 2023; bluecdm/Long-tailed-recognition moco/builder.py, which gives each class slots of its own,
    `least` and a share by its size.

    >>> queue = LabelledQueue(4, 1, least=1)
    >>> queue.push(torch.arange(6.0)[:, None], torch.tensor([7, 0, 0, 0, 0, 0]))
    >>> queue.rows()[0][:, 0].tolist(), queue.rows()[1].tolist()
    ([0.0, 3.0, 4.0, 5.0], [7, 0, 0, 0])
    """

    def __init__(self, size: int, width: int, least: int = 5) -> None:
        super().__init__(size, width)
        self.least = least

    @torch.no_grad()
    def push(self, vectors: Tensor, ids: Tensor) -> None:
        """Add vectors (B, width) of these labels (B,)."""
        held, held_ids = self.rows()
        ages, labels = torch.cat([held, vectors.to(held.dtype)]), torch.cat([held_ids, ids])
        ages, labels = ages[labels >= 0], labels[labels >= 0]
        kept = self._kept(labels.flip(0)).flip(0)
        count = int(kept.sum())
        self.vectors[:count], self.ids[:count] = ages[kept], labels[kept]
        self.pointer.fill_(count % self.size)
        self.filled.fill_(count)

    def _kept(self, labels: Tensor) -> Tensor:
        """Which rows stay, of these labels (M,) from the newest to the oldest."""
        order = labels.argsort(stable=True)
        by_class = labels[order]
        place = torch.arange(len(labels), device=labels.device)
        begins = torch.ones_like(by_class, dtype=torch.bool)
        begins[1:] = by_class[1:] != by_class[:-1]
        rank = torch.empty_like(place)  # 0 for the newest of its class
        rank[order] = place - torch.where(begins, place, 0).cummax(0).values
        first = torch.where(rank < self.least, 0, 1) * len(labels) + place
        kept = torch.zeros_like(labels, dtype=torch.bool)
        kept[first.argsort()[: self.size]] = True
        return kept
