"""One of two processes that share a batch, each with a few rows: `python cached_process.py RANK MEETING_POINT REPORT`.

What it should get, it works out alone from all rows, without a cache.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import nearfar
from nearfar.contrast import LearnedTemperature
from nearfar.objectives import SymmetricInfoNCE

# Rows of either process: as many micro-batches of 2 where every one of them is an exchange, and uneven ones else.
SHARES = {"itself": (5, 2), "inside a function": (4, 3)}


def made() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    return encoder, SymmetricInfoNCE(temperature=LearnedTemperature(0.2)).double()


def gradients(encoder: nn.Module, objective: nn.Module) -> list[Tensor]:
    found = [p.grad for module in (encoder, objective) for p in module.parameters()]
    return [g for g in found if g is not None]


def shared(where: str, views: list[Tensor], rank: int) -> tuple[list[Tensor], int]:
    """Gradients with the rows of both processes, and how often they were exchanged."""
    encoder, objective = made()
    spread = DistributedDataParallel(encoder)
    exchanges = 0

    # torch compares these annotations with its own types, so this file does not postpone them.
    def count(state: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        nonlocal exchanges
        exchanges += 1
        work = dist.all_reduce(bucket.buffer().div_(2), async_op=True)
        return work.get_future().then(lambda done: done.value()[0])

    spread.register_comm_hook(None, count)
    start = sum(SHARES[where][:rank])
    own = [view[start : start + SHARES[where][rank]] for view in views]
    towers = [(spread if where == "itself" else (lambda rows: spread(rows)), view) for view in own]
    nearfar.cached(objective, *towers, micro_batch=2, strategy="ring").backward()
    for parameter in objective.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= 2
    return gradients(encoder, objective), exchanges


def main() -> None:
    rank = int(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
    off, exchanges = {}, {}
    for where, shares in SHARES.items():
        views = list(torch.randn(2, sum(shares), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
        encoder, objective = made()
        objective(*(encoder(view) for view in views), strategy="dense").backward()
        want = gradients(encoder, objective)
        found, exchanges[where] = shared(where, views, rank)
        assert len(found) == len(want) == 5
        off[where] = max(float((f - w).abs().max()) for f, w in zip(found, want, strict=True))
    Path(sys.argv[3]).write_text(json.dumps({"off": off, "exchanges": exchanges}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
