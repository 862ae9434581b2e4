"""Parts that see one batch where several processes share it: batch norm, and the gradients of all.

Rows of the batch are dealt to the processes of a group of torch.distributed in any numbers. The convention of gradients
is that of `nearfar.contrast.ranks`: they are right once averaged over the processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from nearfar.contrast.ranks import Ranks
from nearfar.errors import ConfigError

_CARRIED = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class SharedBatchNorm(_BatchNorm):
    """Batch norm by the statistics of the rows of all processes, on CPU and CUDA, over (N, C) or (N, C, ...).

    W processes get what one process gets from all rows: outputs, running statistics and, once averaged, gradients. In
    training every pass sends 2 C + 1 numbers per process forward and 2 C back, so all processes make the same passes in
    the same order, with or without rows. In evaluation it is the usual batch norm and sends nothing. torch's
    SyncBatchNorm is for CUDA alone.

    Where a batch passes in micro-batches, the k-th of all processes are normalised together: all must have as many of
    them, and the result depends on how rows were dealt.

    Raises:
        ValueError: in training, all processes together have a single value per channel, or none.
    """

    group: Any = None

    def forward(self, rows: Tensor) -> Tensor:
        """Normalised rows, of the same shape and type."""
        if not self.training and self.running_mean is not None:
            return super().forward(rows)
        ranks = Ranks(self.group)
        wide = rows if rows.dtype == torch.float64 else rows.float()
        mean, variance, count = _statistics(wide, ranks)
        if count < 2:
            raise ValueError(f"batch norm needs at least 2 values per channel over all processes, got {count}")
        if self.training and self.track_running_stats:
            self._remember(mean, variance * (count / (count - 1)))
        out: Tensor = _Normalised.apply(wide, self.weight, self.bias, mean, (variance + self.eps).rsqrt(), count, ranks)
        return out.to(rows.dtype)

    def _check_input_dim(self, rows: Tensor) -> None:
        """Any number of dimensions from 2 on will do."""

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for held, new in ((self.running_mean, mean), (self.running_var, variance)):
            held.mul_(1 - factor).add_(new.to(held.dtype), alpha=factor)


@torch.no_grad()
def _statistics(rows: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance per channel (C,) of the rows of all processes, and how many values each is of.

    Every process hands over its own mean and squares about it, which are then put together without cancellation (Chan,
    Golub & LeVeque 1979).
    """
    over = _over(rows)
    count = rows.numel() // rows.shape[1]
    mean = rows.sum(over) / max(count, 1)
    squares = (rows - _wide(mean, rows)).square_().sum(over)
    own = torch.cat([rows.new_tensor([count]), mean, squares])[None]
    counts, means, scatter = torch.cat(ranks.gather(own, [1] * ranks.world)).split([1, len(mean), len(mean)], 1)
    total = counts.sum().clamp_min(1)
    mean = (counts * means).sum(0) / total
    variance = (scatter + counts * (means - mean).square()).sum(0) / total
    return mean, variance, int(counts.sum())


class _Normalised(torch.autograd.Function):
    """(x - mean) inverse weight + bias, where mean and inverse deviation are of the rows of all processes."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        rows: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        inverse: Tensor,
        count: int,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, mean, inverse)  # type: ignore[arg-type]
        ctx.count, ctx.ranks = count, ranks  # type: ignore[attr-defined]
        scale = inverse if weight is None else inverse * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return torch.addcmul(_wide(shift, rows), rows, _wide(scale, rows))

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        # With n = (x - mean) inverse, dx = scale (g - mean of g - n mean of g n): linear in g and in x - mean.
        rows, weight, mean, inverse = ctx.saved_tensors
        own = torch.stack(_sums(upstream, rows, mean, inverse))
        along, across = ctx.ranks.total(own) / ctx.count
        scale = inverse if weight is None else inverse * weight
        shift, slope = -scale * along, -scale * inverse * across
        d_rows = torch.addcmul(_wide(shift, rows), rows - _wide(mean, rows), _wide(slope, rows))
        d_rows.addcmul_(upstream, _wide(scale, rows))
        d_weight, d_bias = (own[1], own[0]) if weight is not None else (None, None)
        return d_rows, d_weight, d_bias, None, None, None, None


def _sums(upstream: Tensor, rows: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Per channel (C,), the sums of g and of g (x - mean) inverse, in one pass.

    They are the gradients of a batch norm in evaluation, of weights 1 and of these statistics.
    """
    if not len(rows):
        return torch.zeros_like(mean), torch.zeros_like(mean)
    _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
        upstream, rows, None, mean, inverse.square().reciprocal(), None, None, False, 0.0, [False, True, True]
    )
    return of_bias, of_weight


def _over(rows: Tensor) -> list[int]:
    """All dimensions but that of the channels."""
    return [0, *range(2, rows.ndim)]


def _wide(channels: Tensor, rows: Tensor) -> Tensor:
    """Numbers per channel (C,) as they stand beside rows (N, C, ...)."""
    return channels.reshape(1, -1, *[1] * (rows.ndim - 2))


def share_norms(module: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Put a `SharedBatchNorm` of the same weights and buffers in the place of every batch norm inside a module.

    The names in the state dict stay, and weights and buffers stay the same tensors. Norms that look at no other rows
    (layer, group and instance norm) are left as they are, and so is torch's SyncBatchNorm, which does the same on CUDA.

    Raises:
        ConfigError: a batch norm computes something of its own, such as one with an activation inside.
    """
    for name, part in list(module.named_children()):
        if isinstance(part, nn.SyncBatchNorm):
            continue
        if not isinstance(part, _BatchNorm) or isinstance(part, SharedBatchNorm):
            share_norms(part, group)
            continue
        if type(part).forward is not _BatchNorm.forward:
            raise ConfigError(
                f"{type(part).__name__} normalises by the batch of its own process, and does more than a batch norm; "
                f"over several processes choose an encoder with plain batch norms, or with layer or group norm"
            )
        shared = SharedBatchNorm(part.num_features, part.eps, part.momentum, affine=False, track_running_stats=False)
        for kept in _CARRIED:
            setattr(shared, kept, getattr(part, kept))
        shared.affine, shared.track_running_stats, shared.group = part.affine, part.track_running_stats, group
        setattr(module, name, shared.train(part.training))


@torch.no_grad()
def average_gradients(module: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Replace every gradient by its mean over the processes, which is then that of the whole batch.

    To be called by all of them, between the backward pass and the update. A parameter without gradient counts as zero
    where another process has one, and stays without where none has.
    """
    ranks = Ranks(group)
    weights = [p for p in module.parameters() if p.requires_grad]
    if not weights:
        return
    has = ranks.total(torch.tensor([p.grad is not None for p in weights], device=weights[0].device).long())
    weights = [p for p, count in zip(weights, has.tolist(), strict=True) if count]
    for dtype in dict.fromkeys(p.dtype for p in weights):
        alike = [p for p in weights if p.dtype == dtype]
        own = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in alike])
        mean = ranks.total(own) / ranks.world
        for p, gradient in zip(alike, mean.split([p.numel() for p in alike]), strict=True):
            p.grad = gradient.view_as(p).clone()
