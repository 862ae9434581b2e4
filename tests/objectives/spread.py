"""One process of several that share every batch of the battery: `python spread.py RANK WORLD MEETING_POINT REPORT`.

Each process holds some rows of every scene (uneven numbers, none for some) and asks for value and gradients with the
strategies over processes; what it should get, it works out alone from all rows with `dense`.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from cases import EVERY, Case
from scenes import SCENES, Scene
from torch import Tensor

from nearfar.contrast import Strategy

STRATEGIES = (Strategy("gathered"), Strategy("ring"), Strategy("ring", tile=3), Strategy("gathered", tile=2))


def shares(n: int, world: int) -> list[slice]:
    """Uneven parts of n rows."""
    cuts = sorted({0, n} | {n * k // world + (1 if k == 1 and n > world else 0) for k in range(1, world)})
    parts = [slice(a, b) for a, b in pairwise(cuts)]
    return parts + [slice(n, n)] * (world - len(parts))


def part_of(scene: Scene, leaves: list[Tensor], rank: int, world: int) -> tuple[list[Tensor], dict[str, Any]]:
    """This process's rows, and what it says of them."""
    mine = [leaf[shares(len(leaf), world)[rank]].detach().clone().requires_grad_() for leaf in leaves]
    said = scene.how()
    for key in ("ids", "labels", "negative_ids"):
        if key in said:
            said[key] = said[key][shares(len(said[key]), world)[rank]]
    return mine, said


def ask(objective: Any, scene: Scene, leaves: list[Tensor], said: dict[str, Any], strategy: Any) -> Tensor:
    given = scene.views(leaves[:-1] if scene.queue else leaves)
    extra = {"negatives": leaves[-1]} if scene.queue else {}
    return objective(*given, **said, **extra, strategy=strategy)


def gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else [None] * len(leaves)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


def meets(case: Case, scene: Scene) -> bool:
    repeats_rows = scene.name == "one way"  # its candidates are the anchors of all processes and more, in their order
    return case.compares and case.layout in scene.layouts and (scene.listed or not case.listed) and not repeats_rows


def check(case: Case, scene: Scene, rank: int, world: int) -> list[str]:
    """What is not as it should be."""
    objective, leaves = case.objective(), scene.leaves()
    learned = list(objective.parameters())
    want = ask(objective, scene, leaves, scene.how(), "dense")
    want_grads = gradients(want, leaves + learned)
    wrong = []
    for strategy in STRATEGIES:
        mine, said = part_of(scene, leaves, rank, world)
        value = ask(objective, scene, mine, said, strategy)
        found = gradients(value, mine + learned)
        where = f"{case.name}, {scene.name}, {strategy.kind} {strategy.tile or ''}, process {rank} of {world}"
        if not torch.allclose(value, want, rtol=1e-9, atol=1e-9):
            wrong.append(f"{where}: value {value.item()} instead of {want.item()}")
        for k, (got, full) in enumerate(zip(found, want_grads, strict=True)):
            if k < len(mine):
                share = full[shares(len(full), world)[rank]] * world
            else:
                dist.all_reduce(got)
                got, share = got / world, full
            if not torch.allclose(got, share, rtol=1e-9, atol=1e-9):
                wrong.append(f"{where}: gradient {k} is off by {(got - share).abs().max().item():.3g}")
    return wrong


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    wrong, met = [], 0
    for case in EVERY:
        for scene in SCENES:
            if meets(case, scene):
                met += 1
                wrong += check(case, scene, rank, world)
    Path(sys.argv[4]).write_text(json.dumps({"met": met, "wrong": wrong}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
