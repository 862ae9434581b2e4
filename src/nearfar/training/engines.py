"""Gradients of one batch by one process, or averaged over several: plain copies (DDP) or sharded weights (FSDP)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError
from nearfar.training.cache import step_gradients
from nearfar.training.protocols import Projection
from nearfar.training.stages import stages
from nearfar.training.team import Team

EngineName = Literal["ddp", "fsdp"]
Project = Callable[[Tensor], Projection]
_NORMALISES = (
    "normalises by the rows that are encoded with it: set micro_batch to 2 or more, or leave it out; or choose an "
    "encoder and a method without batch norms"
)
LossOf = Callable[[list[Projection]], Tensor]
Order = Callable[[Tensor], Tensor | None]


class Alone:
    """One process: gradients as they come."""

    def __init__(self, method: nn.Module) -> None:
        self.method = method

    def gradients(
        self, project: Project, views: list[Tensor], loss_of: LossOf, micro_batch: int | None, order: Order
    ) -> list[Projection]:
        """Add the gradients of ``loss_of([project(view) ...])`` to the parameters; returns the detached projections."""
        return step_gradients(project, views, loss_of, micro_batch, order)


class Replicated(Alone):
    """Every process holds all weights; gradients are averaged by torch's DistributedDataParallel.

    What is wrapped is the step rather than the encoder: DDP begins to average when the loss of the step is there, and
    follows its graph back to the weights, whatever they were used for (encoder, head, temperature, prototypes). The
    graph is searched for unused parameters in every step, which also keeps the order of sums: a run that is resumed
    adds up as the run that was not interrupted.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__(method)
        from torch.nn.parallel import DistributedDataParallel

        self.ddp = DistributedDataParallel(_Step(method), find_unused_parameters=True)

    def gradients(
        self, project: Project, views: list[Tensor], loss_of: LossOf, micro_batch: int | None, order: Order
    ) -> list[Projection]:
        """See `Alone.gradients`."""
        if micro_batch is None:
            return step_gradients(project, views, lambda made: self.ddp(lambda: loss_of(made)), None)
        # The gradient cache has backward passes of its own, of which DDP knows nothing: it averages what they leave.
        with self.ddp.no_sync():
            made = step_gradients(project, views, loss_of, micro_batch, order)
        self.ddp(self._nothing).backward()
        return made

    def _nothing(self) -> Tensor:
        """Zero, with a gradient of zero for all that has a gradient."""
        have = [p for p in self.method.parameters() if p.grad is not None]
        return torch.stack([p.flatten()[0] * 0 for p in have]).sum()


class Sharded(Alone):
    """Weights, gradients and the memory of the optimiser are cut into shares by torch's fully_shard (FSDP2)."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__(method)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        scalars = [name for name, p in method.named_parameters() if p.ndim == 0]
        if scalars:
            raise ConfigError(f"engine = fsdp cannot share out single numbers ({', '.join(scalars)}); use ddp")
        for p in method.parameters():  # nets may hold their filters pixel by pixel, which cannot be cut
            p.data = p.data.contiguous()
        mesh = init_device_mesh(next(method.parameters()).device.type, (Team.here().world,))
        encoder = getattr(method, "encoder", None)
        for stage in stages(encoder) if isinstance(encoder, nn.Module) else []:
            with suppress(NotImplementedError):  # a list of parts without a forward pass; it stays with the whole
                fully_shard(stage, mesh=mesh)
        fully_shard(method, mesh=mesh)
        register_fsdp_forward_method(method, "project")


class _Step(nn.Module):
    """The weights of a method, whose forward pass is any work with them.

    Without its buffers, which DDP would send round: all processes see the whole batch, so theirs are equal.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.weights = nn.ParameterList(method.parameters())
        self.unused = nn.Parameter(torch.zeros(1))  # without one, DDP warns that it need not look for unused ones

    def forward(self, work: Callable[[], Tensor]) -> Tensor:
        return work()


def engine(name: EngineName, method: nn.Module, team: Team, precision: torch.dtype) -> Alone:
    """What works out the gradients of a method; it may cut the weights into shares, so the optimiser is made after it.

    Raises:
        ConfigError: that engine does not go with this method or this precision.
    """
    if team.alone:
        return Alone(method)
    if not any(p.requires_grad for p in method.parameters()):
        raise ConfigError("nothing learns: all parameters are frozen, so there is nothing to share out")
    if name == "ddp":
        return Replicated(method)
    if precision == torch.float16:
        raise ConfigError("engine = fsdp knows no loss scale, which float16 needs; use precision = bfloat16, or ddp")
    return Sharded(method)


def check_norms(method: nn.Module, micro_batch: int | None) -> None:
    """Raise ConfigError where a batch norm that learns would see one row at a time, of which it makes nothing."""
    if micro_batch == 1 and any(isinstance(part, nn.BatchNorm1d) and part.training for part in method.modules()):
        raise ConfigError(f"micro_batch = 1: encoder or head has a batch norm, which {_NORMALISES}")


@contextmanager
def norms_explained(micro_batch: int | None) -> Iterator[None]:
    """A ConfigError in place of what a batch norm says of a single value."""
    try:
        yield
    except ValueError as error:
        if "per channel" not in str(error):
            raise
        asked = "" if micro_batch is None else f" (micro_batch = {micro_batch})"
        raise ConfigError(f"a batch norm met a single row without neighbours{asked}, and {_NORMALISES}") from error


def whole(tree: Any) -> Any:
    """The same tree with all of every tensor that is cut into shares; all processes call it."""
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    return tree.full_tensor() if _is_cut(tree) else tree


def like(full: Tensor, own: Tensor) -> Tensor:
    """A whole tensor as `own` is: this process's share of it, where that is one."""
    if not _is_cut(own):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(own.device), own.device_mesh, own.placements)  # type: ignore[attr-defined]


def _is_cut(value: Any) -> bool:
    """Whether it is a DTensor; the class itself takes long to import."""
    return hasattr(value, "full_tensor")
