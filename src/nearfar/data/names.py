"""What rows of data are called where they are kept and spoken of: in stores, and in answers about them."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np

from nearfar.data.source import Source
from nearfar.errors import ConfigError, DataError

Ids = Literal["auto", "name", "content"]


def ids_of(source: Source, how: Ids = "auto") -> list[str]:
    """Ids of rows, all different: by name, by a hash of what they are, or by name unless names are cut from content.

    Raises:
        DataError: two rows would have one id. ConfigError: another way.

    >>> from nearfar.data.source import ArraySource
    >>> ids_of(ArraySource("images", np.zeros((3, 1, 2, 2), np.uint8), names=["a", "b", "a"]))
    ['a', 'b', 'a#2']
    """
    if how not in ("auto", "name", "content"):
        raise ConfigError(f"ids are auto, name or content, not {how!r}")
    by_name = how == "name" or (how == "auto" and source.named)
    names = list(source.names) if by_name else source.digests(np.arange(len(source)))
    seen: Counter[str] = Counter()
    found: list[str] = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    twice = [one for one, count in Counter(found).most_common(1) if count > 1]
    if twice:
        raise DataError(f"the name {twice[0]!r} is that of one row and of the second of another; use ids by content")
    return found
