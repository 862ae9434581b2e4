"""The processes that train one model together: which one this is, its share of a batch, and what all agree on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from nearfar.contrast.ranks import Ranks
from nearfar.errors import ConfigError, NearfarError

T = TypeVar("T")


class Elsewhere(NearfarError):
    """The first process has failed, and says itself why."""


@dataclass(frozen=True)
class Team:
    """`world` processes, of which this one has the number `rank`; the first one, 0, writes and speaks for all.

    >>> [Team(rank, 3).share(10) for rank in range(3)]
    [slice(0, 4, None), slice(4, 7, None), slice(7, 10, None)]
    """

    rank: int = 0
    world: int = 1

    @staticmethod
    def here() -> Team:
        """The processes of torch.distributed's default group; this one alone where there is none."""
        if dist.is_available() and dist.is_initialized():
            return Team(dist.get_rank(), dist.get_world_size())
        return Team()

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` rows are this process's: consecutive ones, and numbers that differ by one at most."""
        each, more = divmod(count, self.world)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def micro_batch(self, count: int, asked: int | None) -> int | None:
        """Rows to encode at a time when `count` rows are shared; None where no process needs a second micro-batch.

        It is what was asked for, or the next number with which all processes have as many micro-batches: layers that
        exchange something while they encode wait for each other. Pairs of rows that leave one over become three.

        >>> Team(0, 2).micro_batch(17, 4), Team(1, 2).micro_batch(17, 4), Team(0, 2).micro_batch(17, 9)
        (5, 5, None)
        >>> Team().micro_batch(17, 2), Team().micro_batch(16, 2)
        (3, 2)
        """
        if self.alone and asked == 2 and count % 2:
            asked = 3
        most, least = -(-count // self.world), count // self.world
        if asked is None or asked >= most:
            return None
        while -(-most // asked) != -(-least // asked):
            asked += 1
        return asked if asked < most else None

    def most(self, *numbers: float) -> list[float]:
        """The greatest that any process has, number by number."""
        if self.alone:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return found.tolist()

    def rows(self, own: Tensor) -> Tensor:
        """The rows of all processes in order, without gradient."""
        return own.detach() if self.alone else torch.cat(Ranks().gather(own))

    def wait(self) -> None:
        """Until all processes are here."""
        self.most(0.0)

    def same(self, make: Callable[[], T]) -> T:
        """What the first process makes, on all of them; an error there is an error on all."""
        if self.alone:
            return make()
        told: list[object] = [None, None]
        failed: Exception | None = None
        if self.first:
            try:
                told[0] = make()
            except Exception as error:
                failed, told[1] = error, str(error)
        dist.broadcast_object_list(told)
        if failed is not None:
            raise failed
        if told[1] is not None:
            raise Elsewhere(str(told[1]))
        return told[0]  # type: ignore[return-value]


def started_by_torchrun() -> bool:
    """Whether torchrun, or another launcher that sets the same variables, has started this process as one of several.

    `WORLD_SIZE` says how many there are.
    """
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def is_first() -> bool:
    """Whether this process is the one that speaks, of those that torchrun has started; one that was not is the one."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"


@contextmanager
def joined(rank: int | None = None, world: int | None = None, meeting_point: str = "env://") -> Iterator[Team]:
    """The team of this process while it lasts: joined here by number, by torchrun's variables, or already there.

    Raises:
        ConfigError: the processes cannot meet.
    """
    if dist.is_available() and dist.is_initialized():
        yield Team.here()
        return
    if rank is None or world is None:
        if not started_by_torchrun():
            yield Team()
            return
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    _use_device(int(os.environ.get("LOCAL_RANK", rank)))
    # Numbers that all agree on are on the CPU even where the model is not.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, init_method=meeting_point, rank=rank, world_size=world)
    except (dist.DistError, RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}" if meeting_point == "env://" else "a file"
        reason = str(error).strip().splitlines()[0]
        remedy = "; choose another one with torchrun --master-port" if "EADDRINUSE" in str(error) else ""
        raise ConfigError(f"process {rank} of {world} cannot meet the others at {where}: {reason}{remedy}") from None
    try:
        yield Team.here()
    except NearfarError:  # after other errors some process may be gone, and leaving the group would wait for it
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def check_devices(count: int, device: torch.device) -> None:
    """Raise ConfigError when `count` processes on this machine cannot have such a device each."""
    if count == 1 or device.type == "cpu":
        return
    if device.index is not None:
        raise ConfigError(f"device = {device} is one device, and devices = {count}; say device = {device.type}")
    there = torch.cuda.device_count() if device.type == "cuda" else 1
    if count > there:
        raise ConfigError(
            f"devices = {count}, but there {'is' if there == 1 else 'are'} {there} of {device.type}; ask for fewer, or "
            "for processes on the CPU with device = cpu"
        )


def _use_device(number: int) -> None:
    if torch.cuda.is_available() and number < torch.cuda.device_count():
        torch.cuda.set_device(number)
