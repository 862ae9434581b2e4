"""The k best documents of every query, exactly, at the speed of matrix products in a small type.

Scores are defined in float64. A pass in bfloat16 (or float32) over blocks of the corpus throws out every document
that can not be among the k best: with |q - q'| and |c - c'| the measured errors of rounding a row,

    |q . c - q' . c'| <= |q - q'| |c| + |q'| |c - c'| + rounding of the product,

so a document whose rounded score is more than twice this below the k-th best rounded score is out. The few that are
left are scored in float64 and put in order. A query with so many near ties that they would not fit into its room is
searched again in the next larger type; in float64 the k best alone are kept, so memory is bounded whatever the data.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import ConfigError, DataError

from .found import NOBODY, Found, found
from .vectors import SHORTEST, Look, Similarity, as_table, blocks, fast_rows, lengths, look, same_width

CORPUS_BLOCK = 2048
_GRID = 2.0**30  # scores that differ by less of the largest possible one are ties; far above the rounding of float64
_TYPES = (torch.bfloat16, torch.float32, torch.float64)
_UNIT = {torch.bfloat16: 1.01 * 2.0**-8, torch.float32: 2.0**-23}  # of rounding one product, a little above
_SCORED = 2**17  # numbers of float64 that are scored at once: they fit into a cache
_KEPT = 2**28  # bytes of a corpus that is kept in the small type; a larger one is made of it block by block


class Exact:
    """Exact search by cosine or inner product; **of equal scores the lower row of the corpus comes first**.

    The answer depends neither on the block sizes nor on the type of the first pass. Memory is one block of scores
    (query rows x 2048) and the rows that are being compared; queries and corpus may lie on disk (`open_vectors`).

    Args:
        queries, corpus: (Q, D) and (N, D) arrays, also memory-mapped.
        similarity: "cosine" or "dot".
        precision: type of the first pass, "bfloat16" or "float32"; the faster one on this machine when None.

    Raises:
        DataError: other shapes, widths that differ, NaN or infinity. ConfigError: unknown similarity or precision.

    Example:
        >>> miner = Exact(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]]))
        >>> miner.find(np.array([0]), k=2).index.tolist()
        [[2, 1]]
    """

    name = "exact"

    def __init__(
        self,
        queries: np.ndarray,
        corpus: np.ndarray,
        similarity: Similarity = "cosine",
        precision: str | None = None,
    ) -> None:
        self._queries, self._corpus = as_table(queries, "queries"), as_table(corpus, "corpus")
        same_width(self._queries, self._corpus)
        if precision not in (None, "bfloat16", "float32"):
            raise ConfigError(f"precision is bfloat16 or float32, not {precision!r}")
        self.similarity: Similarity = similarity
        self.queries, self.documents = len(self._queries), len(self._corpus)
        self._first = getattr(torch, precision) if precision else _faster(self._corpus.shape[1])
        self._seen: dict[torch.dtype, tuple[Look, Look]] = {}
        self._kept: Tensor | None = None

    @cached_property
    def looks(self) -> tuple[Look, Look]:
        """What one pass over queries and corpus found; it is made before the first search."""
        return self._looks(self._first)

    def _looks(self, dtype: torch.dtype) -> tuple[Look, Look]:
        if dtype not in self._seen:
            self._seen[dtype] = (
                look(self._queries, self.similarity, dtype, "queries"),
                look(self._corpus, self.similarity, dtype, "corpus"),
            )
        return self._seen[dtype]

    def find(self, rows: np.ndarray, k: int) -> Found:
        """The k best candidates of each query (B,).

        Raises:
            DataError: k is larger than the corpus.
        """
        if not 1 <= k <= self.documents:
            raise DataError(f"k = {k} candidates asked of a corpus of {self.documents}; choose 1 to {self.documents}")
        rows = np.asarray(rows, dtype=np.int64)
        index = np.full((len(rows), k), NOBODY, dtype=np.int64)
        scores = np.full((len(rows), k), -np.inf)
        left = np.arange(len(rows))
        with torch.inference_mode():
            for dtype in _TYPES[_TYPES.index(self._first) :]:
                held, full = self._pass(rows[left], k, dtype)
                done = left[~full]
                if len(done):
                    index[done], scores[done] = self._best(rows[done], held[~full], k)
                left = left[full]
                if not len(left):
                    break
        return found(self.name, index, scores)

    def score(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(B, K) scores of documents (B, K) for queries (B,), in float64 on a grid of 2^-30 of the largest possible."""
        scores = np.full(index.shape, -np.inf)
        step = max(1, _SCORED // (index.shape[1] * self._corpus.shape[1]))
        parts = list(blocks(len(rows), step))

        def fill(some: list[slice]) -> None:
            for part in some:
                scores[part] = self._scored(rows[part], index[part])

        _ = self.looks  # by one thread, before all read it
        count = torch.get_num_threads()
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(fill, [parts[start::count] for start in range(count)]))
        return scores

    def _scored(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        documents, scale = self._corpus[index].astype(np.float64), self._largest / _GRID
        products = np.einsum("bkd,bd->bk", documents, self._queries[rows].astype(np.float64))
        if self.similarity == "cosine":
            queries, corpus = self.looks
            products /= np.maximum(queries.lengths[rows], SHORTEST)[:, None]
            products /= np.maximum(corpus.lengths[index], SHORTEST)
        return np.where(index == NOBODY, -np.inf, np.round(products / scale) * scale)

    @property
    def _largest(self) -> float:
        return (self.looks[0].longest * self.looks[1].longest) or 1.0

    def _pass(self, rows: np.ndarray, k: int, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
        """All documents that may be among the k best, in any order (B, C), -1 behind; which queries had too many."""
        anchors = fast_rows(self._queries, rows, self.similarity, dtype)
        gap = np.zeros(len(rows)) if dtype == torch.float64 else self._gap(rows, anchors, dtype)
        room = _Room(len(rows), k, gap, dtype, self._largest)
        for part in blocks(self.documents, CORPUS_BLOCK):
            room.add(anchors @ self._block(part, dtype).T, part.start)
        return room.end()

    def _block(self, part: slice, dtype: torch.dtype) -> Tensor:
        if dtype != self._first or self._corpus.size * dtype.itemsize > _KEPT:
            return fast_rows(self._corpus, part, self.similarity, dtype)
        if self._kept is None:
            self._kept = torch.empty(self._corpus.shape, dtype=dtype)
            for some in blocks(self.documents, CORPUS_BLOCK):
                self._kept[some] = fast_rows(self._corpus, some, self.similarity, dtype)
        return self._kept[part]

    def _gap(self, rows: np.ndarray, anchors: Tensor, dtype: torch.dtype) -> np.ndarray:
        """(B,) how far the rounded score of a pair may be from the exact one, without rounding of the result."""
        corpus, low = self._looks(dtype)[1], anchors.double().numpy()
        exact = fast_rows(self._queries, rows, self.similarity, torch.float64).numpy()
        sums = self._corpus.shape[1] * 2.0**-23 * lengths(low) * (corpus.longest + corpus.error)
        return lengths(exact - low) * corpus.longest + lengths(low) * corpus.error + sums

    def _best(self, rows: np.ndarray, held: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = self.score(rows, held)
        order = np.lexsort((held, -scores), axis=1)[:, :k]
        return np.take_along_axis(held, order, 1), np.take_along_axis(scores, order, 1)


class _Room:
    """For each query the documents that may still be among its k best, with their rounded scores."""

    def __init__(self, queries: int, k: int, gap: np.ndarray, dtype: torch.dtype, largest: float) -> None:
        self.k, self.gap, self.dtype = k, gap, dtype
        self.grid = largest / _GRID if dtype == torch.float64 else None
        self.size = 3 * k + 64
        self.limit = self.size - max(k // 2, 16)
        kind = np.float64 if dtype == torch.float64 else np.float32
        self.scores = np.full((queries, self.size), -np.inf, dtype=kind)
        self.index = np.full((queries, self.size), NOBODY, dtype=np.int64)
        self.count = np.zeros(queries, dtype=np.int64)
        self.least = np.full(queries, -np.inf, dtype=kind)
        self.full = np.zeros(queries, dtype=bool)

    def add(self, scores: Tensor, first: int) -> None:
        """Take in a block of scores (B, C) of documents from `first` on."""
        if self.grid is not None:
            scores = scores.div_(self.grid).round_().mul_(self.grid)
        elif first == 0 and scores.shape[1] >= self.k:
            # The k-th best of the first block is a threshold already; else all of its documents would be taken in.
            self.least[:] = self._threshold(scores.topk(self.k, dim=1).values[:, -1].double().numpy(), self.gap)
        flat = np.flatnonzero(self._passing(scores))
        self._take(flat // scores.shape[1], flat % scores.shape[1] + first, _at(scores, flat))

    def _passing(self, scores: Tensor) -> np.ndarray:
        if self.grid is not None:
            return scores.numpy() > self.least[:, None]
        if self.dtype == torch.float32:
            return scores.numpy() >= self.least[:, None]
        # The bits of bfloat16 in order of the numbers: as they are above zero, mirrored below. Comparing whole numbers
        # is several times faster. One less, since -0 comes before 0 here.
        bits = scores.view(torch.int16).numpy()
        least = torch.from_numpy(self.least).bfloat16()[:, None]
        if bool((least > 0).all()):
            return bits >= least.view(torch.int16).numpy()
        return _ordered(bits) >= _ordered(least.view(torch.int16).numpy()) - 1

    def _take(self, rows: np.ndarray, documents: np.ndarray, values: np.ndarray) -> None:
        """Put documents in, those of a query next to each other and in order."""
        while len(rows):
            counts = np.bincount(rows, minlength=len(self.count))
            starts = np.cumsum(counts) - counts
            slot = np.arange(len(rows)) + (self.count - starts)[rows]
            fits = slot < self.size
            if fits.all():
                fits = slice(None)
            places = rows[fits] * self.size + slot[fits]
            self.scores.reshape(-1)[places] = values[fits]
            self.index.reshape(-1)[places] = documents[fits]
            self.count = np.minimum(self.count + counts, self.size)
            self._tidy(np.flatnonzero(self.count > self.limit))
            if isinstance(fits, slice):
                return
            rows, documents, values = rows[~fits], documents[~fits], values[~fits]
            again = ~self.full[rows] & (values >= self.least[rows])
            rows, documents, values = rows[again], documents[again], values[again]

    def _tidy(self, rows: np.ndarray) -> None:
        """Drop what can no longer be among the k best of some queries."""
        if not len(rows):
            return
        # Slots are in order of the documents and the sort is stable: of equal scores the lower row stays in front.
        order = np.argsort(-self.scores[rows], axis=1, kind="stable")
        scores = np.take_along_axis(self.scores[rows], order, 1)
        index = np.take_along_axis(self.index[rows], order, 1)
        best = scores[:, self.k - 1].astype(np.float64)
        if self.grid is not None:
            least, keep = best, np.broadcast_to(np.arange(self.size) < self.k, scores.shape)
        else:
            least = self._threshold(best, self.gap[rows])
            keep = scores >= least[:, None]
        self.scores[rows] = np.where(keep, scores, -np.inf)
        self.index[rows] = np.where(keep, index, NOBODY)
        self.count[rows] = (self.index[rows] != NOBODY).sum(axis=1)
        self.least[rows] = least
        stuck = rows[self.count[rows] > self.limit] if self.grid is None else rows[:0]
        self.full[stuck], self.least[stuck], self.count[stuck] = True, np.inf, 0

    def _threshold(self, best: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """The least rounded score of a document that can be among the k best, when `best` is the k-th best of some."""
        unit = _UNIT[self.dtype]
        # Rounding of a product is relative to it: that of the k-th best, then that of the document and of this number.
        least = best - unit * np.abs(best) - 2 * gap
        return least - 2 * unit * np.abs(least)

    def end(self) -> tuple[np.ndarray, np.ndarray]:
        """(B, C) documents that are left, -1 behind; and which queries were given up."""
        self._tidy(np.flatnonzero(self.count > self.k))
        return self.index[:, : int(self.count.max())], self.full


def _at(scores: Tensor, flat: np.ndarray) -> np.ndarray:
    if scores.dtype != torch.bfloat16:
        return scores.numpy().reshape(-1)[flat]
    bits = scores.view(torch.int16).numpy().reshape(-1)[flat]
    return (bits.astype(np.uint32) << 16).view(np.float32)  # bfloat16 is the upper half of float32


def _ordered(bits: np.ndarray) -> np.ndarray:
    return bits ^ ((bits >> 15) & 0x7FFF)


def _faster(width: int) -> torch.dtype:
    """The type whose matrix products are faster here; the answer is the same in both."""
    seconds = {}
    for dtype in (torch.bfloat16, torch.float32):
        a, b = torch.ones(256, width, dtype=dtype), torch.ones(1024, width, dtype=dtype)
        a @ b.T
        times = []
        for _ in range(3):
            began = time.perf_counter()
            a @ b.T
            times.append(time.perf_counter() - began)
        seconds[dtype] = min(times)
    return min(seconds, key=seconds.__getitem__)
