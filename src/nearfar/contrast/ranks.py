"""Processes that share a batch: what they gather, pass on and add up, and how gradients come back.

One convention holds for all of it: every process computes the same value, that of the whole batch, and the gradients
that reach its rows and parameters are right once they are *averaged* over the processes, as DDP and FSDP do. What one
process computes for all (its part of the statistics) therefore sends back W times its gradient, W processes; what all
compute alike (the finish) sends back its gradient as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class Ranks:
    """The processes of a group of torch.distributed, None for all of them.

    Raises:
        RuntimeError: there is no such group; `torch.distributed.init_process_group` comes first.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "the strategies 'gathered' and 'ring' work over several processes and there is no process group; start "
                "with torchrun and torch.distributed.init_process_group, or choose 'auto'"
            )
        self.group = group
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)

    def counts(self, own: list[int], device: torch.device) -> list[list[int]]:
        """For each number of this process those of all processes; one exchange for all of them."""
        found = [torch.zeros(len(own), dtype=torch.long, device=device) for _ in range(self.world)]
        dist.all_gather(found, torch.tensor(own, device=device), group=self.group)
        return [list(of) for of in zip(*(t.tolist() for t in found), strict=True)]

    def sizes(self, n: int, device: torch.device) -> list[int]:
        """A number of every process."""
        return self.counts([n], device)[0]

    def places(self, n: int, device: torch.device) -> list[Tensor]:
        """For every process the numbers of its n rows among those of all, see `in_order`."""
        return in_order(self.sizes(n, device), device)

    def gather(self, own: Tensor, sizes: list[int] | None = None) -> list[Tensor]:
        """The rows of every process, which may differ in number; no gradient."""
        sizes = self.sizes(len(own), own.device) if sizes is None else sizes
        padded = own.new_zeros((max(sizes), *own.shape[1:]))
        padded[: len(own)] = own.detach()
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded, group=self.group)
        return [rows[:n] for rows, n in zip(found, sizes, strict=True)]

    def total(self, own: Tensor) -> Tensor:
        """The sum over the processes."""
        out = own.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out, group=self.group)
        return out

    def pass_on(self, own: Tensor, incoming: int) -> Callable[[], Tensor]:
        """Send rows to the next process and receive `incoming` rows from the one before; call to wait for them."""
        if self.world == 1:
            return lambda: own
        own = own.contiguous()
        received = own.new_empty((incoming, *own.shape[1:]))
        after, before = (self._global((self.rank + step) % self.world) for step in (1, -1))
        moves = [
            dist.P2POp(dist.isend, own, after, self.group),
            dist.P2POp(dist.irecv, received, before, self.group),
        ]
        pending = dist.batch_isend_irecv(moves)

        def wait() -> Tensor:
            for work in pending:
                work.wait()
            return received

        return wait

    def _global(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


def in_order(sizes: list[int], device: torch.device) -> list[Tensor]:
    """For every process the numbers of its rows among those of all, which stand in order of rank."""
    return list(torch.arange(sum(sizes), device=device).split(sizes))


@dataclass(frozen=True)
class Shares:
    """Who holds what: for every process the numbers of its anchors and candidates among those of the whole batch."""

    ranks: Ranks
    anchors: list[Tensor]
    candidates: list[Tensor]

    @property
    def t(self) -> Shares:
        """Anchors and candidates exchanged."""
        return Shares(self.ranks, self.candidates, self.anchors)


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, own: Tensor, ranks: Ranks, places: list[Tensor]) -> Tensor:
        ctx.ranks, ctx.own = ranks, places[ranks.rank]  # type: ignore[attr-defined]
        return _put(ranks.gather(own, [len(p) for p in places]), places)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        return ctx.ranks.total(upstream)[ctx.own], None, None


class _Statistic(_Whole):
    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        return upstream[ctx.own] * ctx.ranks.world, None, None


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, whole: Tensor, ranks: Ranks, places: list[Tensor]) -> Tensor:
        ctx.ranks, ctx.own, ctx.count = ranks, places[ranks.rank], len(whole)  # type: ignore[attr-defined]
        return whole[places[ranks.rank]]

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        out = upstream.new_zeros((ctx.count, *upstream.shape[1:]))
        out[ctx.own] = upstream / ctx.ranks.world
        return out, None, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, everyone: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks  # type: ignore[attr-defined]
        return everyone.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return ctx.ranks.total(upstream) / ctx.ranks.world, None


def whole(own: Tensor, ranks: Ranks, places: list[Tensor]) -> Tensor:
    """All rows in the order of the whole batch; their gradient is the sum of what the processes send back."""
    made: Tensor = _Whole.apply(own, ranks, places)
    return made


def statistic(own: Tensor, ranks: Ranks, places: list[Tensor]) -> Tensor:
    """All anchors' values of a statistic, each computed by the process of the anchor, for a finish that all compute."""
    made: Tensor = _Statistic.apply(own, ranks, places)
    return made


def statistics(own: list[Tensor], ranks: Ranks, places: list[Tensor]) -> list[Tensor]:
    """Several of them, (n,) or (n, ...) each, in one exchange where they are of one kind."""
    if len({values.dtype for values in own}) != 1:
        return [statistic(values, ranks, places) for values in own]
    columns = [values[:, None].flatten(1) for values in own]
    everyone = statistic(torch.cat(columns, 1), ranks, places).split([column.shape[1] for column in columns], 1)
    return [made.reshape(len(made), *values.shape[1:]) for made, values in zip(everyone, own, strict=True)]


def together(own: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The rows of all processes in order of rank, from which all compute the same."""
    ranks = Ranks(group)
    return statistic(own, ranks, ranks.places(len(own), own.device))


def own_part(everyone: Tensor, ranks: Ranks, places: list[Tensor]) -> Tensor:
    """The values of this process's anchors out of those of all, on the way into a statistic of its own."""
    made: Tensor = _Own.apply(everyone, ranks, places)
    return made


def shared(everyone: Tensor, ranks: Ranks) -> Tensor:
    """The values of all, that every process has, on the way into statistics of the anchors of each."""
    made: Tensor = _Shared.apply(everyone, ranks)
    return made


def _put(pieces: list[Tensor], places: list[Tensor]) -> Tensor:
    out = pieces[0].new_empty((sum(len(p) for p in pieces), *pieces[0].shape[1:]))
    for piece, place in zip(pieces, places, strict=True):
        out[place] = piece
    return out
