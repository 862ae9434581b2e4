"""Values that change during training, as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import Literal

from nearfar.errors import ConfigError

Schedule = Literal["cosine", "constant"]


def cosine(step: int, total: int, start: float, end: float) -> float:
    """Half a cosine from ``start`` at step 0 to ``end`` at step ``total``, and ``end`` from there on.

    end - (end - start) (1 + cos(pi step / total)) / 2. It falls for a learning rate and rises for the momentum of a
    slowly moving copy (BYOL: from 0.996 to 1).

    >>> cosine(0, 10, 1.0, 0.0), round(cosine(5, 10, 1.0, 0.0), 12), cosine(10, 10, 1.0, 0.0)
    (1.0, 0.5, 0.0)
    """
    if step >= total:
        return end
    return end - (end - start) * (1 + math.cos(math.pi * step / total)) / 2


def learning_rate(step: int, total: int, base: float, warmup: int = 0, schedule: Schedule = "cosine") -> float:
    """The learning rate of step ``step`` (0 to total - 1): linear warm-up, then constant or half a cosine to zero.

    Warm-up: base (step + 1) / warmup for step < warmup, so that the first step already moves. Then ``constant`` stays
    at base, and ``cosine`` is base (1 + cos(pi (step - warmup) / (total - warmup))) / 2. Source: Loshchilov & Hutter
    2017; Chen et al. 2020, appendix B.6, whose warm-up begins at exactly zero.

    >>> [learning_rate(step, 6, 1.0, warmup=2) for step in range(3)]
    [0.5, 1.0, 1.0]
    """
    if step < warmup:
        return base * (step + 1) / warmup
    if schedule == "constant":
        return base
    return cosine(step - warmup, total - warmup, base, 0.0)


def simclr_rate(batch_size: int, rule: Literal["linear", "sqrt"] = "linear") -> float:
    """SimCLR's base learning rate for LARS: 0.3 B / 256 (``linear``) or 0.075 sqrt(B) (``sqrt``).

    Both give 4.8 at a batch of 4096; the square root is gentler above it and stronger below it, and is the better one
    for small batches and long training (Chen et al. 2020, appendix B.1). Raises ConfigError for an unknown rule.

    >>> simclr_rate(4096), simclr_rate(4096, "sqrt"), simclr_rate(256)
    (4.8, 4.8, 0.3)
    """
    if rule == "linear":
        return 0.3 * batch_size / 256
    if rule == "sqrt":
        return 0.075 * math.sqrt(batch_size)
    raise ConfigError(f"simclr_rate: unknown rule {rule!r}; known: linear, sqrt")
