"""What reading gives: raw items with ids, labels and names, whatever the modality."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from mmap import mmap
from typing import Any, TypeVar

import numpy as np
import torch

from nearfar.data.labels import encode_labels, renumber
from nearfar.errors import DataError

S = TypeVar("S", bound="Source")
EXAMPLES = 20  # how many skipped items describe() lists


@dataclass
class Skipped:
    """An item that was found but could not be read, and why."""

    name: str
    reason: str


class Source:
    """N raw items in a fixed order, each with an id, a name and perhaps a label.

    Attributes:
        kind: the modality, such as "images".
        ids: (N,) int64, which item a row is; two rows with one id are the same item and never far apart.
        labels: (N,) int64 with -1 for unknown, or None when there are no labels at all.
        classes: names of the labels, [] when there are none.
        names: N texts for people: a file path, or "file.npz[17]".
        targets: (N,) float32, how alike the parts of an item are where it has two; None where nobody said.
        domains: (N,) int64, where each item comes from (a hospital, a camera), with -1 for unknown; None where nobody
            said. See `in_domains`.
        domain_names: names of the domains, [] when there are none.
        skipped: what was found but could not be read.
        details: further JSON-able facts for `describe`.

    A modality gives `rows`, `_content` and `_shape`; the rest is common.
    """

    targets: np.ndarray | None = None
    domains: np.ndarray | None = None
    domain_names: Sequence[str] = ()
    named = True  # False where names are cut from the content, so that other items may have the same

    def __init__(
        self,
        kind: str,
        ids: np.ndarray,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        skipped: Sequence[Skipped] = (),
        details: dict[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.ids = np.asarray(ids, dtype=np.int64)
        self.names = list(names)
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.classes = list(classes)
        self.skipped = list(skipped)
        self.details = dict(details or {})
        for what, column in (("names", self.names), ("labels", self.labels)):
            if column is not None and len(column) != len(self.ids):
                raise DataError(f"{len(self.ids)} items but {len(column)} {what}; there must be one for each item")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind}, {len(self)} items, {len(self.classes)} classes)"

    def rows(self, index: np.ndarray | slice) -> Any:
        """Raw items at these positions, of the caller's own: a tensor, or what the views of the modality take."""
        raise NotImplementedError

    def select(self, index: np.ndarray) -> Source:
        """The items at these positions as a source; they keep their ids, labels and names."""
        raise NotImplementedError

    def joined(self, others: Sequence[Source]) -> Source:
        """These items and those of others of the same kind and shape behind them, without labels and names."""
        raise NotImplementedError

    def in_domains(self: S, values: Sequence[Any] | np.ndarray | None, where: str = "domains") -> S:
        """Say of every item where it comes from, by name or number, blank or -1 for unknown; returns itself.

        Args:
            values: N domains, or None, which changes nothing. where: what an error message calls them.

        Raises:
            DataError: not one for each item, or lists in place of names.

        >>> source = ArraySource("images", np.zeros((3, 1, 2, 2), np.uint8)).in_domains(["sketch", "", "photo"])
        >>> source.domains.tolist(), source.domain_names
        ([1, -1, 0], ['photo', 'sketch'])
        """
        if values is None:
            return self
        if len(values) != len(self):
            raise DataError(f"{where}: {len(values)} domains for {len(self)} items; there must be one for each item")
        if any(isinstance(value, list | dict) for value in values):
            raise DataError(f"{where}: a list where the name of a domain should be; write one name in each row")
        self.domains, self.domain_names = encode_labels(values, where)
        return self

    def _of(self: S, source: Source, index: np.ndarray) -> S:
        """The same with the domains of some items of another source."""
        if source.domains is not None:
            self.domains, self.domain_names = source.domains[index], source.domain_names
        return self

    def parts(self) -> list[Source]:
        """Each part of the items, such as the two of a pair, as a source of its own; itself where they have one."""
        return [self]

    def _shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _content(self) -> bytes:
        """Bytes that differ when any item differs."""
        raise NotImplementedError

    def digests(self, index: np.ndarray) -> list[str]:
        """A text of 32 characters for each item at these positions, which differs when its content does.

        >>> source = ArraySource("images", np.zeros((3, 1, 2, 2), np.uint8))
        >>> len(set(source.digests(np.arange(3))))
        1
        """
        contents = (self.select(np.array([row]))._content() for row in np.asarray(index).tolist())
        return [hashlib.blake2b(content, digest_size=16).hexdigest() for content in contents]

    def fingerprint(self) -> str:
        """Hex sha256 over items, ids, labels and class names, in order.

        Names do not count, so that a moved folder is still the same data.
        """
        digest = hashlib.sha256()
        header = {"kind": self.kind, "shape": self._shape(), "items": len(self), "classes": self.classes}
        parts = [json.dumps(header, sort_keys=True).encode(), self.ids.tobytes(), self._content()]
        parts.append(b"none" if self.labels is None else self.labels.tobytes())
        if self.domains is not None:
            parts.append(self.domains.tobytes())
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """JSON-able facts: kind, items, shape, classes, labelled, duplicates, skipped and the first skipped items.

        `duplicates` counts the rows that share the id of an earlier row; `largest_id` is -1 without rows. Ids are those
        of the data that the rows were selected from, so that it may be larger than `items`.
        """
        return {
            "kind": self.kind,
            "items": len(self),
            "shape": list(self._shape()),
            "classes": self.classes,
            "labelled": 0 if self.labels is None else int((self.labels >= 0).sum()),
            "duplicates": len(self) - len(np.unique(self.ids)),
            "largest_id": int(self.ids.max(initial=-1)),
            "skipped": len(self.skipped),
            "skipped_examples": [asdict(item) for item in self.skipped[:EXAMPLES]],
            **({} if self.domains is None else {"domains": list(self.domain_names)}),
            **self.details,
        }


class ArraySource(Source):
    """A source over one array (in memory or memory-mapped), one item per row.

    Args:
        array: (M, ...) raw items.
        index: (N,) which rows of `array` are the items, in order; None means all. Selecting copies no items.
        digests: (M, 16) uint8 from `row_digests(array)`, computed when first needed unless given.

    Example:
        >>> source = ArraySource("images", np.zeros((3, 1, 2, 2), np.uint8))
        >>> source.select(np.array([2, 0])).names
        ['[2]', '[0]']
        >>> source.rows(slice(0, 2)).shape
        torch.Size([2, 1, 2, 2])
    """

    def __init__(
        self,
        kind: str,
        array: np.ndarray,
        *,
        index: np.ndarray | None = None,
        ids: np.ndarray | None = None,
        names: Sequence[str] | None = None,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        skipped: Sequence[Skipped] = (),
        details: dict[str, Any] | None = None,
        digests: np.ndarray | None = None,
    ) -> None:
        self.array = array
        self.index = np.arange(len(array)) if index is None else _positions(index, len(array))
        self._digests = digests
        count = len(self.index)
        super().__init__(
            kind,
            np.arange(count) if ids is None else ids,
            [f"[{row}]" for row in range(count)] if names is None else names,
            labels,
            classes,
            skipped,
            details,
        )

    def rows(self, index: np.ndarray | slice) -> torch.Tensor:
        """Raw items at these positions: (B, ...) in the array's type, copied."""
        chosen = self.index[index if isinstance(index, slice) else np.asarray(index)]
        return torch.from_numpy(np.ascontiguousarray(self.array[chosen]))

    def select(self, index: np.ndarray) -> ArraySource:
        """The items at these positions as a source; they keep their ids, labels and names."""
        chosen = _positions(index, len(self))
        return ArraySource(
            self.kind,
            self.array,
            index=self.index[chosen],
            ids=self.ids[chosen],
            names=[self.names[row] for row in chosen],
            labels=None if self.labels is None else self.labels[chosen],
            classes=self.classes,
            skipped=self.skipped,
            details=self.details,
            digests=self._digests,
        )._of(self, chosen)

    def joined(self, others: Sequence[Source]) -> ArraySource:
        """See `Source.joined`.

        >>> source = ArraySource("images", np.zeros((3, 1, 2, 2), np.uint8))
        >>> len(source.joined([source, source.select(np.array([1]))]))
        7
        """
        rows = [source.rows(slice(0, len(source))).numpy() for source in (self, *others)]
        return ArraySource(self.kind, np.concatenate(rows))

    def digests(self, index: np.ndarray) -> list[str]:
        """See `Source.digests`."""
        chosen = self.index[np.asarray(index)].tolist()
        return [hashlib.blake2b(self.array[row].tobytes(), digest_size=16).hexdigest() for row in chosen]

    def __getstate__(self) -> dict[str, Any]:
        """For another process on this machine: an array that lies in a file goes there by name."""
        array = self.array
        # Of a part of a mapped array numpy does not say where it begins in the file.
        if not (isinstance(array, np.memmap) and isinstance(array.base, mmap) and array.flags.c_contiguous):
            return self.__dict__
        return self.__dict__ | {"array": _Mapped(str(array.filename), array.dtype.str, array.offset, array.shape)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.array, _Mapped):
            there: _Mapped = self.array
            self.array = np.memmap(there.file, there.dtype, "r", there.offset, there.shape)

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[1:])

    def _content(self) -> bytes:
        if self._digests is None:
            self._digests = row_digests(self.array)
        return self.array.dtype.str.encode() + self._digests[self.index].tobytes()


@dataclass(frozen=True)
class _Mapped:
    """Where an array lies in a file."""

    file: str
    dtype: str
    offset: int
    shape: tuple[int, ...]


def number_alike(train: Source, test: Source) -> None:
    """Express labels and domains of the test part in the numbering of the training part, which both share then."""
    if test.labels is not None:
        test.labels, merged = renumber(test.labels, test.classes, train.classes)
        train.classes, test.classes = merged, list(merged)
    if test.domains is not None:
        test.domains, merged = renumber(test.domains, test.domain_names, train.domain_names)
        train.domain_names, test.domain_names = merged, list(merged)


def row_digests(array: np.ndarray) -> np.ndarray:
    """(N, 16) uint8: a BLAKE2b hash of the bytes of each row.

    Example:
        >>> row_digests(np.zeros((3, 5), np.uint8)).shape
        (3, 16)
    """
    digests = np.empty((len(array), 16), dtype=np.uint8)
    for number, row in enumerate(array):
        digests[number] = np.frombuffer(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), np.uint8)
    return digests


def ids_by_content(digests: np.ndarray) -> np.ndarray:
    """One id per distinct digest: the position of the first row that has it.

    Example:
        >>> ids_by_content(np.array([[1, 1], [7, 7], [1, 1]], np.uint8)).tolist()
        [0, 1, 0]
    """
    if not len(digests):
        return np.empty(0, dtype=np.int64)
    keys = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").reshape(-1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int64)


def require(source: Source, minimum: int, purpose: str = "training") -> None:
    """Refuse a source with fewer than `minimum` items.

    Raises:
        DataError: says how many there are, where from, and how many were skipped.
    """
    if len(source) >= minimum:
        return
    origin = source.details.get("path", "the data")
    lost = f" ({len(source.skipped)} more could not be read)" if source.skipped else ""
    raise DataError(
        f"{purpose} needs at least {minimum} items, and {origin} gives {len(source)}{lost}. "
        "Contrast compares items with each other: add more."
    )


def _positions(index: np.ndarray, count: int) -> np.ndarray:
    index = np.asarray(index)
    if index.dtype == bool:
        if index.shape != (count,):
            raise DataError(f"a mask over {count} items must have shape ({count},), not {index.shape}")
        return np.flatnonzero(index)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise DataError(f"an index must be a vector of whole numbers, not {index.dtype} of shape {index.shape}")
    index = index.astype(np.int64)
    if index.size and (index.min() < -count or index.max() >= count):
        raise DataError(f"the index reaches from {index.min()} to {index.max()}, but there are {count} items")
    return index
