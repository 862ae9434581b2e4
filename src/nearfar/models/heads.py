"""Heads: what stands between an embedding (kept) and a projection (seen only by the objective)."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from nearfar.errors import ConfigError

Norm = Literal["batch", "none"]


def projector(
    width: int,
    hidden: int,
    out: int,
    layers: int = 2,
    norm: Norm = "batch",
    last_norm: bool = False,
    last_bias: bool = True,
) -> nn.Sequential:
    """A multi-layer perceptron from an embedding (B, width) to a projection (B, out).

    ``layers - 1`` times [linear to ``hidden``, norm, ReLU], then one linear layer to ``out``. A linear layer in front
    of a batch norm has no bias, since the norm would subtract it again. ``last_norm`` adds a batch norm without scale
    and shift after the last layer (SimSiam, MoCo v3). The projection is not normalised to unit length: the objective
    does that.

    Known heads: SimCLR ``projector(w, w, 128)``; MoCo v2 ``projector(w, w, 128, norm="none")``; SimSiam
    ``projector(w, w, 2048, layers=3, last_norm=True)``; Barlow Twins and VICReg ``projector(w, 8192, 8192, layers=3,
    last_bias=False)``.

    Raises ConfigError for a size below one or an unknown norm. Source: Chen et al. 2020, section 4.2 (why the objective
    should not see the embedding itself).

    >>> import torch
    >>> projector(16, 32, 8)(torch.zeros(4, 16)).shape
    torch.Size([4, 8])
    """
    for name, value in (("width", width), ("hidden", hidden), ("out", out), ("layers", layers)):
        if value < 1:
            raise ConfigError(f"projector: {name} is {value}; it must be at least 1")
    if norm not in get_args(Norm):
        raise ConfigError(f"projector: unknown norm {norm!r}; known: {', '.join(get_args(Norm))}")
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts.append(nn.Linear(width, hidden, bias=norm == "none"))
        if norm == "batch":
            parts.append(nn.BatchNorm1d(hidden))
        parts.append(nn.ReLU(inplace=True))
        width = hidden
    parts.append(nn.Linear(width, out, bias=last_bias and not last_norm))
    if last_norm:
        parts.append(nn.BatchNorm1d(out, affine=False))
    return nn.Sequential(*parts)
