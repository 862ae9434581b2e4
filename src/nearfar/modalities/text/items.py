"""Which texts are the same item: equal but for Unicode form and white space, or tied together by rows of pairs."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar.data.source import ids_by_content

from .strings import encoded


def normal(text: str) -> str:
    """A text in Unicode form NFC with single spaces between its words.

    Example:
        >>> normal(" e\u0301te\u0301\\n 1900 ") == "\u00e9t\u00e9 1900"
        True
    """
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def digests_of(texts: Iterable[str], count: int) -> np.ndarray:
    """(N, 16) uint8: a BLAKE2b hash of each text in its normal form."""
    digests = bytearray()
    for text in texts:
        digests += hashlib.blake2b(encoded(normal(text)), digest_size=16).digest()
    return np.frombuffer(digests, np.uint8).reshape(count, 16)


def ids_of_texts(texts: Sequence[str]) -> np.ndarray:
    """(N,) int64: for each text the position of the first that is equal in its normal form.

    Example:
        >>> ids_of_texts(["a b", "c", "a  b "]).tolist()
        [0, 1, 0]
    """
    return ids_by_content(digests_of(texts, len(texts)))


def ids_of_pairs(anchors: Sequence[str], positives: Sequence[str], graded: bool = False) -> np.ndarray:
    """(N,) int64: which item the pair in each row is; rows of one id are never far apart.

    Two rows are one item when a text of one, its anchor or its positive, is also a text of the other, and so on from
    row to row: a positive of one row would otherwise stand among the far ones of another row that it is near to. The
    id is the position of the first row of the item. Pairs with a score tie nothing together, since the two texts of a
    pair need not be near; there only rows with both texts equal are one item.

    Example:
        >>> ids_of_pairs(["q1", "q2", "q3", "a1"], ["a1", "a2", "a1", "a4"]).tolist()
        [0, 1, 0, 0]
        >>> ids_of_pairs(["q1", "q1", "q1"], ["a1", "a2", "a1"], graded=True).tolist()
        [0, 1, 0]
    """
    rows = len(anchors)
    digests = np.concatenate([digests_of(anchors, rows), digests_of(positives, rows)])
    if graded:
        return ids_by_content(np.concatenate([digests[:rows], digests[rows:]], axis=1))
    texts = ids_by_content(digests)
    tied = coo_array((np.ones(rows, np.int8), (texts[:rows], texts[rows:])), shape=(2 * rows, 2 * rows))
    _, parts = connected_components(tied, directed=False)
    _, first, inverse = np.unique(parts[texts[:rows]], return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int64)
