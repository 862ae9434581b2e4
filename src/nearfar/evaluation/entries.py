"""Some entries of a table of queries and documents: as relevance they are grades, as a run they are scores.

Flat arrays, so that lists may differ in length and nothing of the size (queries x documents) is ever held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nearfar.errors import DataError

from .neighbours import Neighbours

Named: TypeAlias = "Mapping[str, Mapping[str, float]]"


@dataclass(frozen=True)
class Entries:
    """Entry i says `value[i]` of query `query[i]` and document `document[i]`; each pair at most once.

    query, document: (n,) whole numbers from 0. value: (n,) finite. shape: (Q, M), how many queries and documents there
    are. A pair that is not listed is unjudged (relevance) or was not retrieved (a run). The order of entries matters
    only to `Scoring(ties="stable")`.

    Raises DataError: arrays of different lengths, a number outside the shape, a value that is not finite, a pair twice.

    >>> Entries([0, 0, 1], [4, 2, 2], [1, 3, 1], (2, 5)).take(np.array([True, False, True])).document.tolist()
    [4, 2]
    """

    query: np.ndarray
    document: np.ndarray
    value: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        for name, kind in (("query", np.int64), ("document", np.int64), ("value", np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        lengths = {array.shape for array in (self.query, self.document, self.value)}
        if len(lengths) != 1 or self.query.ndim != 1:
            raise DataError(f"query, document and value must be (n,) each, got shapes {sorted(lengths)}")
        for name, numbers, size in zip(("query", "document"), (self.query, self.document), self.shape, strict=True):
            wrong = np.flatnonzero((numbers < 0) | (numbers >= size))
            if len(wrong):
                raise DataError(f"entry {wrong[0]} names {name} {numbers[wrong[0]]}, there are 0 to {size - 1}")
        wrong = np.flatnonzero(~np.isfinite(self.value))
        if len(wrong):
            raise DataError(f"entry {wrong[0]} has the value {self.value[wrong[0]]}; leave such entries out")
        keys = np.sort(self.keys)
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            query, document = divmod(int(keys[twice[0]]), self.shape[1])
            raise DataError(f"query {query} and document {document} are listed twice; list each pair once")

    def __len__(self) -> int:
        return len(self.query)

    @property
    def keys(self) -> np.ndarray:
        """(n,) one number for each pair."""
        return self.query * self.shape[1] + self.document

    def take(self, kept: np.ndarray) -> Entries:
        """The entries at a mask (n,)."""
        return Entries(self.query[kept], self.document[kept], self.value[kept], self.shape)

    def at(self, other: Entries) -> tuple[np.ndarray, np.ndarray]:
        """For each entry of `other`, the value that this holds of its pair (0 where none), and whether it holds one."""
        if len(self) == 0:
            return np.zeros(len(other)), np.zeros(len(other), dtype=bool)
        keys, wanted = self.keys, other.keys
        order = np.argsort(keys, kind="stable")
        found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
        held = keys[found] == wanted
        return np.where(held, self.value[found], 0.0), held


def entries_of(found: Neighbours, documents: int) -> Entries:
    """The lists of a search as a run, nearest first; ranks without a row are left out."""
    query, rank = np.nonzero(found.index >= 0)
    return Entries(query, found.index[query, rank], found.scores[query, rank], (len(found.index), documents))


def numbered(run: Named, relevance: Named) -> tuple[Entries, Entries, list[str]]:
    """A run and relevance by name as entries, and the names of the queries.

    run, relevance: {query: {document: score or grade}}. Queries are those of the relevance, in its order; the run may
    name others, which nothing is known of and which are left out. Documents are numbered in the order of their names,
    so that a higher number is a later name.

    >>> run, relevance, names = numbered({"q": {"b": 0.5, "c": 0.5}}, {"q": {"a": 1}, "p": {"b": 2}})
    >>> run.document.tolist(), relevance.document.tolist(), names
    ([1, 2], [0, 1], ['q', 'p'])
    """
    names = list(relevance)
    documents = sorted({document for table in (run, relevance) for listed in table.values() for document in listed})
    number = {document: position for position, document in enumerate(documents)}
    made = []
    for table in (run, relevance):
        rows = [
            (query, number[document], value)
            for query, name in enumerate(names)
            for document, value in table.get(name, {}).items()
        ]
        flat = np.array(rows, dtype=np.float64).reshape(-1, 3)
        made.append(Entries(flat[:, 0], flat[:, 1], flat[:, 2], (len(names), len(documents))))
    return made[0], made[1], names
