"""Tasks that ask an encoder of words: to guess words, to tell which were replaced, to say a text again.

Each is a module that gives, for every text, the sum of its losses and how many there are, so that micro-batches and
processes add up to the whole batch. What it draws depends on the text and on a salt, see `WordTasks` of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, gelu, linear
from torch.utils.checkpoint import checkpoint

from ..errors import ConfigError
from .method import Contrast, Method

_ONE = torch.zeros(1, 1, dtype=torch.long)  # a text, to see how wide its states are
CHUNK = 1024  # words whose scores over the vocabulary are held at a time


def needs_words(encoder: Any, who: str) -> None:
    """Raise ConfigError unless an encoder can be asked of words."""
    asked = ("vocabulary", "vectors_of", "states_of", "upto", "masked", "shortened", "replaced")
    lacking = [name for name in asked if not hasattr(encoder, name)]
    if lacking:
        raise ConfigError(
            f"{who} asks an encoder of words for {lacking[0]}, which {type(encoder).__name__} does not offer; for "
            "texts take minilm, hf/NAME, transformer or gru"
        )


class WordHead(nn.Module):
    """From states (M, d) and the words (M,) that they should say to losses (M,), over the encoder's own word vectors.

    A linear layer, GELU and a norm, then the product with the vectors (V, e) and a bias for each word; -log of its
    softmax. Source: Devlin et al. 2019, BERT, and its code.
    """

    generates = True

    def __init__(self, width: int, vocabulary: nn.Embedding) -> None:
        super().__init__()
        self.inward = nn.Linear(width, vocabulary.embedding_dim)
        self.norm = nn.LayerNorm(vocabulary.embedding_dim)
        self.bias = nn.Parameter(torch.zeros(vocabulary.num_embeddings))

    def forward(self, states: Tensor, words: Tensor, vocabulary: nn.Embedding) -> Tensor:
        """The scores of many rows are made again in the backward pass, some rows at a time."""

        def losses(some: Tensor, said: Tensor) -> Tensor:
            return cross_entropy(self.scores(some, vocabulary), said, reduction="none")

        if len(states) <= CHUNK:
            return losses(states, words)
        pairs = zip(states.split(CHUNK), words.split(CHUNK), strict=True)
        made = [checkpoint(losses, *pair, use_reentrant=False, preserve_rng_state=False) for pair in pairs]
        return torch.cat(made)

    def scores(self, states: Tensor, vocabulary: nn.Embedding, words: Tensor | slice = slice(None)) -> Tensor:
        """(M, W) scores of some words, or of all (M, V)."""
        return linear(self.norm(gelu(self.inward(states))), vocabulary.weight[words], self.bias[words])


class MaskedWords(nn.Module):
    """Some words of a text are masked, and its states there say which they were.

    Source: Devlin et al. 2019, BERT, section 3.1.
    """

    def __init__(self, encoder: Any, share: float) -> None:
        super().__init__()
        self.share = share
        given, _ = encoder.masked(_ONE, share, 0)  # says now where there is no mask
        self.head = WordHead(encoder.record(given).tokens.shape[2], encoder.vocabulary)

    def forward(self, encoder: Any, tokens: Tensor, salt: int) -> Tensor:
        """(B, L) -> (B, 2): sums of losses, and how many."""
        tokens = encoder.trimmed(tokens)
        given, chosen = encoder.masked(tokens, self.share, salt)
        states = encoder.record(given).tokens
        return added(self.head(states[chosen], tokens[chosen], encoder.vocabulary), chosen)


class NextWords(nn.Module):
    """The state of each word, which knows nothing of what comes behind, says the next one.

    Source: Bengio et al. 2003, section 2; in both directions and beside other tasks Peters et al. 2018, of which this
    is the forward half.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.head = WordHead(encoder.upto(_ONE).shape[2], encoder.vocabulary)

    def forward(self, encoder: Any, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, 2): sums of losses, and how many."""
        tokens = encoder.trimmed(tokens)
        following, there = tokens[:, 1:], tokens[:, 1:] >= 0
        states = encoder.upto(tokens)[:, :-1]
        return added(self.head(states[there], following[there], encoder.vocabulary), there)


class ReplacedWords(nn.Module):
    """Which words of a text were replaced: asked of a second net, which is given the projection of the text as it was.

    The net is a copy of the encoder as it starts, which learns by itself; the projection stands in the place of the
    first token, of which nothing is asked. The words are replaced by the encoder's masked model, where it has one;
    else by words of earlier batches, drawn at random, of which so many are remembered.
    Source: Chuang et al. 2022, DiffCSE, section 3; voidism/DiffCSE.
    """

    generates = True
    pool: Tensor
    filled: Tensor

    def __init__(self, encoder: Any, width: int, share: float, remembered: int = 4096) -> None:
        super().__init__()
        self.share = share
        self.net = deepcopy(encoder)
        size = encoder.vocabulary.embedding_dim
        self.inward: nn.Module = nn.Identity() if width == size else nn.Linear(width, size)
        self.head = nn.Linear(encoder.record(_ONE).tokens.shape[2], 1)
        self.register_buffer("pool", torch.zeros(remembered, dtype=torch.long))
        self.register_buffer("filled", torch.tensor(0))

    def forward(self, encoder: Any, tokens: Tensor, projection: Tensor, salt: int) -> Tensor:
        """(B, L) and (B, D) -> (B, 2): sums of the logistic losses of all words but the first, and how many."""
        tokens = encoder.trimmed(tokens)
        given, changed = encoder.replaced(tokens, self.share, salt, self.pool[: int(self.filled)])
        vectors = self.net.vectors_of(given)
        vectors = torch.cat([self.inward(projection)[:, None].to(vectors.dtype), vectors[:, 1:]], 1)
        states = self.net.states_of(vectors, tokens >= 0)
        asked = tokens >= 0
        asked[:, 0] = False
        scores = self.head(states[asked])[:, 0]
        losses = binary_cross_entropy_with_logits(scores, changed[asked].to(scores.dtype), reduction="none")
        return added(losses, asked)

    def remember(self, words: Tensor) -> None:
        """Keep the last of some words (N,), before those that were there."""
        kept = torch.cat([words.flip(0), self.pool[: int(self.filled)]])[: len(self.pool)]
        self.pool[: len(kept)] = kept
        self.filled.fill_(len(kept))


class SaidAgain(nn.Module):
    """A text is said again by a decoder that has its vector, and little else: what it sees of the words is spoilt.

    The decoder is a small transformer over the encoder's word vectors, without gradient, and positions; all its layers
    attend to one vector. With `causal` each word is said from those before it; else all are said at once, and the
    numbers of their vectors are zero with probability `dropped`.
    Sources: Wang et al. 2021, TSDAE, section 3 (causal); Wang et al. 2023, DenoSent (not causal); xinghaow99/DenoSent.
    """

    def __init__(self, encoder: Any, width: int, layers: int, causal: bool, dropped: float) -> None:
        super().__init__()
        size = encoder.vocabulary.embedding_dim
        self.causal = causal
        self.inward, self.norm = nn.Linear(width, size), nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropped)
        layer = nn.TransformerDecoderLayer(size, 1, 4 * size, 0.0, "gelu", batch_first=True, norm_first=True)
        self.net = nn.TransformerDecoder(layer, layers, nn.LayerNorm(size))
        self.head = WordHead(size, encoder.vocabulary)

    def forward(self, encoder: Any, tokens: Tensor, vector: Tensor) -> Tensor:
        """The texts (B, L) to be said, and (B, width) what is known of them -> (B, 2): sums of losses, and how many."""
        if not len(tokens):  # attention does not take nothing
            return vector.new_zeros(0, 2)
        tokens = encoder.trimmed(tokens)
        there = tokens >= 0
        seen = self.dropout(self.norm(encoder.vectors_of(tokens).detach()))
        if self.causal:  # word t is said from those before it, the first one from nothing
            seen = torch.cat([torch.zeros_like(seen[:, :1]), seen[:, :-1]], 1)
        seen = seen + places(tokens.shape[1], seen.shape[2]).to(seen)
        later = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=seen.device).triu(1)
        shown = there.clone()
        shown[:, 0] = True
        states = self.net(
            seen,
            self.inward(vector)[:, None],
            tgt_mask=later if self.causal else None,
            tgt_key_padding_mask=~shown,
        )
        asked = encoder.free(tokens)
        return added(self.head(states[asked], tokens[asked], encoder.vocabulary), asked)


def places(length: int, width: int) -> Tensor:
    """(L, width) sines and cosines of positions. Source: Vaswani et al. 2017, section 3.5.

    >>> places(2, 4)[1]
    tensor([0.8415, 0.0100, 0.5403, 0.9999])
    """
    rates = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :width]


def added(losses: Tensor, where: Tensor) -> Tensor:
    """(B, 2): the sums of the losses (M,) of the places that are True in `where` (B, L), and how many there are.

    >>> added(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([[True, True], [False, True]]))
    tensor([[3., 2.],
            [4., 1.]])
    """
    sums = losses.new_zeros(where.shape).masked_scatter(where, losses).sum(1)
    return torch.stack([sums, where.sum(1).to(sums.dtype)], 1)


def beside(
    said: Contrast, method: Method, projections: Sequence[dict[str, Tensor]], weights: dict[str, float]
) -> Contrast:
    """A contrast with tasks beside it: of each the mean loss of a word over all views and processes, times its weight.

    Args:
        said: the contrast. method: whose processes share the batch.
        projections: of every view, which hold sums and numbers (B, 2) by the names of the tasks.
        weights: of the tasks, by name.
    """
    terms = {}
    for name, weight in weights.items():
        total = method.together(torch.cat([view[name] for view in projections])).sum(0)
        terms[name] = weight * total[0] / total[1].clamp(min=1)
    return Contrast(said.loss + torch.stack(list(terms.values())).sum(), {**said.terms, **terms})
