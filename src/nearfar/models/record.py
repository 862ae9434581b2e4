"""What an encoder knows of its rows beyond one vector each."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Record:
    """Embeddings with the states of their parts, such as the tokens of texts.

    Attributes:
        embedding: (B, D) what downstream uses.
        tokens: (B, L, d) a state for each part, anything where `mask` is False.
        mask: (B, L) bool, which parts there are.
    """

    embedding: Tensor
    tokens: Tensor
    mask: Tensor
