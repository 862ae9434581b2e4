"""Scores of pairs of a query and a document by what a run learned: by cosine, by its own similarity, by reading both.

They are slower than vectors and an index, and more exact: what a search has found is put in order by them, and they
guide the filters of a mining.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .contrast.blocks import pair_scores
from .contrast.tokens import HELD, TokenSimilarity
from .data.source import Source
from .errors import ConfigError
from .methods.ar2 import AR2
from .methods.pairs import Pairs
from .methods.ranker import Ranker
from .mining import Exact, PairScorer
from .mining.found import NOBODY, Scorer
from .mining.vectors import blocks
from .opening import open_run
from .run import Run
from .store import Hit
from .training import TrainingSettings

BATCH = 256


class Interaction:
    """Scores by the similarity that a run of `pairs` learned with, such as the best matches of tokens (max-sim).

    All queries are projected once, and the documents that are asked for block by block, each once in a call: what is
    held is the queries, a block of documents, and a few pairs.

    Args:
        queries, documents: sources of the run's modality.
        batch_size: rows that are projected at a time, and documents in a block.
    """

    name = "interaction"

    def __init__(self, run: Run, queries: Source, documents: Source, batch_size: int = BATCH) -> None:
        self.run, self.queries, self.documents, self.batch_size = run, queries, documents, batch_size
        method = run.method
        assert isinstance(method, Pairs)
        self.method, self.device = method, _device(run)
        self.similarity: Any = method.objective.similarity
        self._views = run.modality.views(run.config["source"], 2, run.options, method.encoder)

    def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(B, K) scores of documents (B, K) for queries (B,); -inf where index is -1."""
        scores = np.full(index.shape, -np.inf)
        lines, columns = np.nonzero(index != NOBODY)
        documents = index[lines, columns]
        order = np.argsort(documents, kind="stable")
        lines, columns, documents = lines[order], columns[order], documents[order]
        asked, query = np.unique(rows[lines], return_inverse=True)
        sought, starts = np.unique(documents, return_index=True)
        starts = np.append(starts, len(documents))
        with torch.inference_mode(), _still(self.method, self.device):
            own = [self._projected(self.queries, asked[part]) for part in blocks(len(asked), self.batch_size)]
            width = max((rows.shape[1] for rows in own), default=0)
            anchors = torch.cat([pad(rows, (0, width - rows.shape[1])) for rows in own]) if own else None
            for part in blocks(len(sought), self.batch_size):
                assert anchors is not None
                u, v = self.similarity.prepare(anchors, self._projected(self.documents, sought[part]), 1.0)
                first, last = starts[part.start], starts[part.stop]
                place = np.searchsorted(sought[part], documents[first:last])
                found = [
                    pair_scores(self.similarity, u[query[first:last][some]], v[place[some]])
                    for some in blocks(last - first, self._together(u, v))
                ]
                scores[lines[first:last], columns[first:last]] = torch.cat(found).double().cpu().numpy()
        return scores

    def _projected(self, source: Source, rows: np.ndarray) -> Tensor:
        projection: Any = self.method.project(self._views.plain(source.rows(rows)).to(self.device))
        return self.method.compared([projection])[0].float()

    def _together(self, u: Tensor, v: Tensor) -> int:
        """Pairs that are scored at a time."""
        if not isinstance(self.similarity, TokenSimilarity):
            return HELD // max(1, u.shape[1])
        width = self.similarity.token_width
        return max(1, HELD // max(1, (u.shape[1] // width) * (v.shape[1] // width) + u.shape[1] + v.shape[1]))


def judge_of(run: Run, batch_size: int = 64) -> Any:
    """A function of a list of pairs of texts that gives their scores by a run of `ranker` or `ar2`."""
    ranker = ranker_in(run)
    assert ranker is not None
    ranker.to(_device(run))
    views: Any = run.modality.views(run.config["source"], 2, run.options, ranker.encoder).joint()  # type: ignore[attr-defined]

    def judge(pairs: list[tuple[str, str]]) -> np.ndarray:
        return ranker.scored(views, pairs, batch_size)

    return judge


def ranker_in(run: Run) -> Ranker | None:
    """The judge of pairs that a run has trained, None where it has none."""
    return run.method.ranker if isinstance(run.method, AR2) else run.method if isinstance(run.method, Ranker) else None


def scorer_of(run: Run, queries: Source, documents: Source, batch_size: int = BATCH) -> Scorer:
    """What scores pairs of these queries and documents by their rows as a run learned to.

    A run of `ranker` or `ar2` reads both texts at once; one of `pairs` with another similarity than cosine scores by
    that; of any other the cosines of vectors are the scores.

    Raises:
        ConfigError: a run of `ranker`, and data that are no texts.
    """
    if ranker_in(run) is not None:
        return PairScorer(judge_of(run), _texts(queries), _texts(documents))
    if isinstance(run.method, Pairs) and run.method.options.similarity != "cosine":
        return Interaction(run, queries, documents, batch_size)
    sides = [run.vectors_of(run.method, side, False, batch_size) for side in (queries, documents)]
    return Exact(sides[0], sides[1])


def reranker(run: str | Path | Run) -> Callable[[str, Sequence[Hit]], list[float]]:
    """A function of words and of what a search in a store has found for them, that gives the scores of a run.

    It is what `nearfar.storing.search` takes as `rerank`.

    Raises:
        ConfigError: when called on rows without text, or as of `scorer_of`.
    """

    def scores(words: str, hits: Sequence[Hit]) -> list[float]:
        if not hits:
            return []
        texts = [hit.columns.get("text") for hit in hits]
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError("texts are put in order by what they say, and this store holds rows without text")
        from .modalities.text.source import TextSource

        documents = TextSource({"document": [str(text) for text in texts]})
        opened = run if isinstance(run, Run) else open_run(run, documents)
        scorer = scorer_of(opened, TextSource({"query": [words]}), documents)
        found: list[float] = scorer.score(np.zeros(1, dtype=np.int64), np.arange(len(hits))[None])[0].tolist()
        return found

    return scores


def _texts(source: Source) -> list[str]:
    columns: dict[str, Sequence[str]] | None = getattr(source, "columns", None)
    if columns is None:
        raise ConfigError(f"a run of ranker judges pairs of texts, and these data are {source.kind}")
    return list(next(iter(columns.values())))


def _device(run: Run) -> torch.device:
    return TrainingSettings(**run.config["training"]).resolve_device()


@contextmanager
def _still(method: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """In evaluation mode, on a device."""
    training = method.training
    method.to(device).eval()
    try:
        yield
    finally:
        method.train(training)
