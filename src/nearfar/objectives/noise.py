"""Far rows made of noise: directions where no data lie, and the same moved to where they hurt most."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize


def noise_rows(like: Tensor, count: int, deviation: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Rows (count, D) of Gaussian noise, further far rows where no data lie: `negatives=noise_rows(z, 192)`.

    By cosine only their direction counts, so that `deviation` matters for dot products alone. Source: Wu et al. 2022
    (GS-InfoNCE), who take 192 rows; caskcsg/sentemb gsInfoNCE.

    >>> noise_rows(torch.eye(3), 5).shape
    torch.Size([5, 3])
    """
    noise = torch.randn(count, like.shape[1], generator=generator, device=like.device, dtype=torch.float32)
    return (deviation * noise).to(like.dtype)


def harder(value: Callable[[Tensor], Tensor], noise: Tensor, steps: int = 4, rate: float = 1e-3) -> Tensor:
    """Far rows (M, D) moved up the slope of an objective, each by `rate` a step, and then taken as constants.

    n <- n + rate g / |g| with g = d value / d n. Call it with the rows detached, so that only the noise moves. Source:
    Zhou et al. 2022 (DCLR), who take t = 4 steps of 1e-3; RUCAIBox/DCLR simcse/models.py.

    >>> from nearfar.objectives import InfoNCE
    >>> z, loss = torch.eye(3), InfoNCE(temperature=0.05)
    >>> noise = noise_rows(z, 8)
    >>> far = harder(lambda n: loss(z, z, negatives=n), noise, rate=0.1)
    >>> bool(loss(z, z, negatives=far) > loss(z, z, negatives=noise))
    True
    """
    moved = noise.detach()
    for _ in range(steps):
        leaf = moved.clone().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(value(leaf), leaf)
        moved = moved + rate * normalize(slope.nan_to_num(0), dim=1)
    return moved
