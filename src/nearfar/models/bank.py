"""A vector for every item of the data, and links between items that lie near each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.errors import ConfigError


class LinkedBank(nn.Module):
    """One unit vector for each item, which follows its rows slowly, and the k items nearest to it when last seen.

    The links make a graph; a walk over it finds what is alike over several steps though it is far at once. Vectors
    begin at random and links at the item itself; an item's link is as old as its last visit. All of it is in the state.

    Args:
        items: how many there are; ids run from 0 to items - 1. width: length of a vector.
        links: k, how many items each is linked to. momentum: how much of a vector is kept when a row of it is seen.

    >>> bank = LinkedBank(3, 2, links=1, momentum=0.0)
    >>> rows, ids = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), torch.arange(3)
    >>> bank.follow(rows, ids)
    >>> bank.link(rows, ids)
    >>> bank.walk(torch.tensor([2]), steps=2).tolist()                  # to its nearest, and on to the nearest of that
    [[1, 0]]
    """

    vectors: Tensor
    links: Tensor

    def __init__(self, items: int, width: int, links: int = 4, momentum: float = 0.5) -> None:
        super().__init__()
        if not 0 < links < items:
            raise ConfigError(f"each of {items} items is linked to 1 to {items - 1} others, not to {links}")
        self.momentum = momentum
        self.register_buffer("vectors", normalize(torch.randn(items, width), dim=1))
        self.register_buffer("links", torch.arange(items)[:, None].repeat(1, links))

    @torch.no_grad()
    def follow(self, rows: Tensor, ids: Tensor) -> None:
        """The vectors of these items (B,) move towards their rows (B, width); of an item seen twice one row counts."""
        seen = normalize(rows.to(self.vectors.dtype), dim=1)
        moved = self.momentum * self.vectors[ids] + (1 - self.momentum) * seen
        self.vectors[ids] = normalize(moved, dim=1)

    @torch.no_grad()
    def link(self, rows: Tensor, ids: Tensor) -> None:
        """These items are linked anew to the k others whose vectors are nearest to their rows."""
        cosine = normalize(rows.to(self.vectors.dtype), dim=1) @ self.vectors.T
        cosine[torch.arange(len(ids), device=ids.device), ids] = -torch.inf
        self.links[ids] = cosine.topk(self.links.shape[1], 1).indices

    def walk(self, ids: Tensor, steps: int = 3) -> Tensor:
        """Whom links lead to from these items (B,) within so many steps, (B, k + k^2 + ...), met as often as reached.

        An item may be led back to itself.
        """
        reached, newest = [], ids[:, None]
        for _ in range(steps):
            newest = self.links[newest].flatten(1)
            reached.append(newest)
        return torch.cat(reached, 1)

    def purity(self, labels: Tensor, steps: int = 3) -> list[float]:
        """For walks of 1 to `steps` steps: of the items that the last step reaches, the share of the item's own label.

        Items met as often as reached, the item itself left out; labels (items,) of which -1 is unknown and does not
        count. Chance gives the sum of the squared shares of the labels; NaN where nothing is linked.

        >>> bank = LinkedBank(4, 2, links=1, momentum=0.0)
        >>> bank.link(bank.vectors, torch.arange(4))
        >>> bank.links.copy_(torch.tensor([[1], [2], [3], [0]])).shape
        torch.Size([4, 1])
        >>> bank.purity(torch.tensor([0, 0, 1, 1]), steps=2)
        [0.5, 0.0]
        """
        items = torch.arange(len(self.vectors), device=self.links.device)
        labels, newest, shares = labels.to(items.device), items[:, None], []
        for _ in range(steps):
            newest = self.links[newest].flatten(1)
            counted = (newest != items[:, None]) & (labels[newest] >= 0) & (labels >= 0)[:, None]
            same = labels[newest] == labels[:, None]
            shares.append(float(same[counted].double().mean()))
        return shares
