"""Heads: what stands between an embedding (kept) and a projection (seen only by the objective)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, relu

from nearfar.errors import ConfigError

Norm = Literal["batch", "none"]
Activation = Literal["none", "relu", "rep_relu"]


class NonNegative(nn.Module):
    """Projections (B, D) without negative numbers, which contrast then makes sparse: a dimension stands for a group.

    "relu": max(z, 0), without gradient below 0; "rep_relu": the same numbers, with the gradient of GELU, so that a
    dimension that is 0 for all rows can come back. Cosines of what comes out lie in [0, 1]. Source: Wang et al. 2024,
    Non-negative Contrastive Learning; PKU-ML/non_neg.

    >>> import torch
    >>> z = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    >>> made = NonNegative("rep_relu")(z)
    >>> made.tolist(), bool(torch.autograd.grad(made.sum(), z)[0][0, 0] != 0)
    ([[0.0, 2.0]], True)
    """

    def __init__(self, kind: Activation = "rep_relu") -> None:
        super().__init__()
        if kind not in ("relu", "rep_relu"):
            raise ConfigError(f"unknown activation {kind!r} of non-negative projections; known: relu, rep_relu")
        self.kind = kind

    def forward(self, rows: Tensor) -> Tensor:
        """The rows, negative numbers replaced by 0."""
        if self.kind == "relu":
            return relu(rows)
        smooth = gelu(rows)
        return smooth - smooth.detach() + relu(rows.detach())

    def extra_repr(self) -> str:
        """Which of the two."""
        return self.kind


def projector(
    width: int,
    hidden: int,
    out: int,
    layers: int = 2,
    norm: Norm = "batch",
    last_norm: bool = False,
    last_bias: bool = True,
    activation: Activation = "none",
) -> nn.Sequential:
    """A multi-layer perceptron from an embedding (B, width) to a projection (B, out).

    ``layers - 1`` times [linear to ``hidden``, norm, ReLU], then one linear layer to ``out``. A linear layer in front
    of a batch norm has no bias, since the norm would subtract it again. ``last_norm`` adds a batch norm without scale
    and shift after the last layer (SimSiam, MoCo v3); ``activation`` ends the head in a `NonNegative`. The projection
    is not normalised to unit length: the objective does that.

    Known heads: SimCLR ``projector(w, w, 128)``; MoCo v2 ``projector(w, w, 128, norm="none")``; SimSiam
    ``projector(w, w, 2048, layers=3, last_norm=True)``; Barlow Twins and VICReg ``projector(w, 8192, 8192, layers=3,
    last_bias=False)``.

    Raises ConfigError for a size below one, an unknown norm or an unknown activation. Source: Chen et al. 2020,
    section 4.2 (why the objective should not see the embedding itself).

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
    if activation != "none":
        parts.append(NonNegative(activation))
    return nn.Sequential(*parts)


class AdaptiveHeads(nn.Module):
    """Several projections of an embedding (B, width), and of each a code from which temperatures of pairs are made.

    ``heads`` projectors, each followed by a two-layer perceptron from its unit projection to ``codes`` numbers. The
    result (B, heads (out + codes)) has all projections first and all codes behind them, as
    `nearfar.objectives.AdaptiveMultiHead` takes it. Source: Wang et al. 2023, Adaptive Multi-head Contrastive Learning,
    reconstructed from a description.

    >>> import torch
    >>> AdaptiveHeads(16, 32, out=8, heads=3, codes=4)(torch.zeros(5, 16)).shape
    torch.Size([5, 36])
    """

    def __init__(self, width: int, hidden: int, out: int, heads: int = 3, codes: int = 8) -> None:
        super().__init__()
        for name, value in (("heads", heads), ("codes", codes)):
            if value < 1:
                raise ConfigError(f"AdaptiveHeads: {name} is {value}; it must be at least 1")
        self.projectors = nn.ModuleList(projector(width, hidden, out) for _ in range(heads))
        self.coders = nn.ModuleList(projector(out, out, codes, norm="none") for _ in range(heads))

    def forward(self, embedding: Tensor) -> Tensor:
        """Projections and codes side by side."""
        projections = [head(embedding) for head in self.projectors]
        codes = [code(normalize(z, dim=1)) for code, z in zip(self.coders, projections, strict=True)]
        return torch.cat([*projections, *codes], 1)
