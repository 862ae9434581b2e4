"""One process of several that share every batch of the battery: `python spread.py RANK WORLD MEETING_POINT REPORT`.

Names of entries after these, as in `python spread.py 0 1 /tmp/meet /tmp/report NTXent DCL`, are the only ones to meet.

Each process holds some rows of every scene (uneven numbers, none for some) and asks for value, gradients and inspection
with the strategies over processes; what it should get, it works out alone from all rows with `dense`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from cases import EVERY, Case
from scenes import SCENES, Scene
from torch import Tensor

from nearfar.contrast import Inspection, Strategy

STRATEGIES = (Strategy("gathered"), Strategy("ring"), Strategy("ring", tile=3), Strategy("gathered", tile=2))
# Scenes that every case meets with all strategies: views, labels, pairs with weights, anchors with weights, and a
# process without rows. The others are met with the strategies in turn.
TELLING = ("views", "labels", "weighted pairs", "weights", "one item")

WEIGHED = Scene("weights", (5, 5), lambda: {"weights": torch.tensor([1.0, 0.0, 2.0, 0.5, 1.5], dtype=torch.float64)})


def shares(n: int, world: int) -> list[slice]:
    """Uneven parts of n rows."""
    cuts = sorted({0, n} | {n * k // world + (1 if k == 1 and n > world else 0) for k in range(1, world)})
    parts = [slice(a, b) for a, b in pairwise(cuts)]
    return parts + [slice(n, n)] * (world - len(parts))


def part_of(scene: Scene, leaves: list[Tensor], rank: int, world: int) -> tuple[list[Tensor], dict[str, Any]]:
    """This process's rows, and what it says of them."""
    mine = [leaf[shares(len(leaf), world)[rank]].detach().clone().requires_grad_() for leaf in leaves]
    said = scene.how()
    for key, value in said.items():
        if isinstance(value, Tensor) and value.ndim and len(value) in scene.sizes:
            said[key] = value[shares(len(value), world)[rank]]
    return mine, said


def ask(call: Any, scene: Scene, leaves: list[Tensor], said: dict[str, Any], strategy: Any) -> Any:
    given = scene.views(leaves[:-1] if scene.queue else leaves)
    extra = {"negatives": leaves[-1]} if scene.queue else {}
    return call(*given, **said, **extra, strategy=strategy)


def gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else [None] * len(leaves)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


def meets(case: Case, scene: Scene) -> bool:
    repeats_rows = scene.name == "one way"  # its candidates are the anchors of all processes and more, in their order
    return case.layout in scene.layouts and (scene.listed or not case.listed) and not repeats_rows


def plain(case: Case, n: int) -> Scene:
    """Views of n rows, for an objective that compares no pairs."""
    return Scene(f"{n} rows", (n,) * case.views, lambda: dict(case.how(n)), layouts=("views",))


def meetings(cases: list[Case]) -> Iterator[tuple[Case, Scene]]:
    """Every objective with every scene that it meets; rows enough for all processes, and fewer than that."""
    for case in cases:
        scenes = [*SCENES, WEIGHED] if case.compares else [plain(case, case.least), plain(case, case.least + 5)]
        yield from ((case, scene) for scene in scenes if meets(case, scene))


def agenda(cases: list[Case], world: int) -> Iterator[tuple[Case, Scene]]:
    """Who meets whom: in two processes all, in one or three the telling scenes and a third of the others."""
    for number, (case, scene) in enumerate(meetings(cases)):
        if world == 2 or scene.name in TELLING or not case.compares or number % 3 == 0:
            yield case, scene


def strategies(case: Case, scene: Scene, world: int) -> tuple[Strategy, ...]:
    """The strategies of one meeting: all, or the one whose turn it is."""
    # A case changes them from scene to scene, and a scene from case to case.
    turn = [c.name for c in EVERY].index(case.name) + [s.name for _, s in meetings([case])].index(scene.name)
    every = world == 2 and (scene.name in TELLING or not case.compares)
    return STRATEGIES if every else (STRATEGIES[turn % len(STRATEGIES)],)


def in_order_of_rank(case: Case, scene: Scene, world: int, anchors: int) -> Tensor:
    """Which anchor of the batch in one process is the k-th over several: each process stands with all its views."""
    order = torch.arange(anchors)
    views = len(scene.sizes) - scene.queue
    if case.layout == "cross" or views == 1 or "relation" in scene.how():
        return order
    n = scene.sizes[0]
    return torch.cat([order[k * n : (k + 1) * n][part] for part in shares(n, world) for k in range(views)])


def other(one: Inspection, many: Inspection, order: Tensor) -> list[str]:
    """Names of what differs between the inspection of one process and that over several."""
    wrong = []
    for name in (f.name for f in fields(Inspection)):
        want, got = getattr(one, name), getattr(many, name)
        if name in ("per_anchor", "weight", "near_count", "far_count") and want is not None:
            want = want[order]
        if isinstance(want, dict):
            want, got = torch.stack(list(want.values())), torch.stack(list(got.values()))
        if isinstance(want, Tensor | float):
            want, got = torch.as_tensor(want), torch.as_tensor(got)
            same = want.shape == got.shape and torch.allclose(want, got, rtol=1e-9, atol=1e-9, equal_nan=True)
        else:
            same = want == got
        if not same:
            wrong.append(name)
    return wrong


def check(case: Case, scene: Scene, rank: int, world: int, strategies: tuple[Strategy, ...]) -> list[str]:
    """What is not as it should be."""
    objective, leaves = case.objective(), scene.leaves()
    learned = list(objective.parameters())
    want = ask(objective, scene, leaves, scene.how(), "dense")
    want_grads = gradients(want, leaves + learned)
    wrong = []
    for strategy in strategies:
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
    with torch.no_grad():
        seen = ask(objective.inspect, scene, leaves, scene.how(), "dense")
        order = in_order_of_rank(case, scene, world, 0 if seen.per_anchor is None else len(seen.per_anchor))
        mine, said = part_of(scene, leaves, rank, world)
        names = other(seen, ask(objective.inspect, scene, mine, said, "ring"), order)
        if names:
            wrong.append(f"{case.name}, {scene.name}: inspect says another {', '.join(names)}")
    return wrong


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    wrong, met = [], []
    named = sys.argv[5:]
    for case, scene in agenda([c for c in EVERY if not named or c.entry in named], world):
        met.append(f"{case.name}, {scene.name}")
        wrong += check(case, scene, rank, world, strategies(case, scene, world))
    Path(sys.argv[4]).write_text(json.dumps({"met": met, "wrong": wrong}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    # What is found is written; threads of the process group may end all with "terminate called".
    os._exit(0)
