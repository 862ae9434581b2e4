"""Encoders around encoders."""

from __future__ import annotations

from typing import Any

from torch import nn


class Wrapped(nn.Module):
    """Base of encoders around another one, which answers all that is not answered here.

    Args:
        encoder: the one inside. width: of the embedding.
    """

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.inner, self.width = encoder, width

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def twins(self) -> list[nn.Module]:
        """The net that is frozen and slowed down by its stages."""
        return [self.inner]
