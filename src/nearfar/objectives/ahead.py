"""Pieces of contrastive predictive coding: what is known at a time finds what comes some steps later.

Contexts and targets of sequences become rows, of which any objective over two views takes as many as there are:
`InfoNCE(similarity=Dot(), temperature=1.0)(predicted, targets, relation=to_later(sequences))`. With a map per step
before the contexts that is CPC; log(candidates) less the value bounds the information of the two from below.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ..contrast import PairRelation, Pairs, Relation
from ..contrast.relation import opposite, paired

Far = Literal["both", "others", "same"]


def steps_ahead(contexts: Tensor, targets: Tensor, there: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Contexts (M, d) at all times t, targets (M, e) at t + `step`, and of which sequence (M,) they are.

    Args:
        contexts: (B, T, d), of which the t-th one knows nothing of targets after t. targets: (B, T, e).
        there: (B, T) bool, False behind the end of a sequence.
        step: at least 1.

    >>> z = torch.arange(6.0).view(2, 3, 1)
    >>> there = torch.tensor([[True, True, True], [True, True, False]])
    >>> known, later, sequences = steps_ahead(z, z, there, 1)
    >>> known[:, 0].tolist(), later[:, 0].tolist(), sequences.tolist()
    ([0.0, 1.0, 3.0], [1.0, 2.0, 4.0], [0, 0, 1])
    """
    if step < 1:
        raise ValueError(f"a step leads at least one ahead, got {step}")
    if contexts.shape[:2] != targets.shape[:2] or there.shape != targets.shape[:2]:
        shapes = [tuple(x.shape) for x in (contexts, targets, there)]
        raise ValueError(f"contexts (B, T, d), targets (B, T, e) and there (B, T) do not match: {shapes}")
    met = there[:, :-step] & there[:, step:]
    return contexts[:, :-step][met], targets[:, step:][met], met.nonzero()[:, 0]


def to_later(sequences: Tensor, far: Far = "both") -> Relation:
    """Row i finds target i; which targets are far is decided by the sequences that they are of.

    Args:
        sequences: (M,) of each row, of all processes where several share a batch; equal ones are one sequence, also
            where it stands in a batch twice.
        far: "others", targets of other sequences; "same", other times of the same sequence; "both".

    The bound on the information holds where far targets are drawn apart from the context, of "others", and from each
    other: strictly with one pair of each sequence, nearly with many sequences. What is listed are the pairs within
    sequences. Source: van den Oord et al. 2018, section 2.3, with any of the three.

    >>> sequences = torch.tensor([0, 0, 1])
    >>> [to_later(sequences, far).counts().far.tolist() for far in ("both", "others", "same")]
    [[2, 2, 2], [1, 1, 2], [1, 1, 0]]
    """
    if far not in get_args(Far):
        raise ValueError(f"far is one of {', '.join(get_args(Far))}, not {far!r}")
    count = len(sequences)
    if far == "both":
        return opposite(count, sequences.device)
    if far == "others":
        return paired(count, sequences)
    row = torch.arange(count, device=sequences.device)
    found = paired(count, sequences)
    assert isinstance(found, PairRelation)
    return PairRelation((count, count), Pairs(row, row), far=found.ignored)


def candidate_counts(sequences: Tensor, far: Far = "both") -> Tensor:
    """(M,) how many targets each row chooses from, its own among them, as `to_later` has it.

    >>> candidate_counts(torch.tensor([0, 0, 1]), "others").tolist()
    [2, 2, 3]
    """
    own = torch.unique(sequences, return_inverse=True, return_counts=True)
    alike = own[2][own[1]]
    return {"both": torch.full_like(alike, len(alike)), "others": len(alike) - alike + 1, "same": alike}[far]
