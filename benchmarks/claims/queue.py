"""MoCo with fewer, harder far keys: what do they cost and bring, and is it MoCo when all are kept?"""

from __future__ import annotations

import argparse
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks.claims.common import cell, everything, gain, learn, table, views_of
from benchmarks.little import Net
from nearfar.data.batch import Batch
from nearfar.methods import find
from nearfar.objectives import HardContrastive

QUEUE, KEPT, TEMPERATURE, MOMENTUM, STEPS = 1024, (1024, 256, 64), 0.2, 0.99, 20


def plain_moco(seed: int, steps: int, batch: int) -> Tensor:
    """All weights after some steps of MoCo as published, one way, in plain PyTorch; the queue begins empty.

    Batches hold other pictures than the queue, so that no key has to be left out.
    """
    torch.manual_seed(seed)
    kind = find("moco")
    start: Any = kind(Net(), kind.Options(queue=QUEUE, symmetric=False))  # for the same first weights
    encoder, head = start.encoder, start.head
    slow = deepcopy(torch.nn.Sequential(encoder, head)).requires_grad_(False)
    optimiser = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.05)
    images, views, drawn = everything().images, views_of(), torch.Generator().manual_seed(seed)
    held = torch.empty(0, 128)
    for step in range(steps):
        one, other = views(images[step * batch : (step + 1) * batch], drawn)
        query, key = normalize(head(encoder(one)), dim=1), normalize(slow(other), dim=1)
        logits = torch.cat([(query * key).sum(1, keepdim=True), query @ held.T], 1) / TEMPERATURE
        optimiser.zero_grad()
        cross_entropy(logits, torch.zeros(batch, dtype=torch.long)).backward()
        optimiser.step()
        for mine, theirs in zip(slow.parameters(), [*encoder.parameters(), *head.parameters()], strict=True):
            mine.mul_(MOMENTUM).add_(theirs.detach(), alpha=1 - MOMENTUM)
        held = torch.cat([held, key])[-QUEUE:]
    return torch.cat([p.detach().flatten() for p in [*encoder.parameters(), *head.parameters()]])


def moco(seed: int, steps: int, batch: int, **options: Any) -> Tensor:
    """The same by nearfar; `objective` takes the place of the method's own."""
    objective = options.pop("objective", None)
    torch.manual_seed(seed)
    kind = find("moco")
    method: Any = kind(Net(), kind.Options(queue=QUEUE, **options))
    method.objective = objective or method.objective
    optimiser = torch.optim.SGD([*method.encoder.parameters(), *method.head.parameters()], lr=0.05)
    images, views, drawn = everything().images, views_of(), torch.Generator().manual_seed(seed)
    for step in range(steps):
        ids = torch.arange(step * batch, (step + 1) * batch)
        made = views(images[ids], drawn)
        optimiser.zero_grad()
        method.contrast([method.project(view) for view in made], Batch(made, ids)).loss.backward()
        optimiser.step()
        method.after_step(step, steps)
    parts = [*method.encoder.parameters(), *method.head.parameters()]
    return torch.cat([p.detach().flatten() for p in parts])


def same(chosen: argparse.Namespace) -> None:
    """How far weights are apart after 20 steps of 128 when all keys are kept and one view asks.

    The queue is full by then. Much later a unit whose sum is nearly 0 may fall to the other side by rounding.
    """
    own = moco(0, STEPS, 128, symmetric=False)
    every = moco(0, STEPS, 128, symmetric=False, objective=HardContrastive(temperature=TEMPERATURE, quantile=0.0))
    rows = []
    for name, other in {
        "moco in plain PyTorch": plain_moco(0, STEPS, 128),
        "keep=1": moco(0, STEPS, 128, symmetric=False, keep=1.0),
        "the filter with k = K": every,
        "keep=0.5": moco(0, STEPS, 128, symmetric=False, keep=0.5),
    }.items():
        far = float((own - other).norm() / own.norm())
        rows.append([name, "the same bits" if torch.equal(own, other) else f"{far:.1e}"])
    table(["moco, symmetric=false, beside", "distance of the weights after 20 steps, relative"], rows)


def main(chosen: argparse.Namespace) -> None:
    """Whether it reproduces MoCo, then a row for each k."""
    same(chosen)
    sets = everything()
    ways: dict[str, dict[str, Any]] = {f"{QUEUE}, one way (MoCo)": {"symmetric": False}}
    ways |= {f"{k}, both ways": {"keep": k / QUEUE} for k in KEPT}
    hits, cost = dict[str, list[Any]](), dict[str, list[float]]()
    for seed in range(chosen.seeds):
        for way, options in ways.items():
            learned = learn("moco", {"queue": QUEUE, **options}, sets, seed, chosen.steps)
            hits.setdefault(way, []).append(learned.hits(sets))
            cost.setdefault(way, []).append(learned.cost)
    base = f"{QUEUE}, both ways"
    rows = [
        [way, cell(scores), "" if way == base else gain(scores, hits[base]), f"{min(cost[way]):.0f}"]
        for way, scores in hits.items()
    ]
    table([f"far keys kept of {QUEUE}", "kNN accuracy", "less all, both ways", "CPU ms a step"], rows)
