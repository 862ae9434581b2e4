"""Words and their pieces by hash: a static encoder without a vocabulary, made for machines without a GPU."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache

import torch
from torch import Tensor, nn

from nearfar.models.record import Record

from .pieces import lengths_of
from .pooling import pool

BUCKETS = 1 << 16
MOST = 512  # hashes of one text at most
WORD = re.compile(r"\w+|[^\w\s]")


@lru_cache(maxsize=1 << 17)
def hashes(word: str) -> tuple[int, ...]:
    """Buckets of a word and of its pieces of three to five characters, with < and > at its ends.

    >>> len(hashes("cat")), hashes("cat") == hashes("Cat")
    (6, True)
    """
    word = f"<{word.lower()}>"
    parts = {word[i : i + n] for n in (3, 4, 5) for i in range(len(word) - n + 1)} - {word}
    return tuple(zlib.crc32(part.encode("utf-8", "surrogatepass")) % BUCKETS for part in (word, *sorted(parts)))


class Ngrams(nn.Module):
    """The mean of the vectors of all words and pieces of a text, and a layer: (B, L) -> (B, width).

    Words that were never seen still share pieces with others. Source: Bojanowski et al. 2017, Enriching Word Vectors
    with Subword Information, section 3.2 (hashing of character n-grams); the hash here is CRC-32.

    >>> net = Ngrams(8)
    >>> net(net.tokens(["a cat", "cats and dogs"])).shape
    torch.Size([2, 8])
    """

    special: dict[str, int | None]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.special = dict.fromkeys(("cls", "sep", "mask", "pad"))
        self.vectors = nn.Embedding(BUCKETS, width)
        nn.init.normal_(self.vectors.weight, std=width**-0.5)
        self.dropout = nn.Dropout(0.1)
        self.mix = nn.Linear(width, width)
        nn.init.eye_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def tokens(self, texts: list[str]) -> Tensor:
        """(B, L) hashes of texts, -1 behind the end of each; a text without words has one hash."""
        rows = []
        for text in texts:
            found = [number for word in WORD.findall(text) for number in hashes(word)][:MOST]
            rows.append(torch.tensor(found or hashes("")))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).long()

    def lengths(self, tokens: Tensor) -> Tensor:
        """(B,) numbers of hashes."""
        return lengths_of(tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, width)."""
        mask = tokens >= 0
        counts = mask.sum(1)
        flat, starts = tokens[mask], counts.cumsum(0) - counts
        kept = self.dropout(torch.ones_like(flat, dtype=self.vectors.weight.dtype))  # whole words and pieces drop out
        total = nn.functional.embedding_bag(flat, self.vectors.weight, starts, mode="sum", per_sample_weights=kept)
        mixed: Tensor = self.mix(total / counts[:, None].clamp(min=1))
        return mixed

    def record(self, tokens: Tensor) -> Record:
        """Embeddings with the vectors of all hashes."""
        mask = tokens >= 0
        states = self.vectors(tokens.clamp(min=0))
        return Record(self.mix(pool(states, mask, "mean")), states, mask)
