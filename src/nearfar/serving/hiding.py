"""Names in answers: a store may know its rows by paths of this machine, which nobody else learns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from nearfar.store import Store
from nearfar.store.lance import quoted

_PATH = re.compile(r"^(?:[/\\~]|file:|[A-Za-z]:[/\\])|(?:^|[/\\])\.\.(?:[/\\]|$)")
# The same in the words of Lance, which finds whether a column has such values.
_LOOKS_SO = "regexp_like({0}, '^([/\\\\~]|file:|[A-Za-z]:[/\\\\])|(^|[/\\\\])\\.\\.([/\\\\]|$)')"
_CONTENT = ("text", "label")  # what rows are, whatever it looks like
_KEY = 16  # hexadecimal digits


class Names:
    """Ids and columns of a store as answers show them.

    An id that is a path from the root, from home or by way of a parent folder is shown as its last part and a key; all
    other ids as they are. A column of which some value is such a path is hidden: its paths are cut to their last part,
    and no filter may use it, since filters could guess paths letter by letter.

    Attributes:
        hidden: names of hidden columns.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._salt = hashlib.sha256(store.provenance.to_json().encode()).digest()
        texts = [field.name for field in store.table.schema if field.type == "string"]
        self.hidden = frozenset(name for name in texts if name not in _CONTENT and self._has_paths(name))

    def _has_paths(self, column: str) -> bool:
        return next(self._store.blocks(_LOOKS_SO.format(f"`{column}`"), ["id"]), None) is not None

    def shown(self, name: str) -> str:
        """An id as answers show it."""
        if not is_path(name):
            return name
        key = hashlib.blake2b(name.encode(), key=self._salt, digest_size=_KEY // 2).hexdigest()
        return f"{last_part(name)}~{key}"

    def known(self, shown: str) -> str | None:
        """The id that is shown so, if there is a row of it; None where there is surely none."""
        if "id" not in self.hidden:
            return shown
        tail = shown[: -_KEY - 1]
        wanted = f"id = {quoted(shown)}" + (f" OR ends_with(id, {quoted(tail)})" if tail else "")
        found = (one for batch in self._store.blocks(wanted, ["id"]) for one in batch["id"].to_pylist())
        return next((one for one in found if self.shown(one) == shown), None)

    def columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a row as answers show them, without empty ones."""
        return {
            name: last_part(value) if name in self.hidden and isinstance(value, str) and is_path(value) else value
            for name, value in values.items()
            if value is not None
        }


def is_path(text: str) -> bool:
    """Whether a text tells where something lies on this machine.

    >>> [is_path(text) for text in ("/home/me/a.png", "../a.png", "C:\\\\a.png", "photos/a.png", "a..b")]
    [True, True, True, False, False]
    """
    return _PATH.search(text) is not None


def last_part(path: str) -> str:
    r"""The name of a file or folder without where it lies.

    >>> last_part("/home/me/photos/a.png"), last_part("C:\\photos\\a.png")
    ('a.png', 'a.png')
    """
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
