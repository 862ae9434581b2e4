"""Nets over hashed words that are trained from scratch: recurrent ones and small transformers."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError
from nearfar.models.record import Record

from .ngrams import WORD
from .pieces import lengths_of
from .pooling import pool
from .tasks import WordTasks

BUCKETS = 1 << 15
MASK, FIRST = 0, 1  # the id of the mask; those of words come behind it
MOST = 128  # words of a text at most
BETWEEN = "\x1e"  # stands between two texts, and in none


class Words(WordTasks, nn.Module):
    """Base of nets over the hashes of words, in their order: (B, L) token ids, -1 behind the end -> (B, width).

    A word has one of 32,767 ids by CRC-32, whatever the case of its letters; a mark of punctuation is a word. There is
    no vocabulary to be built, and two words may share an id.
    """

    most = MOST

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.special = {"cls": None, "sep": None, "mask": MASK, "pad": None}
        self.vectors = nn.Embedding(BUCKETS, width)
        nn.init.normal_(self.vectors.weight, std=width**-0.5)
        self.dropout = nn.Dropout(dropout)

    def tokens(self, texts: list[str]) -> Tensor:
        """(B, L) ids of the words of texts, cut to 128, -1 behind the end of each; a text without words has one."""
        rows = [torch.tensor([_id(word) for word in WORD.findall(text)[:MOST]] or [_id("")]) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).long()

    def joined(self, texts: list[str], others: list[str]) -> Tensor:
        """(B, L) ids of pairs of texts, one behind the other with a mark between them; each cut to half as many."""
        mark, rows = _id(BETWEEN), []
        for text, other in zip(texts, others, strict=True):
            one, two = ([_id(word) for word in WORD.findall(side)[: MOST // 2 - 1]] for side in (text, other))
            rows.append(torch.tensor([*one, mark, *two]))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).long()

    def words_of(self, text: str) -> list[int]:
        """See `WordTasks`."""
        return [_id(word) for word in WORD.findall(text)]

    @property
    def reads(self) -> int:
        """See `WordTasks`."""
        return MOST

    def lengths(self, tokens: Tensor) -> Tensor:
        """(B,) numbers of words."""
        return lengths_of(tokens)

    def states(self, vectors: Tensor, mask: Tensor, causal: bool = False) -> Tensor:
        """(B, L, d) what the net makes of the vectors of words; `mask` is False for padding.

        With `causal` the t-th state knows nothing of words behind t.
        """
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, width): the mean of the states of all words."""
        return self.record(tokens).embedding

    def record(self, tokens: Tensor) -> Record:
        """Embeddings with the states of all words."""
        tokens = self.trimmed(tokens)  # views may have repeated some
        mask = tokens >= 0
        states = self.states_of(self.vectors_of(tokens), mask)
        return Record(pool(states, mask, "mean"), states, mask)

    @property
    def vocabulary(self) -> nn.Embedding:
        """See `WordTasks`."""
        return self.vectors

    def vectors_of(self, tokens: Tensor) -> Tensor:
        """See `WordTasks`."""
        made: Tensor = self.vectors(tokens.clamp(min=0)) * self.width**0.5
        return made

    def states_of(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """See `WordTasks`."""
        return self.states(self.dropout(vectors), mask)

    def upto(self, tokens: Tensor) -> Tensor:
        """See `WordTasks`; of a recurrent net the half that reads forwards."""
        return self.states(self.dropout(self.vectors_of(tokens)), tokens >= 0, causal=True)


class Recurrent(Words):
    """One layer of gated recurrent units in both directions. Source: Cho et al. 2014, eq. 5 to 8.

    >>> net = Recurrent(8).eval()
    >>> net(net.tokens(["a cat", "dogs and cats"])).shape
    torch.Size([2, 8])
    """

    def __init__(self, width: int, dropout: float = 0.1) -> None:
        if width % 2:
            raise ConfigError(f"the width of a net in both directions is even, not {width}")
        super().__init__(width, dropout)
        self.net = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def states(self, vectors: Tensor, mask: Tensor, causal: bool = False) -> Tensor:
        """See `Words.states`."""
        seen = self.width // 2 if causal else self.width
        if not len(vectors):
            return vectors[..., :seen]
        counts = mask.sum(1).clamp(min=1).cpu()  # a text that is not there has a state too, which no one looks at
        packed = nn.utils.rnn.pack_padded_sequence(vectors, counts, batch_first=True, enforce_sorted=False)
        found, _ = nn.utils.rnn.pad_packed_sequence(self.net(packed)[0], batch_first=True)
        return self.dropout(found[..., :seen])


class SmallTransformer(Words):
    """A few layers of self-attention with norms first, and learned positions. Source: Vaswani et al. 2017, section 3.

    >>> net = SmallTransformer(64, layers=2).eval()
    >>> net(net.tokens(["a cat", "dogs and cats"])).shape
    torch.Size([2, 64])
    """

    def __init__(self, width: int, layers: int, dropout: float = 0.1) -> None:
        if width % 64:
            raise ConfigError(f"the width of a small transformer is a multiple of 64, a head each, not {width}")
        super().__init__(width, dropout)
        self.positions = nn.Embedding(MOST, width)
        nn.init.normal_(self.positions.weight, std=width**-0.5)
        one = nn.TransformerEncoderLayer(
            width, width // 64, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.net = nn.TransformerEncoder(one, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def states(self, vectors: Tensor, mask: Tensor, causal: bool = False) -> Tensor:
        """See `Words.states`."""
        if not len(vectors):  # the net runs all the same: processes that share its weights wait for each other
            return self.states(vectors.new_zeros(1, *vectors.shape[1:]), mask.new_ones(1, mask.shape[1]), causal)[:0]
        seen = mask.clone()
        seen[:, 0] = True
        placed = vectors + self.positions.weight[: vectors.shape[1]] * self.width**0.5
        later = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).triu(1)
        found: Tensor = self.net(placed, later if causal else None, src_key_padding_mask=~seen)
        return found


def _id(word: str) -> int:
    return FIRST + zlib.crc32(word.lower().encode("utf-8", "surrogatepass")) % (BUCKETS - FIRST)
