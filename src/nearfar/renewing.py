"""Negatives and batches that follow the model of a run: mined anew while it is trained, planned before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .data.clusters import ClusterSampler
from .data.sampling import EpochSampler
from .data.source import Source
from .errors import ConfigError, DataError
from .methods.method import Method
from .mining import Exact, Mined, Mining, Near, SameText, clusters, communities, mutual_ranks, text_keys
from .mining.mining import join
from .mining.refresh import overlap, part_of
from .mining.settings import MiningSettings
from .mining.vectors import blocks
from .training import TrainingSettings
from .training.rng import preserved

if TYPE_CHECKING:
    from .run import Run


class Renewal:
    """Mines the negatives of pairs by the model as it is, every so many updates (see `MiningSettings`).

    Before such an update all anchors and all that is sought are embedded in evaluation mode, the nearest documents
    found exactly, filtered, and drawn from. Source: Xiong et al. 2020 (ANCE).

    Attributes:
        source: the pairs with the negatives that there are now.
        every, first: updates between two minings, and before the first one.

    Raises:
        ConfigError: a method that has no use for given negatives, or data of another modality. DataError: texts that
        are no pairs, or that have scores.
    """

    def __init__(self, run: Run, method: Method, pairs: Source, settings: MiningSettings) -> None:
        every = settings.refresh or settings.replace_every
        assert every is not None
        what = "refresh" if settings.refresh else "replace_every"
        if not method.takes_far:
            raise ConfigError(f"{what} mines negatives, and {method.name} has no use for them; use the method pairs")
        if not hasattr(pairs, "mined"):
            raise ConfigError(f"{what} mines negatives of pairs of texts, and these data are {pairs.kind}")
        self.run, self.method, self.settings = run, method, settings
        self.every, self.first = every, settings.refresh_from
        self.source: Any = pairs.mined(settings.negatives, _all_documents(run))
        sides = self.source.queries, self.source.documents
        self._near = Near(self.source.near, *(len(side) for side in sides))
        self._same = SameText(*(text_keys(next(iter(side.columns.values()))) for side in sides))

    def due(self, step: int) -> bool:
        """Whether negatives are mined before this update, from 0."""
        return step >= self.first and (step - self.first) % self.every == 0

    def __call__(self, step: int) -> dict[str, float]:
        """Mine now, for update `step`.

        Returns:
            How many queries were mined; how many of them have fewer negatives than asked for; the mean scores of their
            negatives and positives; and the share of their negatives that they had before, but for the first time.
        """
        settings, source = self.settings, self.source
        rows = part_of(len(source.queries), (step - self.first) // self.every, settings.refresh_parts)
        mined = self.mined(rows, settings.negatives, settings.sampler(), step)
        fresh, before = mined.negatives(rows, settings.negatives), source.table[rows]
        source.table[rows] = fresh
        known = (before >= 0).any(axis=1)
        return self.figures(mined, rows) | ({"overlap": overlap(before[known], fresh[known])} if known.any() else {})

    def mined(self, rows: np.ndarray, count: int, sampler: Any, seed: int) -> Mined:
        """Up to `count` negatives of some queries, by the model as it is."""
        settings, source = self.settings, self.source
        with preserved():
            queries, documents = (
                self.run.vectors_of(self.method, side, progress=False) for side in (source.queries, source.documents)
            )
        depth = max(count, min(settings.depth, len(source.documents)))
        mining = Mining(
            Exact(queries, documents),
            self._near,
            [self._same, *settings.filters()],
            sampler,
            count,
            depth,
            seed=seed,
        )
        return join([mining.mine(rows[part]) for part in blocks(len(rows), mining.block)])

    @staticmethod
    def figures(mined: Mined, rows: np.ndarray) -> dict[str, float]:
        """What is logged of a mining."""
        return {
            "queries": len(rows),
            "short": mined.counts["short queries"],
            "negative_mean": float(mined.score.mean()) if len(mined) else 0.0,
            "positive_mean": float(mined.near.mean()) if len(mined) else 0.0,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: the negatives that there are."""
        return {"negatives": torch.from_numpy(self.source.table.copy())}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.source.table[:] = state["negatives"].cpu().numpy()


def minings(history: Sequence[Mapping[str, Any]]) -> str:
    """What was found while a model learned, as a table of the lines of `metrics.jsonl` that say it; "" without any.

    >>> print(minings([{"step": 1, "renewed": {"queries": 9}}, {"step": 5, "renewed": {"queries": 9, "overlap": 0.5}}]))
    step  queries  overlap
       1        9
       5        9    0.500
    """
    lines = [(line["step"], line.get("renewed", {}) | line.get("watched", {})) for line in history if "renewed" in line]
    lines += [(line["step"], line["watched"]) for line in history if "watched" in line and "renewed" not in line]
    names = list(dict.fromkeys(name for _, found in lines for name in found))
    if not any("renewed" in line for line in history):
        return ""
    rows = [["step", *(name.replace("_", " ") for name in names)]]
    for step, found in sorted(lines, key=lambda line: line[0]):
        cells = [found.get(name) for name in names]
        rows.append([str(step), *("" if c is None else f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)).rstrip() for row in rows)


def planned(run: Run, method: Method, source: Source, settings: MiningSettings) -> ClusterSampler:
    """Batches of what the encoder finds alike before it is trained.

    "clusters": of the first texts of items, by k-means (TAS-B, embed and cluster); "communities": of items whose two
    parts rank each other high (B3; of items of one part, whose vectors do).

    Raises:
        ConfigError: a method that chooses its batches itself, or a batch that clusters do not divide. DataError: too
        few items.
    """
    training = TrainingSettings(**run.config["training"])
    size = min(training.batch_size, len(source))
    if not isinstance(method.sampler(source, size, training.seed), EpochSampler):
        raise ConfigError(f"{method.name} chooses its batches itself; leave out batches = {settings.batches}")
    if size % settings.clusters_per_batch:
        raise ConfigError(f"batch_size = {size} is no multiple of clusters_per_batch = {settings.clusters_per_batch}")
    sides = source.parts()
    with preserved():
        vectors = [run.vectors_of(method, side, progress=False) for side in sides[:2]]
    if settings.batches == "clusters":
        groups = clusters(vectors[0], settings.clusters or max(1, len(source) // (4 * size)), training.seed)
    else:
        skip, keep = settings.rank_skip, settings.rank_keep
        if len(source) <= skip + keep:
            raise DataError(
                f"communities ask for the {skip + keep} best ranks (rank_skip + rank_keep) of each item, and there are "
                f"{len(source)} items; lower them"
            )
        edges = mutual_ranks(vectors[0], vectors[-1], skip, keep)
        groups = communities(edges, len(source), size // settings.clusters_per_batch)
    return ClusterSampler(groups, size, training.seed, settings.clusters_per_batch)


def _all_documents(run: Run) -> Sequence[str]:
    """All documents of the collection that the pairs of a run are of; none where they are of other data."""
    path = Path(run.config["data"])
    found = run.modality.collection(path, run.options, "train") if path.exists() else None
    return () if found is None else next(iter(found.documents.columns.values()))  # type: ignore[attr-defined]
