"""MoCo with moved pairs and mixed keys (feature transformation), and with mixtures of the hardest keys (MoCHi)."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from benchmarks.claims.common import cell, everything, gain, learn, table
from benchmarks.claims.drawing import Shown, draw
from nearfar.data.batch import Batch
from nearfar.models import hard_mixtures

QUEUE, BATCH = 512, 64
MOVED: dict[str, dict[str, Any]] = {
    "MoCo": {},
    "extrapolate": {"extrapolate": 2.0},
    "interpolate": {"interpolate": 1.6},
    "both": {"extrapolate": 2.0, "interpolate": 1.6},
}
MIXED: dict[str, dict[str, Any]] = {
    "MoCo": {},
    "64, 16, 16": {"hardest": 64, "mixed": 16, "mixed_with_query": 16},
    "64, 64, 0": {"hardest": 64, "mixed": 64, "mixed_with_query": 0},
    "256, 64, 64": {"hardest": 256, "mixed": 64, "mixed_with_query": 64},
}


def looked_at(method: Any, views: list[Any], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines of the queries with their keys (B,) and with the queue (B, M), neither moved nor mixed."""
    query, key = normalize(views[0]["projection"], dim=1), views[1]["key"]
    held, ids = method.queue.rows()
    return (query * key).sum(1), (query @ held.T).masked_fill(batch.ids[:, None] == ids, torch.nan)


def measured(ways: dict[str, dict[str, Any]], chosen: argparse.Namespace) -> tuple[list[list[str]], dict[str, Any]]:
    """A row for each way: kNN accuracy, and of the last quarter of the steps scores and how often the key is found."""
    sets, hits = everything(), dict[str, list[Any]]()
    course: dict[str, list[list[list[float]]]] = {}
    for way, options in ways.items():
        for seed in range(chosen.seeds):
            seen: list[list[float]] = []

            def watch(method: Any, step: int, views: list[Any], batch: Batch, seen: list[Any] = seen) -> None:
                if len(method.queue) < QUEUE:
                    return
                near, far = looked_at(method, views, batch)
                known = far[far.isfinite()]
                found = (near > far.nan_to_num(-2).amax(1)).double().mean()
                seen.append([step, *map(float, (near.mean(), near.var(), known.mean(), known.var(), found))])

            learned = learn("moco", {"queue": QUEUE, **options}, sets, seed, chosen.steps, BATCH, watch=watch)
            hits.setdefault(way, []).append(learned.hits(sets))
            course.setdefault(way, []).append(seen)
    rows, curves = [], {}
    for way, scores in hits.items():
        curve = np.array(course[way]).mean(0)
        late = curve[-len(curve) // 4 :].mean(0)
        curves[way] = curve
        less = "" if way == "MoCo" else gain(scores, hits["MoCo"])
        figures = [f"{late[1]:.3f} ({late[2]:.4f})", f"{late[3]:.3f} ({late[4]:.4f})", f"{late[5]:.3f}"]
        rows.append([way, cell(scores), less, *figures])
    return rows, curves


HEAD = ["kNN accuracy", "less MoCo", "near: mean (variance)", "far: mean (variance)", "key found"]


def moved(chosen: argparse.Namespace) -> None:
    """Feature transformation, with its monitor of scores."""
    rows, curves = measured(MOVED, chosen)
    table(["switches", *HEAD], rows)
    if chosen.pictures:
        shown = [Shown(way, curve[:, 0], _smooth(curve[:, 1]), "line") for way, curve in curves.items()]
        title = "Mean cosine of query and key while MoCo learns, by switch"
        draw(chosen.pictures / "claims-moved.svg", title, "step", "mean cosine of near pairs", shown)


def mixed(chosen: argparse.Namespace) -> None:
    """MoCHi: a sweep, and how hard what is mixed is beside what it is made of."""
    table(["hardest, of two, with the query", *HEAD], measured(MIXED, chosen)[0])
    last = dict[str, Any]()

    def watch(method: Any, step: int, views: list[Any], batch: Batch) -> None:
        last.update(method=method, views=views, batch=batch)

    sets = everything()
    learn("moco", {"queue": QUEUE, **MIXED["64, 16, 16"]}, sets, 0, chosen.steps, BATCH, watch=watch)
    method, batch = last["method"], last["batch"]
    query = normalize(last["views"][0]["projection"].detach(), dim=1)
    held, ids = method.queue.rows()
    usable = batch.ids[:, None] != ids
    made = hard_mixtures(query, held, usable, 64, 64, 64)
    cosines = (made @ query[:, :, None]).squeeze(2)
    scores = (query @ held.T).masked_fill(~usable, -torch.inf)
    hardest = scores.topk(64, 1)
    labels = torch.as_tensor(sets.labels)
    same = labels[ids] == labels[batch.ids][:, None]
    shares = {"queue": same[usable], "64 hardest": same.gather(1, hardest.indices)}
    kinds = {
        "queue": scores[usable],
        "64 hardest": hardest.values.flatten(),
        "of two": cosines[:, :64].flatten(),
        "with the query": cosines[:, 64:].flatten(),
    }
    own = (query * last["views"][1]["key"]).sum(1)
    rows = []
    for kind, part in {**kinds, "its own key, which is near": own}.items():
        share = f"{shares[kind].double().mean():.3f}" if kind in shares else ""
        rows.append([kind, *(f"{v:.3f}" for v in np.quantile(part.numpy(), [0.05, 0.5, 0.95])), share])
    table(["rows", "cosine with the query: 5th hundredth", "median", "95th", "of the query's class"], rows)
    if chosen.pictures:
        edges = np.linspace(0, 1, 51)
        bars = [
            Shown(kind, edges, np.histogram(part.numpy(), edges)[0] / len(part), "bars") for kind, part in kinds.items()
        ]
        title = "How hard far rows are: cosines with the query, MoCHi"
        draw(chosen.pictures / "claims-mochi.svg", title, "cosine", "share of the rows", bars)


def main(chosen: argparse.Namespace) -> None:
    """The one that was asked for."""
    (moved if chosen.name == "feature_transform" else mixed)(chosen)


def _smooth(values: np.ndarray, width: int = 9) -> np.ndarray:
    """Running means; the ends are of fewer values."""
    count = np.convolve(np.ones_like(values), np.ones(width), "same")
    return np.asarray(np.convolve(values, np.ones(width), "same") / count)
