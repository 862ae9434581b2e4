"""How often each client may ask."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST = 4096  # clients that are remembered; the one that asked longest ago is forgotten first


class Rate:
    """A bucket of tokens for each client: `rate` flow in each second, and it holds twice as many.

    >>> rate = Rate(1.0, clock=lambda: 0.0)
    >>> [rate.wait("a"), rate.wait("a"), rate.wait("a"), rate.wait("b")]
    [0, 0, 1, 0]
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> int:
        """Take a token: 0 where there was one, otherwise in how many seconds there is."""
        if not self._rate:
            return 0
        now, most = self._clock(), max(1.0, 2 * self._rate)
        held, since = self._held.pop(client, (most, now))
        held = min(most, held + (now - since) * self._rate)
        self._held[client] = (held - 1 if held >= 1 else held, now)
        if len(self._held) > _MOST:
            self._held.popitem(last=False)
        return 0 if held >= 1 else math.ceil((1 - held) / self._rate)
