"""Whitening of random groups of channels."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import ConfigError


def group_whiten(rows: Tensor, size: int, order: Tensor, eps: float = 1e-5) -> Tensor:
    """Rows (N, D) whose channels, in groups of `size`, have mean 0 and covariance the identity, with gradient.

    Channels are taken in `order` (D,), cut into groups, of which the last may be smaller, and each group is multiplied
    by U (Lambda + eps)^-1/2 U', from its covariance U Lambda U' over the N rows (N in the denominator); then they are
    put back. Size 1 is batch norm without scale and shift, size D whitens all channels together; the order has a say
    only between the two.

    Raises:
        ConfigError: a group has as many channels as there are rows, or more.

    Source: Zhuo et al. 2023, WhitenedCSE, section 3.2; SupstarZh/WhitenedCSE.

    >>> z = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    >>> group_whiten(z, 3, torch.arange(6))[:, :3].T.cov(correction=0).diagonal()
    tensor([1.0000, 1.0000, 1.0000])
    """
    n, width = rows.shape
    size = min(size, width)
    if n <= size:
        raise ConfigError(f"{n} rows cannot be whitened in groups of {size} channels; take smaller groups or more rows")
    taken = (rows - rows.mean(0))[:, order]
    full = width - width % size
    parts = [_whiten(taken[:, :full].reshape(n, -1, size).transpose(0, 1), eps)]
    if full < width:
        parts.append(_whiten(taken[None, :, full:], eps))
    whitened = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
    return whitened[:, order.argsort()]


def _whiten(groups: Tensor, eps: float) -> Tensor:
    """(G, N, C) centred -> the same with covariance the identity in each group."""
    covariance = groups.transpose(1, 2) @ groups / groups.shape[1]
    wide = covariance.to(torch.promote_types(covariance.dtype, torch.float32))
    return groups @ InverseRoot.apply(wide, eps).to(groups.dtype)


class InverseRoot(torch.autograd.Function):
    """(C + eps I)^-1/2 of symmetric matrices C (G, d, d); its gradient also holds where eigenvalues are equal.

    With r_i the eigenvalues of the root and U its eigenvectors, the derivative in the direction E is
    -U ((r_i^2 r_j^2 / (r_i + r_j)) * U' E U) U', which divides by no difference of eigenvalues.
    """

    @staticmethod
    def forward(ctx, covariance: Tensor, eps: float) -> Tensor:  # type: ignore[no-untyped-def]
        """The symmetric root."""
        values, vectors = torch.linalg.eigh(covariance)
        roots = (values.clamp(min=0) + eps).rsqrt()
        ctx.save_for_backward(roots, vectors)
        made: Tensor = (vectors * roots[:, None]) @ vectors.transpose(1, 2)
        return made

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        """See the class."""
        roots, vectors = ctx.saved_tensors
        one, other = roots[:, :, None], roots[:, None, :]
        inner = vectors.transpose(1, 2) @ upstream @ vectors
        slope = -(one * other).square() / (one + other) * (inner + inner.transpose(1, 2)) / 2
        return vectors @ slope @ vectors.transpose(1, 2), None
