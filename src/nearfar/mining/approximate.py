"""Approximate search through faiss, for corpora where exact search takes too long; scores are exact all the same."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from nearfar.errors import ConfigError, DataError

from .exact import Exact
from .found import Found, found
from .vectors import Similarity, blocks, fast_rows

_ADDED = 16384


class Approximate:
    """Candidates of an index of faiss: a graph (HNSW) or cells (IVF). What it finds is scored exactly.

    The index is built from the vectors before the first search, on one thread, so that it is the same each time.

    Args:
        queries, corpus, similarity: as for `Exact`.
        index: "hnsw", or "ivf" with about sqrt(N) cells (at most N / 39, so that each is trained on enough).
        effort: how much of the index a search looks at: candidates of the graph, or cells. More finds more.

    Raises:
        ImportError: faiss is not installed. ConfigError: unknown index. DataError: as for `Exact`.

    Source: Malkov and Yashunin 2018 (HNSW); Jegou et al. 2011 (inverted file).
    """

    def __init__(
        self,
        queries: np.ndarray,
        corpus: np.ndarray,
        similarity: Similarity = "cosine",
        index: Literal["hnsw", "ivf"] = "hnsw",
        effort: int = 128,
        seed: int = 0,
    ) -> None:
        if index not in ("hnsw", "ivf"):
            raise ConfigError(f"unknown index {index!r}; choose hnsw or ivf")
        if effort < 1:
            raise ConfigError(f"effort must be 1 or more, not {effort}")
        self._exact = Exact(queries, corpus, similarity, "float32")
        self._faiss = _faiss()
        self._queries, self._corpus = queries, corpus
        self.name, self.effort, self.seed, self.similarity = index, effort, seed, similarity
        self.queries, self.documents = self._exact.queries, self._exact.documents

    @property
    def looks(self) -> Any:
        """See `Exact.looks`."""
        return self._exact.looks

    def find(self, rows: np.ndarray, k: int) -> Found:
        """The k best candidates that the index finds for each query (B,); -1 where it finds fewer.

        Raises:
            DataError: k is larger than the corpus.
        """
        if not 1 <= k <= self.documents:
            raise DataError(f"k = {k} candidates asked of a corpus of {self.documents}; choose 1 to {self.documents}")
        anchors = fast_rows(self._queries, rows, self.similarity, torch.float32).numpy()
        _, index = self._index(k).search(anchors, k)
        index = index.astype(np.int64)
        scores = self._exact.score(rows, index)
        order = np.lexsort((index, -scores), axis=1)
        return found(self.name, np.take_along_axis(index, order, 1), np.take_along_axis(scores, order, 1))

    def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """See `Exact.score`."""
        return self._exact.score(rows, index)

    def _index(self, k: int) -> Any:
        built = self._built
        if self.name == "hnsw":
            built.hnsw.efSearch = max(self.effort, k)
        else:
            built.nprobe = self.effort
        return built

    @cached_property
    def _built(self) -> Any:
        _ = self._exact.looks  # refuses NaN before faiss meets it
        faiss, width = self._faiss, self._corpus.shape[1]
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            if self.name == "hnsw":
                built = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
            else:
                cells = max(1, min(int(self.documents**0.5), self.documents // 39))
                quantiser = faiss.IndexFlatIP(width)
                built = faiss.IndexIVFFlat(quantiser, width, cells, faiss.METRIC_INNER_PRODUCT)
                built.cp.seed = self.seed
                chosen = np.random.default_rng(self.seed).permutation(self.documents)[: 256 * cells]
                built.train(fast_rows(self._corpus, np.sort(chosen), self.similarity, torch.float32).numpy())
                built.own_fields, self._quantiser = False, quantiser
            for part in blocks(self.documents, _ADDED):
                built.add(fast_rows(self._corpus, part, self.similarity, torch.float32).numpy())
        finally:
            faiss.omp_set_num_threads(threads)
        return built


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ImportError("approximate mining needs faiss: pip install 'nearfar[text]'") from None
    return faiss
