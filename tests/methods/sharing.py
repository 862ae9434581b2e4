"""One process of several that share every batch of every method: `python sharing.py RANK WORLD MEETING_POINT REPORT`.

Each process trains three steps with its share of every batch, and alone with all rows; both must come to the same.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nearfar.data.batch import Batch
from nearfar.methods import AROUND, Method, around, catalogue
from nearfar.modalities.text.encoders.scratch import Recurrent

STEPS, ROWS, CLASSES = 3, 12, 3
# What a method has of these is set so, that all of it happens within three steps: queues wrap, prototypes thaw.
SMALL: dict[str, Any] = {
    "views": 3, "projection": 3, "hidden": 6, "queue": 30, "prototypes": 5, "frozen_steps": 1, "rounds": 2,
    "classes": CLASSES, "queue_from": 0, "centroids": 4, "centroids_from": 1.0, "group": 4, "noise": 7,
    "dropped": 0.0, "layers": 1,
}  # fmt: skip
# What single methods need beside it.
OWN: dict[str, dict[str, Any]] = {
    "invp": {"items": 22, "links": 2, "hardest": 6, "walk_from": 0.3},
    "pnda": {"items": 22, "copies_from": 0.3, "above": 0.664},
    "beclr": {"neighbours": 3, "neighbours_from": 0.3, "afresh": 0.6, "covered": 0.4},
    "gml": {"least": 2},
    "lmsupcon": {"words": {word: word for word in ("one", "two", "three", "four")}, "turns": False},
    # By its own weights, of 1000, plain steps of this length lead so far that only rounding is left to compare.
    "sepclr": {"background": 1, "salient": 1.0, "nothing": 1.0, "independence": 1.0},
}
ROLES = ["whole", "whole", "small"]


class Encoder(nn.Sequential):
    """A convolution, a norm over pictures and one over rows."""

    width = 6
    takes = (1, 4, 4)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6)
        )


@dataclass(frozen=True)
class Trial:
    """A method with options, how its batches are dealt to the processes, and by which strategy they share them."""

    method: str
    dealt: tuple[int, ...] = (6, 6)
    strategy: str = "gathered"
    options: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        said = "".join(f", {k} {v}" for k, v in {**self.options, **self.tasks}.items())
        return f"{self.method}{said}, {self.dealt}, {self.strategy}"

    def made(self) -> Method:
        torch.manual_seed(0)
        kind = catalogue()[self.method]
        options = {k: v for k, v in SMALL.items() if k in kind.Options.model_fields}
        encoder = Recurrent(8, dropout=0.0) if self.words else Encoder()
        made = kind(encoder, kind.Options(**{**options, **OWN.get(self.method, {}), **self.options}))
        return around(made, {name: group.among(self.tasks) for name, group in AROUND.items()}).double()

    @property
    def words(self) -> bool:
        """Whether its rows are texts."""
        return bool({"masked", "next_word"} & set(self.tasks)) or "of_words" in catalogue()[self.method].asks


DEALT = ((6, 6), (9, 3), (12, 0))
TRIALS = [Trial(name, dealt, "ring" if dealt == (9, 3) else "gathered") for name in catalogue() for dealt in DEALT] + [
    Trial("simclr", (5, 7), "ring", {"heads": 2}),
    Trial("simclr", (5, 7), "ring", {"objective": "AlignUniform"}),
    Trial("moco", (5, 7), "ring", {"symmetric": False}),
    Trial("moco", (5, 7), "gathered", {"keep": 0.4}),
    # One key mixed with itself is always the same, whatever is drawn.
    Trial("moco", (5, 7), "ring", {"hardest": 1, "mixed": 2, "mixed_with_query": 0}),
    Trial("moco", (12, 0), "gathered", {"hardest": 1, "mixed": 2, "mixed_with_query": 0}),
    Trial("swav", (5, 7), "ring", {"queue": 0}),
    Trial("wmse", (5, 7), "ring", {"block": 4}),
    Trial("proxy", (5, 7), "ring", {"objective": "ProxyAnchor"}),
    Trial("triplet", (5, 7), "ring", {"objective": "TripletAll"}),
    Trial("triplet", (5, 7), "gathered", {"objective": "TripletHard"}),
    Trial("triplet", (5, 7), "ring", {"objective": "BoundaryMargin", "boundary": 1.2, "memory": 20}),
    Trial("supcon", (12, 0), "gathered", {"objective": "Circle", "memory": 50, "memory_from": 2}),
    Trial("proxy", (5, 7), "ring", {"objective": "SoftTriple", "centres": 2}),
    Trial("pal", (5, 7), "ring", {"objective": "VICReg"}),
    Trial("densecl", (5, 7), "ring", {"far_cells": "batch"}),
    Trial("pixpro", (5, 7), "gathered", {"objective": "PixContrast"}),
    Trial("supcon", (5, 7), "gathered", tasks={"penalty": "coral"}),
    Trial("moco", (12, 0), "ring", tasks={"penalty": "mmd", "penalty_weight": 0.5}),
    Trial("supcon", (5, 7), "ring", tasks={"mixing": "contradicting"}),
    Trial("proxy", (12, 0), "gathered", tasks={"mixing": "random"}),
    Trial("pairs", (5, 7), "ring", tasks={"masked": 0.1, "masked_share": 0.5}),
    Trial("supcon", (12, 0), "gathered", tasks={"next_word": 0.1}),
    Trial("simcse", (5, 7), "ring", {"guide": 0.5, "band_weight": 1.0, "hinge_weight": 1.0, "noise_steps": 2}),
]


def batch(step: int, rows: slice, words: bool = False) -> Batch:
    """Some rows of a batch in which items are repeated within and across processes, and some labels are unknown."""
    draw = torch.Generator().manual_seed(step)
    views = [torch.randn(ROWS, 1, 4, 4, dtype=torch.float64, generator=draw) for _ in ROLES]
    if words:
        ends = torch.arange(ROWS)[:, None] % 6 < torch.arange(6)
        views = [torch.randint(1, 99, (ROWS, 6), generator=draw).masked_fill(ends, -1) for _ in ROLES]
    ids = torch.arange(ROWS) + 5 * step
    ids[[4, 11]] = 5 * step
    labels = torch.arange(ROWS) % CLASSES
    labels[[2, 10]] = -1
    corners = [5 * torch.rand(ROWS, 2, dtype=torch.float64, generator=draw) for _ in ROLES]
    boxes = [torch.cat([corner, corner + 9], 1)[rows] for corner in corners]
    taught = torch.randn(ROWS, 1, 3, dtype=torch.float64, generator=draw)
    domains = torch.arange(ROWS) // 2 % 3 - 1
    return Batch(
        [view[rows] for view in views], ids[rows], labels[rows], ROLES, boxes, None, taught[rows], domains[rows]
    )


def train(method: Method, rows: slice, words: bool = False) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """What every step said, and the state at the end."""
    optimiser = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(1)
    said = []
    for step in range(STEPS):
        mine = method.prepare(batch(step, rows, words))
        optimiser.zero_grad()
        contrast = method.contrast([method.project(view) for view in mine.views], mine)
        contrast.loss.backward()
        method.average_gradients()
        optimiser.step()
        method.after_step(step, STEPS)
        chance = torch.tensor(float("nan") if contrast.chance is None else contrast.chance)
        said.append({"loss": contrast.loss.detach(), "chance": chance, **contrast.terms})
    return said, method.state_dict()


def differ(want: dict[str, Tensor], got: dict[str, Tensor]) -> list[str]:
    """Names of what differs."""
    if list(want) != list(got):
        return [f"names: {list(want)} and {list(got)}"]
    pairs = ((name, want[name].double(), got[name].double()) for name in want)
    return [
        f"{name} by {(a - b).abs().max().item():.3g}"
        for name, a, b in pairs
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)
    ]


def check(trial: Trial, rank: int) -> list[str]:
    start = sum(trial.dealt[:rank])
    alone = trial.made()
    untrained = {name: value.clone() for name, value in alone.state_dict().items()}
    said, state = train(alone, slice(0, ROWS), trial.words)
    wrong = [] if differ(untrained, state) else ["nothing was learned"]
    mine = slice(start, start + trial.dealt[rank])
    said_here, state_here = train(trial.made().spread(trial.strategy), mine, trial.words)
    for step, (want, got) in enumerate(zip(said, said_here, strict=True)):
        wrong += [f"step {step}: {what}" for what in differ(want, got)]
    wrong += differ(state, state_here)
    for name, value in state_here.items():
        first = value.clone()
        dist.broadcast(first, 0)
        if not torch.equal(value, first):
            wrong.append(f"{name} has other bits than on process 0")
    return [f"process {rank}: {what}" for what in wrong]


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    Path(sys.argv[4]).write_text(json.dumps({trial.name: check(trial, rank) for trial in TRIALS}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
