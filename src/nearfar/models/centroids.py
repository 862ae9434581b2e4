"""Centres of the rows seen so far, found while training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.errors import ConfigError


class Centroids(nn.Module):
    """K centres (K, D) that follow their rows, once the rows have come apart. All of it is in the state.

    They begin with the first batch whose mean cosine between different rows is at most `start`: with its first row,
    and then, one after the other, with the row least like the last one taken. In every later batch each centre moves
    to `rate` times the sum of the rows nearest to it plus 1 - `rate` times itself; one without rows stays.
    Source: Deng et al. 2023, Clustering-Aware Negative Sampling, section 3.2; djz233/ClusterNS.

    Args:
        count: K, at least 2. width: D. start: from -1 to 1. rate: from 0 to 1.

    >>> centroids = Centroids(2, 2, start=0.4, rate=0.1)
    >>> centroids.learn(torch.eye(2))
    >>> centroids.nearest(torch.tensor([[2.0, 1.0]]))
    (tensor([0]), tensor([1]))
    """

    centres: Tensor
    begun: Tensor

    def __init__(self, count: int, width: int, start: float, rate: float) -> None:
        super().__init__()
        if count < 2:
            raise ConfigError(f"a row needs a second nearest centre, so at least 2 of them, got {count}")
        self.start, self.rate = start, rate
        self.register_buffer("centres", torch.zeros(count, width))
        self.register_buffer("begun", torch.tensor(False))

    def nearest(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of the nearest and the second nearest centre of each row, by cosine."""
        scores = normalize(rows.detach(), dim=1) @ normalize(self.centres, dim=1).T
        first, second = scores.topk(2, dim=1).indices.T
        return first, second

    @torch.no_grad()
    def learn(self, rows: Tensor) -> None:
        """Begin with, or follow, a batch of rows (N, D).

        Raises:
            ConfigError: it has not begun, and there are fewer rows than centres.
        """
        rows = rows.to(self.centres.dtype)
        if bool(self.begun):
            own = nn.functional.one_hot(self.nearest(rows)[0], len(self.centres)).to(rows.dtype)
            moved = self.rate * (own.T @ rows) + (1 - self.rate) * self.centres
            self.centres.copy_(torch.where(own.any(0)[:, None], moved, self.centres))
            return
        unit = normalize(rows, dim=1)
        count, scores = len(unit), unit @ unit.T
        if count < len(self.centres):
            raise ConfigError(
                f"{len(self.centres)} centres begin with rows of one batch, which has {count}; set centroids to "
                "that or less"
            )
        if float((scores.sum() - scores.trace()) / (count * (count - 1))) > self.start:
            return
        taken, free = [0], torch.ones(count, dtype=torch.bool, device=unit.device)
        for _ in range(len(self.centres) - 1):
            free[taken[-1]] = False
            taken.append(int(scores[taken[-1]].masked_fill(~free, torch.inf).argmin()))
        self.centres.copy_(rows[taken])
        self.begun.fill_(True)
