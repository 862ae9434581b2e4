"""Candidates that share rare words with the query: BM25."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nearfar.errors import DataError

from .found import NOBODY, Found, found


class BM25:
    """Search by words through bm25s, in the form of Lucene: lower-cased words of two letters or more.

    A document without a word of the query is no candidate. **Of equal scores the lower row comes first.**

        score(q, d) = sum over words w of q of idf(w) f(w, d) / (f(w, d) + k1 (1 - b + b |d| / mean |d|))

    Raises:
        ImportError: bm25s is not installed. DataError: there are no texts, or none of the corpus holds a word.

    Source: Robertson and Zaragoza 2009; Kamphuis et al. 2020 (the form of Lucene).

    Example:
        >>> miner = BM25(["a red fox"], ["the dog", "one red fox", "red leaves"])      # doctest: +SKIP
        >>> miner.find(np.array([0]), k=3).index.tolist()                              # doctest: +SKIP
        [[1, 2, -1]]
    """

    name = "bm25"

    def __init__(self, queries: Sequence[str], corpus: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        if not len(queries) or not len(corpus):
            raise DataError("BM25 needs at least one query and one document")
        self._bm25s = _bm25s()
        self._queries, self._corpus, self._k1, self._b = queries, corpus, k1, b
        self.queries, self.documents = len(queries), len(corpus)

    def find(self, rows: np.ndarray, k: int) -> Found:
        """The k best candidates of each query (B,); -1 where fewer documents share a word with it.

        Raises:
            DataError: k is larger than the corpus.
        """
        if not 1 <= k <= self.documents:
            raise DataError(f"k = {k} candidates asked of a corpus of {self.documents}; choose 1 to {self.documents}")
        index = np.full((len(rows), k), NOBODY, dtype=np.int64)
        scores = np.full((len(rows), k), -np.inf)
        for place, row in enumerate(rows):
            every = self._every(int(row))
            # The k-th best score lets all of its equals in; then the lower rows come first.
            least = np.partition(every, -k)[-k]
            documents = np.flatnonzero((every >= least) & (every > 0))
            documents = documents[np.argsort(-every[documents], kind="stable")][:k]
            index[place, : len(documents)], scores[place, : len(documents)] = documents, every[documents]
        return found(self.name, index, scores)

    def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(B, K) scores of documents (B, K) for queries (B,); -inf where index is -1."""
        scores = np.stack([self._every(int(row))[documents] for row, documents in zip(rows, index, strict=True)])
        return np.where(index == NOBODY, -np.inf, scores)

    @cached_property
    def _index(self) -> tuple[Any, dict[str, int]]:
        words = [_words(text) for text in self._corpus]
        known = {word: number for number, word in enumerate(sorted({word for text in words for word in text}))}
        if not known:
            raise DataError("BM25: no document of the corpus holds a word of two letters or more")
        index = self._bm25s.BM25(k1=self._k1, b=self._b, method="lucene")
        index.index(([[known[word] for word in text] for text in words], known), show_progress=False)
        return index, known

    def _every(self, row: int) -> np.ndarray:
        """(N,) scores of all documents for one query."""
        index, known = self._index
        words = [known[word] for word in _words(self._queries[row]) if word in known]
        if not words:
            return np.zeros(self.documents)
        return np.asarray(index.get_scores_from_ids(words), dtype=np.float64)


def _words(text: str) -> list[str]:
    return re.findall(r"\w\w+", text.lower())


def _bm25s() -> Any:
    try:
        import bm25s
    except ImportError:
        raise ImportError("mining by BM25 needs bm25s: pip install 'nearfar[text]'") from None
    return bm25s
