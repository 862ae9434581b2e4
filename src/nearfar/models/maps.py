"""The feature map that an encoder makes on the way to its embedding: its last activation with height and width."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError

MOST_PREFIX_TOKENS = 8  # class and register tokens in front of those of the patches


def with_map(encoder: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The embedding (B, width) and the map (B, C, h, w), the last activation of more than one cell before the pooling.

    The encoder is run on `inputs` as it takes them, and what its modules give is watched by forward hooks; gradients
    pass through both. Adaptive pooling, and what contains it, is passed over, and so is any activation of 1 x 1. Of a
    transformer that cuts the picture into patches, the last tokens are laid out as the patches were, without class and
    register tokens. Maps with channels last (told by the encoder's `width`) are turned to channels first.

    Raises ConfigError: no module gives such an activation, as in an encoder of tables.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> [tuple(made.shape) for made in with_map(net, torch.zeros(2, 3, 32, 32))]
    [(2, 8), (2, 8, 8, 8)]
    """
    seen = _Seen(len(inputs), getattr(encoder, "width", None))
    with _watched(encoder, seen):
        embedding = encoder(inputs)
    found = seen.grid if seen.tokens is None else seen.tokens
    if found is None:
        raise ConfigError(
            f"{type(encoder).__name__} gives no feature map of more than one cell for inputs of shape "
            f"{tuple(inputs.shape[1:])}; what looks at the cells of a map needs a convolutional net or a transformer "
            "over patches, and pictures large enough for it"
        )
    return embedding, found


def map_width(encoder: nn.Module) -> int:
    """Channels of the map, by a blank input where the encoder says what it `takes` (C, H, W); else its `width`."""
    takes = getattr(encoder, "takes", None)
    if takes is None:
        return int(encoder.width)  # type: ignore[arg-type]
    was_training = encoder.training
    like = next(encoder.parameters())
    encoder.eval()
    try:
        with torch.no_grad():
            return with_map(encoder, like.new_zeros(1, *takes))[1].shape[1]
    finally:
        encoder.train(was_training)


def cells_of(encoder: nn.Module, inputs: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The embedding (B, encoder width) and the cells of the map, (B, h, w, width).

    Raises ConfigError: the encoder makes no map, or one of another width, as of pictures that leave it a single cell.
    """
    embedding, found = with_map(encoder, inputs)
    if found.shape[1] != width:
        raise ConfigError(
            f"for inputs of shape {tuple(inputs.shape[1:])} the last map of more than one cell has {found.shape[1]} "
            f"channels, not {width}: these views are too small for this encoder"
        )
    return embedding, found.permute(0, 2, 3, 1)


class _Seen:
    """Keeps the last grid of a batch of B, and the last tokens after it that belong to its cells."""

    def __init__(self, batch: int, width: int | None) -> None:
        self.batch, self.width = batch, width
        self.grid: Tensor | None = None
        self.tokens: Tensor | None = None
        self.length = 0  # of the sequence of tokens, those in front included

    def __call__(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.is_floating_point() or len(output) != self.batch:
            return
        if output.ndim == 4 and output.shape[3] == self.width != output.shape[1]:
            output = output.permute(0, 3, 1, 2)
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            if self.tokens is None or output.shape[2] != self.length:  # else the heads of an attention: (B, H, T, D)
                self.grid, self.tokens = output, None
        elif output.ndim == 3 and self.grid is not None:
            h, w = self.grid.shape[2:]
            extra = output.shape[1] - h * w
            if 0 <= extra <= MOST_PREFIX_TOKENS:
                self.tokens = output[:, extra:].transpose(1, 2).reshape(len(output), -1, h, w)
                self.length = output.shape[1]


@contextmanager
def _watched(encoder: nn.Module, seen: _Seen) -> Iterator[None]:
    hooks = [module.register_forward_hook(seen) for module in encoder.modules() if not _pools(module)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _pools(module: nn.Module) -> bool:
    return any("Adaptive" in type(part).__name__ for part in module.modules())
