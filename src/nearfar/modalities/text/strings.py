"""Many strings in two arrays, where a list would take an object for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np


class Strings(Sequence[str]):
    """N strings as one array of UTF-8 bytes and the places where each begins; a string is made when it is asked for.

    A string takes its bytes and 8 more, in a list it takes 57 more; rows are taken by an array of positions.

    Example:
        >>> strings = Strings.of(["near", "", "f\u00e4r"])
        >>> len(strings), strings[-1], list(strings[[2, 0]])
        (3, 'f\u00e4r', ['f\u00e4r', 'near'])
    """

    def __init__(self, data: np.ndarray, starts: np.ndarray) -> None:
        self.data = data
        self.starts = starts

    @classmethod
    def of(cls, strings: Iterable[str]) -> Strings:
        """Strings from an iterable, which is walked through once; what UTF-8 cannot hold (half a surrogate) is �."""
        writer = Writer()
        for string in strings:
            writer.append(string)
        return writer.strings()

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> Strings: ...
    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> str | Strings:
        if isinstance(index, int | np.integer):
            place = range(len(self))[index]
            return bytes(self.data[self.starts[place] : self.starts[place + 1]]).decode()
        return self._taken(np.arange(len(self))[index])

    def __iter__(self) -> Iterator[str]:
        view = memoryview(self.data.data)
        for first in range(0, len(self), 4096):  # plain numbers are quicker to walk through than those of an array
            starts = self.starts[first : first + 4097].tolist()
            for start, end in pairwise(starts):
                yield str(view[start:end], "utf-8")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Strings({len(self)} of {len(self.data)} bytes)"

    @property
    def sizes(self) -> np.ndarray:
        """(N,) int64: bytes of each string."""
        return np.diff(self.starts)

    def _taken(self, chosen: np.ndarray) -> Strings:
        sizes = self.sizes[chosen]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        data = np.empty(int(starts[-1]), np.uint8)
        for place, (row, size) in enumerate(zip(chosen.tolist(), sizes.tolist(), strict=True)):
            begin = self.starts[row]
            data[starts[place] : starts[place] + size] = self.data[begin : begin + size]
        return Strings(data, starts)


class Writer:
    """Takes strings one after another."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, string: str) -> None:
        """Take one more."""
        self._data += encoded(string)
        self._ends.append(len(self._data))

    def strings(self) -> Strings:
        """All that were taken; the writer must not be used any more."""
        return Strings(np.frombuffer(self._data, np.uint8), np.frombuffer(self._ends, np.int64))


def encoded(string: str) -> bytes:
    """UTF-8 bytes of a string; half a surrogate, which has none, is written as �."""
    try:
        return string.encode()
    except UnicodeEncodeError:
        return string.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
