"""What the command says, for the tests that run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """How the command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]
