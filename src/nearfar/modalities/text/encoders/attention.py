"""Attention maps of a transformer, at some places of each text only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import ConfigError

from .. import edits

NOT_THERE = -1.0  # at places that a short text does not have


@contextmanager
def showing(model: Any) -> Iterator[None]:
    """While this is open a model of `transformers` can be asked for its maps, which its usual, faster ways never make.

    Raises:
        ConfigError: its attention has no such way.
    """
    usual = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
    except ValueError as error:
        raise ConfigError(f"{type(model).__name__} does not show its attention: {error}") from None
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def places(lengths: Tensor, layers: int, longest: int, seeds: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` places (B, count) of maps (layers, L, L) laid flat, for each text other ones, and which there are.

    Drawn without replacement from the places where a token of the text looks at a token of it, by the seed of the text
    alone, so that they are the same in any batch.

    Args:
        lengths: (B,) of the texts. layers: of the maps. longest: L. seeds: (B,) int64.

    >>> chosen, there = places(torch.tensor([1, 2]), 1, 2, torch.tensor([3, 4]), 5)
    >>> sorted(chosen[1, :4].tolist()), there.sum(1).tolist()
    ([0, 1, 2, 3], [1, 4])
    """
    size = layers * longest**2
    drawn = edits.uniform(seeds, edits.MASK, size)
    own = lengths[:, None] ** 2
    drawn = drawn.masked_fill(torch.arange(size, device=drawn.device) >= layers * own, 2.0)
    least, number = drawn.topk(min(count, size), largest=False)
    layer, cell, length = number // own.clamp(min=1), number % own.clamp(min=1), lengths[:, None].clamp(min=1)
    found = (layer * longest + cell // length) * longest + cell % length
    there = least < 1.5
    missing = (0, count - found.shape[1])
    return torch.nn.functional.pad(found * there, missing), torch.nn.functional.pad(there, missing)


def looked_up(maps: Tensor, chosen: Tensor, there: Tensor) -> Tensor:
    """(B, heads, 2, count): attention at some places, in the even and in the odd ones of the layers.

    Args:
        maps: (B, layers, heads, L, L), of an even number of layers. chosen, there: (B, count) of half of the layers.
    """
    halves = torch.stack([maps[:, 0::2], maps[:, 1::2]], 1).permute(0, 3, 1, 2, 4, 5).flatten(3)
    index = chosen[:, None, None, :].expand(-1, halves.shape[1], 2, -1)
    return halves.gather(3, index).where(there[:, None, None, :], NOT_THERE)
