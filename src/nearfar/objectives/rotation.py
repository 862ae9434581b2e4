"""Turned copies of pictures: near for things that look alike either way up, far for the others (PNDA).

Rows of turned copies are further candidates: `NTXent()(z1, z2, ids=ids, negatives=turned, negative_ids=turned_ids(ids,
agnostic))`. A copy that keeps the id of its item is near to it; one with an id of its own is far from all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TURNED = 1 << 52  # ids from here on are of no item


def turning_entropy(logits: Tensor) -> Tensor:
    """Entropy (N,) of a classifier of the four rotations, averaged over an item's four turned copies: 0 to log 4.

    Args:
        logits: (N, 4, 4) of every item, turned in four ways, for the four answers.

    >>> turning_entropy(torch.zeros(1, 4, 4))  # log 4
    tensor([1.3863])
    """
    log_share = logits.detach().log_softmax(2)
    return -(log_share.exp() * log_share).sum(2).mean(1)


def rotation_agnostic(logits: Tensor, above: float = 0.2) -> Tensor:
    """Which items (N,) look alike however they are turned, by a classifier of the four rotations.

    An item is when the entropy of the classifier's softmax, averaged over its four turned copies, is above
    log(4) / 2 + `above`.

    Args:
        logits: (N, 4, 4) of every item, turned in four ways, for the four answers.

    Source: Miyai et al. 2022, Rethinking Rotation in Self-Supervised Contrastive Learning;
    AtsuMiyai/rethinking_rotation RAI_SAMPLING.

    >>> sure, unsure = 9 * torch.eye(4), torch.zeros(4, 4)
    >>> rotation_agnostic(torch.stack([sure, unsure])).tolist()
    [False, True]
    """
    return turning_entropy(logits) > 0.5 * math.log(4) + above


def turned_ids(ids: Tensor, agnostic: Tensor) -> Tensor:
    """Ids of turned copies (N,): those of their items where they are near, new ones where they are far.

    A new id depends on the id of its item alone, so that processes that share a batch agree without a word.

    Args:
        ids: (N,) of the items, integers of 64 bits below 2^52. agnostic: (N,) whether a turned copy shows the same.

    >>> turned_ids(torch.tensor([4, 7]), torch.tensor([True, False])).tolist()
    [4, 4503599627370503]
    """
    return torch.where(agnostic, ids, ids + TURNED)
