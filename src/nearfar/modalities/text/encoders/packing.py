"""No padding at all: texts behind one another in one row, where a text looks at its own tokens only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention

from nearfar.errors import ConfigError
from nearfar.models.dropout import dropped

NAME = "nearfar"  # of the attention below, among those of transformers
# What makes attention another one than softmax(q k) v over the tokens of a text.
_UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias")
GROUPED = 6  # tokens by which texts may differ that attention takes together


@dataclass(frozen=True)
class Groups:
    """Texts of nearly the same length, which attention takes together; the shorter ones of a group are padded.

    Attributes:
        shapes: how many texts of a group, and the length of its longest, in the order of the texts.
        places: (T,) where each token stands among the P = sum(count * longest) places of all groups.
        there: (P,) at which places there is a token.
    """

    shapes: tuple[tuple[int, int], ...]
    places: Tensor
    there: Tensor

    @property
    def padded(self) -> bool:
        """Whether there is a place without a token."""
        return len(self.places) != len(self.there)

    def apart(self, states: Tensor) -> Iterator[Tensor]:
        """Of (T, ...) the texts of each group, (count, longest, ...), 0 where there is no token."""
        if self.padded:
            room = states.new_zeros(len(self.there), *states.shape[1:])
            states = room.index_copy(0, self.places, states)
        sizes = [count * longest for count, longest in self.shapes]
        for part, shape in zip(states.split(sizes), self.shapes, strict=True):
            yield part.unflatten(0, shape)

    def joined(self, parts: list[Tensor]) -> Tensor:
        """(T, width) of (count, longest, width) of each group."""
        states = torch.cat([part.flatten(0, 1) for part in parts])
        return embedding(self.places, states) if self.padded else states


@dataclass(frozen=True)
class Pack:
    """Texts of a batch behind one another, from the shortest to the longest.

    Attributes:
        rows: (B,) which texts of the batch. lengths: (B,) their tokens. ids: (1, T) of all texts together.
        positions: (1, T) of each token in its text. mask: (T,) False for the one token of a text that has none.
        groups: the texts for attention.
    """

    rows: Tensor
    lengths: Tensor
    ids: Tensor
    positions: Tensor
    mask: Tensor
    groups: Groups

    def spread(self, states: Tensor, padded: Tensor) -> Tensor:
        """(T, d) at its places of (B, L, d)."""
        of = self.rows.repeat_interleave(self.lengths)
        return padded.index_put((of, self.positions[0]), states)


def packs(tokens: Tensor, lengths: Tensor, pad: int, budget: int) -> Iterator[Pack]:
    """Texts (B, L) of so many tokens each as packs of `budget` tokens at most, but of one text at least.

    A text without tokens has one, `pad`.

    >>> tokens = torch.tensor([[5, 6, 7], [8, 9, -1], [-1, -1, -1]])
    >>> for pack in packs(tokens, torch.tensor([3, 2, 0]), pad=0, budget=4):
    ...     print(pack.rows.tolist(), pack.ids.tolist(), pack.positions.tolist(), pack.groups.shapes)
    [2, 1] [[0, 8, 9]] [[0, 0, 1]] ((2, 2),)
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
        yield Pack(rows, own, ids.where(ids >= 0, pad)[None], place[there][None], ids >= 0, groups_of(own))


def groups_of(lengths: Tensor) -> Groups:
    """Groups of texts of these lengths (B,), which go up; one holds lengths up to GROUPED tokens or a quarter apart."""
    listed = lengths.tolist()
    shapes: list[tuple[int, int]] = []
    first = 0
    for row, length in enumerate(listed):
        shortest = listed[first]
        if length > max(shortest + GROUPED, shortest * 5 // 4):
            shapes.append((row - first, listed[row - 1]))
            first = row
    shapes.append((len(listed) - first, listed[-1]))
    room = torch.cat([torch.arange(longest).expand(count, -1).flatten() for count, longest in shapes])
    own = torch.cat([torch.full((count,), longest) for count, longest in shapes])
    there = room.to(lengths.device) < lengths.repeat_interleave(own.to(lengths.device))
    return Groups(tuple(shapes), there.nonzero()[:, 0], there)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    texts: Groups | None = None,
    **how: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers over texts behind one another, a group of them at a time; else its usual one.

    Args:
        query: (1, heads, T, d), key and value alike, perhaps of fewer heads. texts: the groups of a `Pack`.

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
    causal = bool(getattr(module, "is_causal", True) if causal is None else causal)
    scale = how.get("scaling")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    rate = how.get("dropout", 0.0)
    queries, keys, values = (texts.apart(tensor[0].transpose(0, 1)) for tensor in (query, key, value))
    found, at = [], 0
    for q, k, v in zip(queries, keys, values, strict=True):
        count, longest = q.shape[:2]
        mask = texts.there[at : at + count * longest].view(count, 1, 1, longest)
        at += count * longest
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        if rate and not causal and k.shape[1] == q.shape[1]:  # the usual way is slow with dropout
            unseen = q.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf).expand(*q.shape[:2], 1, -1).flatten(0, 1)
            q, k, v = (tensor.flatten(0, 1) for tensor in (q, k, v))
            shares = torch.baddbmm(unseen, q, k.transpose(1, 2), alpha=scale).softmax(-1)
            made = (dropped(shares, rate) @ v).unflatten(0, (count, -1))
        else:
            made = scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=None if causal or not texts.padded else mask,  # looking back, none sees what is behind a text
                dropout_p=rate,
                is_causal=causal,
                scale=scale,
                enable_gqa=k.shape[1] != q.shape[1],
            )
        found.append(made.transpose(1, 2).flatten(2))
    return texts.joined(found).unflatten(-1, (query.shape[1], -1))[None], None


def states_of(model: Any, pack: Pack, **more: Tensor) -> Tensor:
    """(T, d) what a net that `takes_packs` makes of the tokens of a pack; `more` is known of them, (1, T) each."""
    places = pack.positions + _first(model)
    made: Tensor = model(input_ids=pack.ids, position_ids=places, texts=pack.groups, **more)[0]
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
