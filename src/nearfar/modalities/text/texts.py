"""A few raw texts, as a source hands them to the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Texts:
    """B items of one or more texts each.

    Attributes:
        columns: lists of B strings; an empty string says that there is none.
        names: of the columns: ("text",), or ("anchor", "positive", "negative", ...).

    >>> texts = Texts((["a cat", "a dog"], ["Katze", "Hund"]), ("anchor", "positive"))
    >>> len(texts), texts[1:].columns
    (2, (['a dog'], ['Hund']))
    """

    columns: tuple[list[str], ...]
    names: tuple[str, ...] = ("text",)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> Texts:
        if isinstance(index, slice):
            return Texts(tuple(column[index] for column in self.columns), self.names)
        return Texts(tuple([column[int(row)] for row in index] for column in self.columns), self.names)

    def to(self, device: Any) -> Texts:
        """Itself: strings live on no device."""
        return self
