"""Texts in a fixed order, with ids, labels, and how alike the two of a pair are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.data.source import Skipped, Source
from nearfar.errors import DataError

from .strings import Strings
from .texts import Texts

if TYPE_CHECKING:
    from .mined import MinedPairs

SHOWN = 80  # characters of a text that stand for it in reports


class TextSource(Source):
    """N items of one or more texts.

    Args:
        columns: name -> N strings: {"text": ...}, or {"anchor": ..., "positive": ..., "negative": ...}; a list, or
            `Strings`, which take less memory.
        ids: (N,) which item a row is; its position when None.
        labels, classes, skipped, details: as of `Source`.
        names: for people; the beginning of the first text when None.
        targets: (N,) how alike anchor and positive are.

    >>> source = TextSource({"text": ["a cat", "a dog"]})
    >>> source.rows(slice(0, 1)).columns, source.names
    ((['a cat'],), ['a cat', 'a dog'])
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[str]],
        *,
        ids: np.ndarray | None = None,
        names: Sequence[str] | None = None,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        targets: np.ndarray | None = None,
        skipped: Sequence[Skipped] = (),
        details: dict[str, Any] | None = None,
    ) -> None:
        self.columns: dict[str, Sequence[str]] = dict(columns)
        first = next(iter(columns.values()))
        for name, column in columns.items():
            if len(column) != len(first):
                raise DataError(f"the column {name!r} has {len(column)} texts, the first one {len(first)}")
        details = {**(details or {}), "columns": list(columns)}
        if len(columns) > 1:
            details["views"] = len(columns)
        if far := [name for name in columns if name.startswith("negative")]:
            details["far"] = far
        self.named = names is not None
        if names is None:
            names = [" ".join(text[:SHOWN].split()) for text in first]
        super().__init__(
            "text", np.arange(len(first)) if ids is None else ids, names, labels, classes, skipped, details
        )
        if targets is not None:
            self.targets = np.asarray(targets, dtype=np.float32)
            if len(self.targets) != len(first):
                raise DataError(f"{len(first)} items but {len(self.targets)} targets; there must be one for each item")

    def rows(self, index: np.ndarray | slice) -> Texts:
        """The texts at these positions."""
        if isinstance(index, slice):
            return Texts(tuple(list(column[index]) for column in self.columns.values()), tuple(self.columns))
        chosen = np.asarray(index).tolist()
        return Texts(tuple([column[row] for row in chosen] for column in self.columns.values()), tuple(self.columns))

    def select(self, index: np.ndarray) -> TextSource:
        """The items at these positions as a source; they keep their ids, labels and names."""
        chosen = np.arange(len(self))[np.asarray(index)]
        found = TextSource(
            {name: _taken(column, chosen) for name, column in self.columns.items()},
            ids=self.ids[chosen],
            names=[self.names[row] for row in chosen],
            labels=None if self.labels is None else self.labels[chosen],
            classes=self.classes,
            targets=None if self.targets is None else self.targets[chosen],
            skipped=self.skipped,
            details=self.details,
        )
        found.named = self.named
        return found._of(self, chosen)

    def joined(self, others: Sequence[Source]) -> TextSource:
        """See `Source.joined`.

        >>> TextSource({"query": ["a cat"]}).joined([TextSource({"query": ["a dog"]})]).columns
        {'query': ['a cat', 'a dog']}
        """
        rows = [source.rows(slice(0, len(source))) for source in (self, *others)]
        return TextSource({name: [text for part in rows for text in part.columns[place]]
                           for place, name in enumerate(self.columns)})  # fmt: skip

    def called(self, name: str) -> TextSource:
        """The same single texts under another name of their column."""
        (column,) = self.columns.values()
        found = TextSource({name: column}, ids=self.ids, names=self.names, skipped=self.skipped, details=self.details)
        found.named = self.named
        return found

    def parts(self) -> list[Source]:
        """See `Source.parts`: a source for each column."""
        details = {key: value for key, value in self.details.items() if key != "views"}
        return [TextSource({name: column}, ids=self.ids, details=details) for name, column in self.columns.items()]

    def mined(self, count: int, more: Sequence[str] = ()) -> MinedPairs:
        """These pairs with `count` negatives of each that are chosen anew while a model learns, also from `more` texts.

        Raises:
            DataError: these are no pairs, or pairs with scores.
        """
        from .mined import MinedPairs

        if "positive" not in self.columns or self.targets is not None:
            raise DataError(
                "negatives are mined for pairs of anchor and positive without scores; these texts "
                + ("have scores" if self.targets is not None else "stand alone")
            )
        return MinedPairs(self, count, more)

    def describe(self) -> dict[str, Any]:
        """See `Source.describe`; `largest_item` is how many rows share the most frequent id.

        A large one says that pairs are tied together by a text that stands in many of them, such as "yes".
        """
        _, counts = np.unique(self.ids, return_counts=True)
        return super().describe() | {"largest_item": int(counts.max(initial=0))}

    def _shape(self) -> tuple[int, ...]:
        return ()

    def _content(self) -> bytes:
        digest = hashlib.sha256(repr(list(self.columns)).encode())
        for column in self.columns.values():
            strings = column if isinstance(column, Strings) else Strings.of(column)
            digest.update(strings.sizes.tobytes() + strings.data.tobytes())
        if self.targets is not None:
            digest.update(self.targets.tobytes())
        return digest.digest()


def _taken(column: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    return column[rows] if isinstance(column, Strings) else [column[row] for row in rows]
