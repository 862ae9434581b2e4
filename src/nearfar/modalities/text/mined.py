"""Pairs whose negatives are chosen anew, again and again, from all texts that are sought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .source import TextSource
from .texts import Texts

NOBODY = -1
ANCHOR, POSITIVE, NEGATIVE = "anchor", "positive", "negative"


class MinedPairs:
    """Pairs, with `count` negatives of each that `table` chooses; what it leaves open, given negatives fill.

    A chosen negative that is near to another pair among the rows asked for is left out there: it stands among the
    partners of the batch anyway, and would be far from its own anchor.

    Attributes:
        pairs: with anchors and positives.
        queries: (Q) the different anchors. documents: (D) the different positives, given negatives, and `more`.
        near: (P, 2) rows of queries and of documents that are known to belong together.
        table: (Q, count) documents that are the negatives of each query, -1 for none.

    >>> pairs = TextSource({"anchor": ["q1", "q2"], "positive": ["a1", "a2"]})
    >>> mined = MinedPairs(pairs, count=1)
    >>> mined.table[0, 0] = 1
    >>> mined.rows(np.array([0])).columns, mined.rows(np.array([0, 1])).columns[2]
    ((['q1'], ['a1'], ['a2']), ['', ''])
    """

    def __init__(self, pairs: TextSource, count: int, more: Sequence[str] = ()) -> None:
        self.pairs, self.count = pairs, count
        self.ids, self.labels, self.targets, self.domains = pairs.ids, pairs.labels, pairs.targets, pairs.domains
        queries, documents = dict[str, int](), dict[str, int]()
        self._query = _numbered(pairs.columns[ANCHOR], queries)
        self._partner = _numbered(pairs.columns[POSITIVE], documents)
        self._given = [name for name in pairs.columns if name.startswith(NEGATIVE)]
        for texts in (*(pairs.columns[name] for name in self._given), more):
            _numbered((text for text in texts if text), documents)
        self.queries, self.documents = TextSource({"query": list(queries)}), TextSource({"document": list(documents)})
        self.near = np.unique(np.stack([self._query, self._partner], axis=1), axis=0)
        self.table = np.full((len(queries), count), NOBODY, dtype=np.int64)
        self._items = np.full(len(documents), NOBODY, dtype=np.int64)
        self._items[self._partner] = pairs.ids
        self.names = (ANCHOR, POSITIVE, *(f"{NEGATIVE}_{place}" for place in range(1, count + 1)))

    def __len__(self) -> int:
        return len(self.pairs)

    def facts(self) -> dict[str, Any]:
        """What `describe()` says of pairs with so many negatives."""
        far = list(self.names[2:])
        return self.pairs.describe() | {"columns": list(self.names), "views": len(self.names), "far": far}

    def rows(self, index: np.ndarray) -> Texts:
        """The texts at these positions, "" for a negative that there is not."""
        index = np.asarray(index)
        every = self.every(index)
        chosen = self.table[self._query[index]]
        beside = (chosen != NOBODY) & np.isin(self._items[chosen], self.ids[index])
        far = [
            ["" if out else text for text, out in zip(column, beside[:, place], strict=True)]
            for place, column in enumerate(every.columns[2:])
        ]
        return Texts((*every.columns[:2], *far), self.names)

    def every(self, index: np.ndarray) -> Texts:
        """The same with all negatives, also those that are near to another pair among these rows."""
        given = self.pairs.rows(index)
        texts = dict(zip(given.names, given.columns, strict=True))
        documents = next(iter(self.documents.columns.values()))
        far = []
        for place, column in enumerate(self.table[self._query[index]].T):
            spare = texts[self._given[place]] if place < len(self._given) else [""] * len(index)
            far.append([documents[row] if row != NOBODY else other for row, other in zip(column, spare, strict=True)])
        return Texts((texts[ANCHOR], texts[POSITIVE], *far), self.names)

    def fingerprint(self) -> str:
        """That of the pairs, and of what else may be chosen."""
        return self.pairs.fingerprint() + self.documents.fingerprint()


def _numbered(texts: Any, known: dict[str, int]) -> np.ndarray:
    """(N,) the number of each text, new ones from the end on."""
    return np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int64)
