"""Another rate of dropout for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def dropout_rate(module: nn.Module, rate: float) -> Iterator[None]:
    """Every dropout of a module at this rate, and as it was afterwards.

    >>> net = nn.Sequential(nn.Dropout(0.1))
    >>> with dropout_rate(net, 0.5):
    ...     print(net[0].p)
    0.5
    >>> net[0].p
    0.1
    """
    before = [(part, part.p) for part in module.modules() if isinstance(part, nn.modules.dropout._DropoutNd)]
    try:
        for part, _ in before:
            part.p = rate
        yield
    finally:
        for part, own in before:
            part.p = own
