"""Search by the words themselves (BM25, of Lance), and lists of several searches made one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nearfar.errors import ConfigError

from .lance import reading, writing
from .search import Hit

if TYPE_CHECKING:
    from .table import Store

CONSTANT = 60  # of reciprocal rank fusion


def by_words(store: Store, words: str, k: int, where: str | None, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and scores of the k best rows that share a word with the question, by BM25.

    The list of words is built when it is first asked for, lower-cased and otherwise as they stand in the text, so that
    it serves any language. Rows that come later are found too.

    Raises:
        ConfigError: there is no such column, it holds no texts, or the filter cannot be used.
    """
    if column not in store.columns or store.table.schema.field(column).type != "string":
        texts = [name for name in store.columns if store.table.schema.field(name).type == "string"]
        raise ConfigError(f"{store.path} has no column {column!r} of texts; columns of texts: {', '.join(texts)}")
    if column not in listed(store):
        from lancedb.index import FTS

        with store.locked(), writing(store.path):
            store.table.create_index(column, config=FTS(stem=False, remove_stop_words=False))
    with reading(store.path, where):
        asked = store.table.search(words, query_type="fts", fts_columns=column).with_row_id(True)
        asked = asked if where is None else asked.where(where, prefilter=True)
        found = asked.select(["_score"]).limit(k).to_arrow()
    rows, scores = found["_rowid"].to_numpy().astype(np.int64), found["_score"].to_numpy().astype(np.float64)
    best = np.lexsort((rows, -scores))
    return rows[best], scores[best]


def listed(store: Store) -> list[str]:
    """Columns whose list of words is there."""
    return [one.columns[0] for one in store.table.list_indices() if one.index_type == "FTS" and len(one.columns) == 1]


def fused(lists: Sequence[Sequence[Hit]], k: int, constant: int = CONSTANT) -> list[Hit]:
    """One list of several by reciprocal rank fusion: a row scores the sum of 1 / (60 + place) over the lists it is in.

    Scores of different kinds need no common scale. Of equal sums the row comes first that is met first. Source: Cormack
    et al. 2009.

    >>> one, other = [Hit("a", 0.9), Hit("b", 0.8)], [Hit("b", 12.0), Hit("c", 3.0)]
    >>> [hit.id for hit in fused([one, other], 3)]
    ['b', 'a', 'c']
    """
    sums: dict[str, float] = {}
    known: dict[str, Hit] = {}
    for hits in lists:
        for place, hit in enumerate(hits, 1):
            sums[hit.id] = sums.get(hit.id, 0.0) + 1 / (constant + place)
            known.setdefault(hit.id, hit)
    order = sorted(sums, key=lambda one: -sums[one])[:k]
    return [replace(known[one], score=sums[one]) for one in order]
