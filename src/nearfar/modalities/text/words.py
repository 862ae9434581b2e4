"""Texts as words and back: what stands between spaces, and single characters where a script has no spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from .edits import LETTER, TYPO, insert, uniform

# Scripts that are written without spaces: Thai and Lao, Tibetan, Burmese, Khmer, kana and Han with their signs, and
# Han beyond the first plane. A character with the marks that belong to it is a word of theirs.
_BLOCKS = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x312F), (0x3190, 0x9FFF))
_FURTHER = ((0xF900, 0xFAFF), (0xFF01, 0xFF9F), (0x20000, 0x3FFFF))
_MARKS = "\u0300-\u036f\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef" + "".join(
    chr(code)
    for first, last in _BLOCKS[:3]
    for code in range(first, last + 1)
    if unicodedata.category(chr(code)).startswith("M")
)
_UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in (*_BLOCKS, *_FURTHER))
_WORD = re.compile(rf"(\s*)((?!\s)[{_UNSPACED}][{_MARKS}\u3099\u309a]*|[^\s{_UNSPACED}]+)")
_TIGHT = re.compile(rf"[{_UNSPACED}]")

PUNCTUATION = (".", ";", "?", ":", "!", ",")
_STOP = re.compile(r"[,;:.!?\u2014\u3001\u3002\uff0c\uff1b\uff1a]$")


def split(text: str) -> list[str]:
    """The words of a text, punctuation with the word that it touches.

    >>> split("Tea, please!"), split("我喝 green茶。")
    (['Tea,', 'please!'], ['我', '喝', 'green', '茶', '。'])
    """
    return [word for _, word in _WORD.findall(text)]


class Words:
    """Words of a batch as ids, one number for every place, so that edits of ids are edits of words.

    Args:
        texts: the batch; a text without a word stays as it is.

    >>> batch = Words(["one two three"])
    >>> batch.ids.tolist(), batch.texts(torch.tensor([[2, 0, -1]]))
    ([[0, 1, 2]], ['three one'])
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._sources = list(texts)
        found = [_WORD.findall(text) for text in texts]
        self._gaps, self._words = [], []
        for pairs in found:
            for gap, word in pairs:
                self._gaps.append(gap)
                self._words.append(word)
        self.lengths = torch.tensor([len(pairs) for pairs in found], dtype=torch.int64)
        self._first = self.lengths.cumsum(0) - self.lengths

    @cached_property
    def ids(self) -> Tensor:
        """All words, (B, L) with -1 behind the end of each text."""
        return self.part(torch.zeros_like(self.lengths), self.lengths)

    def part(self, start: Tensor, length: Tensor) -> Tensor:
        """Words `start` to ``start + length - 1`` of each text, (B, L)."""
        within = torch.arange(int(length.max()) if len(length) else 0)
        return ((self._first + start)[:, None] + within).masked_fill(within >= length[:, None], -1)

    def punctuated(self, ids: Tensor, seeds: Tensor, share: float) -> Tensor:
        """A mark of punctuation behind each word with probability `share`.

        Source: Karimi et al. 2021, AEDA.
        """
        first = self._add(PUNCTUATION)
        return insert(ids, seeds, share, torch.arange(first, first + len(PUNCTUATION)))

    def mistyped(self, ids: Tensor, seeds: Tensor, share: float) -> Tensor:
        """Two inner letters that are neighbours change places in each word of four or more with probability `share`."""
        drawn = uniform(seeds, TYPO, ids.shape[1])
        chosen = (ids >= 0) & (drawn < share)
        made = []
        where = uniform(seeds, LETTER, ids.shape[1])[chosen].tolist()
        for one, letter in zip(ids[chosen].tolist(), where, strict=True):
            word = self._words[one]
            at = 1 + int(letter * (len(word) - 3))
            if len(word) >= 4 and word[at : at + 2].isalpha():
                one = self._add((word[:at] + word[at + 1] + word[at] + word[at + 2 :],))
            made.append(one)
        return ids.masked_scatter(chosen, torch.tensor(made, dtype=torch.int64))

    def texts(self, ids: Tensor) -> list[str]:
        """The texts that ids stand for: words that stood together stay so, others get a space where there are any."""
        rows = _rows(ids)
        ends = zip(self._first.tolist(), self.lengths.tolist(), strict=True)
        whole = [row == list(range(first, first + length)) for row, (first, length) in zip(rows, ends, strict=True)]
        return [
            source if same else self._joined(row) for source, row, same in zip(self._sources, rows, whole, strict=True)
        ]

    def _joined(self, row: list[int]) -> str:
        made, before = [self._words[row[0]]] if row else [], row[0] if row else -1
        for one in row[1:]:
            word = self._words[one]
            if one == before + 1:
                made.append(self._gaps[one])
            elif not (_TIGHT.match(word) and _TIGHT.match(self._words[before])):
                made.append(" ")
            made.append(word)
            before = one
        return "".join(made)

    def _add(self, words: Sequence[str]) -> int:
        """New words, none of which follows another; the id of the first."""
        first = len(self._words)
        self._words.extend(words)
        self._gaps.extend(" " for _ in words)
        return first


def phrases(text: str) -> tuple[str, str]:
    """Two phrases of a text: cut behind the punctuation nearest to the middle, and in the middle where there is none.

    A text of one word is both phrases. Without a parser these are no constituents of grammar.

    Source: Chanchani and Huang 2023, CompCSE (which takes a parser of discourse, or the middle).

    >>> phrases("When it rains, we stay at home and read.")
    ('When it rains,', 'we stay at home and read.')
    """
    found = list(_WORD.finditer(text))
    if len(found) < 2:
        return text, text
    middle = len(found) / 2
    stops = [place + 1 for place, one in enumerate(found[:-1]) if _STOP.search(one[2])]
    cut = min(stops, key=lambda place: abs(place - middle)) if stops else round(middle)
    return text[: found[cut - 1].end()].strip(), text[found[cut].start(2) :].strip()


def _rows(ids: Tensor) -> list[list[int]]:
    """Ids of each text without what is behind its end."""
    listed: list[list[int]] = ids.tolist()
    return [row[:length] for row, length in zip(listed, (ids >= 0).sum(1).tolist(), strict=True)]
