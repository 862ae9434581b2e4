"""What all claims share: a small net that learns for some seconds, what its neighbours are worth, and tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.little import Net, clothes, pictures
from nearfar.data.batch import Batch
from nearfar.evaluation import bootstrap_mean, knn_predict, nearest, paired_difference
from nearfar.methods import find
from nearfar.modalities.images.recipes import RECIPES, ViewRecipe
from nearfar.modalities.images.views import ImageViews

Watch = Callable[[Any, int, list[Any], Batch], None]  # the method, the step, its projections and the batch
LIGHT = RECIPES["digits"][0].at(0.6)


@dataclass(frozen=True)
class Sets:
    """Pictures and classes to train on, and to test on."""

    images: Tensor
    labels: np.ndarray
    test: Tensor
    truth: np.ndarray

    def some(self, rows: np.ndarray) -> Sets:
        """With these pictures alone to train on."""
        return Sets(self.images[rows], self.labels[rows], self.test, self.truth)


def everything() -> Sets:
    """All bundled clothes as 8 x 8 pixels."""
    return Sets(*clothes())


def balanced(count: int, seed: int) -> Sets:
    """So many of the training pictures, as many of each class."""
    sets, drawn = everything(), np.random.default_rng(seed)
    order = drawn.permutation(len(sets.labels))
    kept = [order[sets.labels[order] == c][: count // 10] for c in range(10)]
    return sets.some(np.concatenate(kept))


def views_of(count: int = 2, recipe: ViewRecipe = LIGHT) -> ImageViews:
    """So many views of such pictures."""
    return ImageViews(size=8, channels=1, count=count, recipe=recipe)


@dataclass
class Learned:
    """A trained method, and the CPU milliseconds of a step."""

    method: Any
    cost: float

    def vectors(self, rows: Tensor) -> np.ndarray:
        """Embeddings of pictures."""
        with torch.no_grad():
            found: np.ndarray = self.method.embed(pictures().plain(rows)).numpy()
        return found

    def hits(self, sets: Sets) -> np.ndarray:
        """Which test pictures are given their class by their 20 nearest training pictures."""
        found = knn_predict(self.vectors(sets.images), sets.labels, self.vectors(sets.test), k=20)
        return (found == sets.truth).astype(float)

    def purity(self, sets: Sets, k: int = 10) -> np.ndarray:
        """Share of the k test pictures nearest to each that are of its class."""
        rows, ids = self.vectors(sets.test), np.arange(len(sets.truth))
        near = nearest(rows, rows, k, exclude=ids)
        return np.asarray((sets.truth[near.index] == sets.truth[:, None]).mean(1))


def learn(
    name: str,
    options: dict[str, Any],
    sets: Sets,
    seed: int,
    steps: int,
    batch: int = 128,
    *,
    views: ImageViews | None = None,
    rate: float = 1e-3,
    falls: tuple[float, ...] = (),
    change: Callable[[Any], None] | None = None,
    watch: Watch | None = None,
) -> Learned:
    """Train a method by AdamW; first weights, batches and views depend on the seed alone.

    The rate follows a cosine, or falls to a tenth after each share of the steps in `falls`. `change` may alter the
    method before it learns; `watch` sees every step.
    """
    torch.manual_seed(seed)
    kind, views = find(name), views or views_of()
    method: Any = kind(Net(), kind.Options(**options))
    if change is not None:
        change(method)
    optimiser = torch.optim.AdamW(method.parameters(), lr=rate, weight_decay=1e-2)
    slower: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    if falls:
        slower = torch.optim.lr_scheduler.MultiStepLR(optimiser, [round(share * steps) for share in falls])
    drawn, spent = torch.Generator().manual_seed(seed), 0.0
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < batch:  # every picture once in an epoch
            order = torch.randperm(len(sets.images), generator=drawn)
        ids, order = order[:batch], order[batch:]
        made = views(sets.images[ids], drawn)
        begun = time.process_time()
        optimiser.zero_grad()
        projections = [method.project(view) for view in made]
        method.contrast(projections, Batch(made, ids)).loss.backward()
        optimiser.step()
        slower.step()
        method.after_step(step, steps)
        spent += time.process_time() - begun
        if watch is not None:
            with torch.no_grad():
                watch(method, step, projections, Batch(made, ids))
    return Learned(method.eval(), 1e3 * spent / max(1, steps))


def cell(scores: Sequence[np.ndarray]) -> str:
    """Mean over seeds and items with its interval, resampled over items and seeds."""
    return bootstrap_mean("", np.stack(scores)).short()


def gain(scores: Sequence[np.ndarray], base: Sequence[np.ndarray]) -> str:
    """Paired difference over the same test pictures, seeds averaged."""
    found = paired_difference(np.stack(scores), np.stack(base))
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)
