"""Negatives that are mined once, and replaced query by query when they are no longer hard for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .data.source import Source
from .methods.method import Method
from .mining import Exact, Replacement, Top
from .mining.found import NOBODY
from .mining.settings import MiningSettings
from .renewing import Renewal
from .training.rng import preserved

if TYPE_CHECKING:
    from .run import Run


class Replacing(Renewal):
    """Keeps a list of candidates for each query, and moves on in it when what stands there has become easy (Conan).

    Before the first such update up to `depth` candidates of each query are mined (see `Renewal`), of which the first
    `negatives` serve. All `replace_every` updates the model scores the negatives of all queries: where `replace_ratio`
    times their mean score is below what it was when they came, and it is itself below `replace_below`, the next ones in
    the list take their place. Only queries, their partners and their negatives are embedded for that.
    Source: Li et al. 2024 (Conan-embedding), reconstructed; there scores are those of the training batches.
    """

    windows: Replacement

    def __init__(self, run: Run, method: Method, pairs: Source, settings: MiningSettings) -> None:
        super().__init__(run, method, pairs, settings)
        self.windows = self._listed(np.full((len(self.source.queries), settings.depth), NOBODY))

    def _listed(self, candidates: np.ndarray) -> Replacement:
        settings = self.settings
        how = settings.replace_ratio, settings.replace_below, settings.replace_skip
        return Replacement(candidates, settings.negatives, *how)

    def __call__(self, step: int) -> dict[str, float]:
        """Mine before the first update, else look at the negatives of all queries, and replace.

        Returns:
            Queries; of the mining how many of them have fewer negatives than asked for; the mean scores of negatives
            and positives, before any is replaced; of a look the queries whose negatives were `replaced`, the mean score
            of those before and after, and how far on the lists all queries are in the mean, in windows.
        """
        rows = np.arange(len(self.source.queries))
        if step == self.first:
            mined = self.mined(rows, self.settings.depth, Top(), step)
            self.windows = self._listed(mined.negatives(rows, self.settings.depth))
            self.source.table[:] = self.windows.of(rows)
            negative, positive = self._scores(rows)
            self.windows.look(rows, negative)
            short = int((self.source.table == NOBODY).any(axis=1).sum())
            return {"queries": len(rows), "short": short, **_means(negative, positive)}
        negative, positive = self._scores(rows)
        moved = rows[self.windows.look(rows, negative)]
        self.source.table[:] = self.windows.of(rows)
        found = {"queries": len(rows), **_means(negative, positive), "replaced": len(moved)}
        if len(moved):
            fresh = self._scores(moved)[0]
            self.windows.look(moved, fresh)
            found |= {"easy_mean": _mean(negative[moved]), "fresh_mean": _mean(fresh)}
        return found | {"window_mean": float(self.windows.window.mean())}

    def _scores(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, n) scores of the negatives of some queries, and (B, P) of their partners; NaN where there is none."""
        chosen, partners = self.windows.of(rows), self._near.of(rows)
        asked = np.concatenate([chosen, partners], axis=1)
        documents = np.unique(asked[asked != NOBODY])
        with preserved():
            asking, sought = (
                self.run.vectors_of(self.method, side, progress=False)
                for side in (self.source.queries.select(rows), self.source.documents.select(documents))
            )
        places = np.where(asked == NOBODY, NOBODY, np.searchsorted(documents, asked))
        scores = np.where(asked == NOBODY, np.nan, Exact(asking, sought).score(np.arange(len(rows)), places))
        return scores[:, : chosen.shape[1]], scores[:, chosen.shape[1] :]

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: the lists, and where every query is in its own."""
        held = {name: torch.from_numpy(value) for name, value in self.windows.state().items()}
        return super().state() | {"candidates": torch.from_numpy(self.windows.candidates.copy()), **held}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state(state)
        self.windows = self._listed(state["candidates"].cpu().numpy())
        self.windows.load_state({name: state[name].cpu().numpy() for name in ("window", "installed")})


def _means(negative: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    return {"negative_mean": _mean(negative), "positive_mean": _mean(positive)}


def _mean(scores: np.ndarray) -> float:
    """The mean of what is there; 0 where nothing is."""
    there = scores[~np.isnan(scores)]
    return float(there.mean()) if len(there) else 0.0
