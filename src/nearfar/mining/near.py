"""Which documents are known to be near to which query, and their scores."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from nearfar.errors import DataError


class Near:
    """The known positives of queries, as pairs of row numbers.

    Args:
        pairs: (P, 2) rows of a query and a document; one that is given twice counts once.
        queries, documents: how many there are.

    Raises:
        DataError: another shape, or a row that does not exist (the first such pair is named).

    Example:
        >>> near = Near([(0, 3), (1, 1), (0, 2)], queries=2, documents=4)
        >>> near.of(np.array([0, 1])).tolist()
        [[2, 3], [1, -1]]
    """

    def __init__(self, pairs: np.ndarray | Sequence[tuple[int, int]], queries: int, documents: int) -> None:
        table = np.asarray(pairs, dtype=np.int64).reshape(-1, 2) if len(pairs) else np.empty((0, 2), dtype=np.int64)
        bad = np.flatnonzero(((table < 0) | (table >= [queries, documents])).any(axis=1))
        if len(bad):
            query, document = table[bad[0]]
            raise DataError(
                f"positives: pair {bad[0]} is query {query} and document {document}, but there are {queries} queries "
                f"and {documents} documents, numbered from 0"
            )
        self.pairs = np.unique(table, axis=0)
        self.queries, self.documents = queries, documents
        self._starts = np.searchsorted(self.pairs[:, 0], np.arange(queries + 1))

    def of(self, rows: np.ndarray) -> np.ndarray:
        """(B, P) documents near to each query, in order, -1 behind the last; P is at least 1."""
        counts = self._starts[rows + 1] - self._starts[rows]
        out = np.full((len(rows), max(1, int(counts.max(initial=0)))), -1, dtype=np.int64)
        for line, start, count in zip(out, self._starts[rows], counts, strict=True):
            line[:count] = self.pairs[start : start + count, 1]
        return out

    def has(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Whether each pair is known to be near, for arrays of one shape."""
        keys = self.pairs[:, 0] * self.documents + self.pairs[:, 1]
        asked = queries * self.documents + documents
        at = np.minimum(np.searchsorted(keys, asked), max(0, len(keys) - 1))
        return (keys[at] == asked) & (documents >= 0) if len(keys) else np.zeros(asked.shape, dtype=bool)


def text_keys(texts: Iterable[str]) -> np.ndarray:
    """(N,) int64: the same number for texts that are equal up to case, spaces, punctuation and the form of letters.

    >>> a, b, c = text_keys(["The  Fox!", "the fox", "a fox"])
    >>> bool(a == b), bool(a == c)
    (True, False)
    """
    return np.fromiter((_key(text) for text in texts), dtype=np.int64)


def _key(text: str) -> int:
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(letter if letter.isalnum() else " " for letter in folded).split()
    # A text of signs alone ("?!") is compared as it is.
    content = " ".join(words) or folded.strip()
    return int.from_bytes(
        hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=8).digest(), "big", signed=True
    )
