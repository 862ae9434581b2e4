"""Methods: short readable recipes over shared pieces, free of any modality."""

from __future__ import annotations

import difflib

from ..errors import ConfigError
from .method import Contrast, Method, MethodOptions
from .simclr import SimCLR
from .supcon import SupCon

_METHODS: tuple[type[Method], ...] = (SimCLR, SupCon)


def catalogue() -> dict[str, type[Method]]:
    """Every method by name.

    >>> list(catalogue())
    ['simclr', 'supcon']
    """
    return {m.name: m for m in _METHODS}


def find(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    methods = catalogue()
    if name not in methods:
        close = difflib.get_close_matches(name, methods, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"there is no method {name!r}; {hint}there are {', '.join(methods)}")
    return methods[name]


__all__ = ["Contrast", "Method", "MethodOptions", "SimCLR", "SupCon", "catalogue", "find"]
