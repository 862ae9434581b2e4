"""Several heads with temperatures of pairs; with one head here, with more in `test_multihead.py`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from case import Case
from oracles import cosine, log_sum, mean
from torch import Tensor

from nearfar.objectives import AdaptiveMultiHead


def adaptive(heads: int, codes: int, low: float, high: float, beta: float) -> Callable[..., Tensor]:
    def value(*views: Tensor) -> Tensor:
        z, n = torch.cat(views), len(views[0])
        width = z.shape[1] // heads - codes
        values, prices = [], []
        for i in range(len(z)):
            logits = {}
            for j in range(len(z)):
                if j == i:
                    continue
                logits[j] = torch.zeros((), dtype=z.dtype)
                for c in range(heads):
                    dims = slice(c * width, (c + 1) * width)
                    code = slice(heads * width + c * codes, heads * width + (c + 1) * codes)
                    t = low + (high - low) / (1 + torch.exp(-(z[i, code] * z[j, code]).sum()))
                    logits[j] = logits[j] + cosine(z[i, dims], z[j, dims]) / t
                    prices.append(width / 2 * t.log() + 1 / t)
            near = [logits[j] for j in logits if j % n == i % n]
            values.append(log_sum([(x, 1.0) for x in logits.values()]) - mean(near))
        return mean(values) + beta * mean(prices)

    return value


CASES = [
    Case("AdaptiveMultiHead", lambda: AdaptiveMultiHead(heads=1), "views", adaptive(1, 1, 0.05, 2.0, 0.1), least=1),
    Case(
        "AdaptiveMultiHead costly",
        lambda: AdaptiveMultiHead(heads=1, low=0.3, high=0.9, price=1.0),
        "views",
        adaptive(1, 1, 0.3, 0.9, 1.0),
        least=1,
    ),
]
GOLDEN: dict = {"AdaptiveMultiHead": [], "AdaptiveMultiHead costly": []}
CHANCE: dict = {"AdaptiveMultiHead": None, "AdaptiveMultiHead costly": None}
COLLAPSED: dict = {}
