"""Near rows that are found by walking from neighbour to neighbour (invariance propagation)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..contrast import PairRelation, Pairs
from ..contrast.similarity import unit


def propagated(rows: Tensor, bank: Tensor, ids: Tensor, reached: Tensor, hardest: int = 50) -> PairRelation:
    """Rows against a bank: near are the least similar of those that a walk reached, the row's own item is ignored.

    Those that are reached only step by step are the hard ones: near by transitivity, and far at once. One that is
    reached several times stands several times among the hardest, and weighs as much.

    With `SupCon(average="inside")` the value is -log(sum over near / sum over the bank without the own item), plus
    log(hardest), a constant: the second term of the paper. Its first is `InfoNCE` of rows and bank with
    `relation=propagated(..., hardest=0)`, where the own item is near. The paper's denominator holds the 4096 largest
    terms, this one all.

    Args:
        rows: (B, D). bank: (M, D), a vector of each item. ids: (B,) the rows' items.
        reached: (B, P) items that are near by a walk, such as `LinkedBank.walk`; the own item among them is left out.
        hardest: how many of them are near; 0: only the own item is.

    Source: Wang et al. 2020, Unsupervised Representation Learning by Invariance Propagation;
    WangFeng18/InvariancePropagation objective.py.

    >>> bank = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    >>> relation = propagated(bank[:1], bank, torch.tensor([0]), torch.tensor([[1, 0, 2]]), hardest=1)
    >>> relation.weights("near", slice(0, 1), slice(0, 4)).full(bank).tolist()
    [[0.0, 0.0, 1.0, 0.0]]
    """
    shape, row = (len(rows), len(bank)), torch.arange(len(rows), device=rows.device)
    own = Pairs(row, ids)
    if hardest == 0:
        return PairRelation(shape, own)
    with torch.no_grad():
        cosine = torch.einsum("bd,bpd->bp", unit(rows), unit(bank)[reached])
        cosine = cosine.masked_fill(reached == ids[:, None], torch.inf)
        chosen = cosine.topk(min(hardest, reached.shape[1]), 1, largest=False)
    there = chosen.values < torch.inf
    place, times = torch.unique(
        (row[:, None] * len(bank) + reached.gather(1, chosen.indices))[there], return_counts=True
    )
    return PairRelation(shape, Pairs(place // len(bank), place % len(bank), times.to(rows.dtype)), own)
