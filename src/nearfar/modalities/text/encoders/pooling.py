"""From the states of the tokens of a text to one vector."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Pooling = Literal["mean", "cls", "last", "weighted", "max", "sqrt"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


def pool(states: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """One vector per text from its token states; padding never counts.

    mean of all tokens; cls: the first one; last: the last one (causal models); weighted: a mean in which the t-th token
    counts t times (causal models: Muennighoff 2022, SGPT, eq. 3); max of every number; sqrt: the sum divided by the
    root of the number of tokens.

    Args:
        states: (B, L, D). mask: (B, L) bool, True for tokens; tokens come first. A text without any gives zeros.

    >>> states, mask = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]])
    >>> [round(pool(states, mask, how).item(), 4) for how in POOLINGS]
    [2.0, 1.0, 3.0, 2.3333, 3.0, 2.8284]
    """
    counts = mask.sum(1, keepdim=True)
    if how == "cls":
        return states[:, 0] * mask[:, :1]
    if how == "last":
        last = states.gather(1, (counts - 1).clamp(min=0)[:, :, None].expand(-1, -1, states.shape[2]))
        return last[:, 0] * mask[:, :1]
    if how == "max":
        return states.masked_fill(~mask[:, :, None], -torch.inf).amax(1).where(counts > 0, 0)
    weights = mask.to(states.dtype)
    if how == "weighted":
        weights = weights * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    total = torch.einsum("bl,bld->bd", weights, states)
    divisor = weights.sum(1, keepdim=True)
    return total / (divisor.sqrt() if how == "sqrt" else divisor).clamp(min=1)
