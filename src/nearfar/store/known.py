"""Which ids a store has, so that rows which come in need not be compared with a column on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .table import Store


class Known:
    """Hashes of the ids of a store at one version, 8 bytes for each row; what they cannot tell is looked up.

    An id that was taken out may still be among them: that costs a look, nothing else.
    """

    def __init__(self) -> None:
        self._version, self._hashes = -1, np.empty(0, dtype=np.int64)

    def among(self, store: Store, ids: Sequence[str]) -> list[str]:
        """Those ids that are in the store, in the order given."""
        if self._version != store.version:
            found = [_hashes(batch["id"].to_pylist()) for batch in store.blocks(None, ["id"])]
            self._hashes, self._version = np.sort(np.concatenate([np.empty(0, np.int64), *found])), store.version
        asked = _hashes(ids)
        places = np.searchsorted(self._hashes, asked)
        maybe = np.flatnonzero(np.append(self._hashes, 0)[places] == asked)
        return store.among([ids[place] for place in maybe.tolist()]) if len(maybe) else []

    def take(self, store: Store, ids: Sequence[str], before: int) -> None:
        """Ids that were written to the store, whose version was `before`."""
        if self._version == before:
            # Two sorted runs, which this kind of sort merges.
            self._hashes = np.sort(np.concatenate([self._hashes, np.sort(_hashes(ids))]), kind="stable")
            self._version = store.version


def _hashes(ids: Sequence[str]) -> np.ndarray:
    return np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
