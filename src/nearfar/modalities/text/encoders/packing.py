"""No padding at all: texts behind one another in one row, where a text looks at its own tokens only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from nearfar.errors import ConfigError

NAME = "nearfar"  # of the attention below, among those of transformers
# What makes attention another one than softmax(q k) v over the tokens of a text.
_UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias")


@dataclass(frozen=True)
class Pack:
    """Texts of a batch behind one another, from the shortest to the longest.

    Attributes:
        rows: (B,) which texts of the batch. ids: (1, T) their tokens, T of all texts together.
        positions: (1, T) of each token in its text. mask: (T,) False for the one token of a text that has none.
        texts: how many texts of how many tokens each, (count, length) for every length there is, in the order of rows.
    """

    rows: Tensor
    ids: Tensor
    positions: Tensor
    mask: Tensor
    texts: tuple[tuple[int, int], ...]

    def apart(self, states: Tensor) -> Iterator[Tensor]:
        """Of (T, ...) the texts of each length, (count, length, ...)."""
        sizes = [count * length for count, length in self.texts]
        for part, (count, length) in zip(states.split(sizes), self.texts, strict=True):
            yield part.unflatten(0, (count, length))

    def spread(self, states: Tensor, padded: Tensor) -> Tensor:
        """(T, d) at its places of (B, L, d)."""
        counts, lengths = torch.tensor(self.texts, device=states.device).unbind(1)
        of = self.rows.repeat_interleave(lengths.repeat_interleave(counts))
        return padded.index_put((of, self.positions[0]), states)


def packs(tokens: Tensor, lengths: Tensor, pad: int, budget: int) -> Iterator[Pack]:
    """Texts (B, L) of so many tokens each as packs of `budget` tokens at most, but of one text at least.

    A text without tokens has one, `pad`.

    >>> tokens = torch.tensor([[5, 6, 7], [8, 9, -1], [-1, -1, -1]])
    >>> for pack in packs(tokens, torch.tensor([3, 2, 0]), pad=0, budget=4):
    ...     print(pack.rows.tolist(), pack.ids.tolist(), pack.positions.tolist(), pack.texts)
    [2, 1] [[0, 8, 9]] [[0, 0, 1]] ((1, 1), (1, 2))
    [0] [[5, 6, 7]] [[0, 1, 2]] ((1, 3),)
    """
    lengths = lengths.clamp(min=1)
    order = lengths.argsort(stable=True)
    stops, total = [], 0
    for row, length in enumerate(lengths[order].tolist()):
        if total and total + length > budget:
            stops.append(row)
            total = 0
        total += length
    for rows in order.tensor_split(stops):
        own = lengths[rows]
        place = torch.arange(int(own[-1]), device=tokens.device).expand(len(rows), -1)
        there = place < own[:, None]
        ids = tokens[rows, : place.shape[1]][there]
        values, counts = own.unique_consecutive(return_counts=True)
        texts = tuple(zip(counts.tolist(), values.tolist(), strict=True))
        yield Pack(rows, ids.where(ids >= 0, pad)[None], place[there][None], ids >= 0, texts)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    texts: tuple[tuple[int, int], ...] | None = None,
    **how: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers over texts behind one another, each length of text at a time; else its usual one.

    Args:
        query: (1, heads, T, d), key and value alike, perhaps of fewer heads. texts: see `Pack`.

    Raises:
        ConfigError: there are `texts`, and the net wants what is not known here.
    """
    if texts is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        usual: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **how)
        return usual
    unknown = [name for name in _UNKNOWN if how.get(name) is not None]
    if attention_mask is not None or unknown:
        raise ConfigError(f"{type(module).__name__} cannot look at texts behind one another: {unknown or 'a mask'}")
    causal = how.get("is_causal")
    sizes = [count * length for count, length in texts]
    queries, keys, values = (tensor[0].transpose(0, 1).split(sizes) for tensor in (query, key, value))
    found = []
    for text, q, k, v in zip(texts, queries, keys, values, strict=True):
        made = scaled_dot_product_attention(
            q.unflatten(0, text).transpose(1, 2),
            k.unflatten(0, text).transpose(1, 2),
            v.unflatten(0, text).transpose(1, 2),
            dropout_p=how.get("dropout", 0.0),
            is_causal=bool(getattr(module, "is_causal", True) if causal is None else causal),
            scale=how.get("scaling"),
            enable_gqa=key.shape[1] != query.shape[1],
        )
        found.append(made.transpose(1, 2).flatten(0, 1))
    return torch.cat(found)[None], None


def states_of(model: Any, pack: Pack, **more: Tensor) -> Tensor:
    """(T, d) what a net that `takes_packs` makes of the tokens of a pack; `more` is known of them, (1, T) each."""
    places = pack.positions + _first(model)
    made: Tensor = model(input_ids=pack.ids, position_ids=places, texts=pack.texts, **more)[0]
    return made[0]


def takes_packs(model: Any) -> bool:
    """Whether a net of transformers can read texts behind one another: whether it makes of them what it makes of each.

    It is tried on a few tokens, for there are nets whose positions, windows or masks do not go along. From then on a
    net that can has the attention of this file; the others keep theirs.
    """
    usual = model.config._attn_implementation
    if usual != "sdpa":
        return False
    register()
    device, training = next(model.parameters()).device, model.training
    tokens = torch.tensor([[3, 4, 5, 6, 7], [8, 5, -1, -1, -1], [4, 9, 3, 7, -1]], device=device)
    lengths = torch.tensor([5, 2, 4], device=device)
    tokens %= int(model.config.vocab_size)
    model.eval()
    try:
        with torch.no_grad():
            want = [model(input_ids=row[None, :length])[0][0] for row, length in zip(tokens, lengths, strict=True)]
            model.set_attn_implementation(NAME)
            (pack,) = packs(tokens, lengths, 0, 99)
            got = states_of(model, pack).split(sorted(lengths.tolist()))
        pairs = zip(got, (want[row] for row in pack.rows.tolist()), strict=True)
        able = all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in pairs)
    except (ConfigError, TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError):
        able = False
    finally:
        model.train(training)
    if not able:
        model.set_attn_implementation(usual)
    return able


def register() -> None:
    """Make the attention of this file known to transformers, once in each process."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _first(model: nn.Module) -> int:
    """The position of the first token: some nets keep one for padding, and count from behind it."""
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return int(part.padding_idx) + 1
    return 0
