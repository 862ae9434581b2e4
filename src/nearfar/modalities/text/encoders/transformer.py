"""Transformers of Hugging Face as encoders of texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.errors import ConfigError
from nearfar.models.dropout import quickened
from nearfar.models.record import Record

from .. import edits
from . import packing
from .attention import looked_up, places, showing
from .pieces import lengths_of, pieces
from .pooling import Pooling, pool
from .soft import SoftPrompts
from .tasks import WordTasks

SETTINGS = "encoder.json"
# Tokens at a time, twice as many where no gradients are kept: on a CPU what stays in its cache.
BUDGET = {"cpu": 512, "cuda": 32768}
# Of packs, which are for CPUs; with gradients few large ones, for each adds to those of all weights.
PACKED, PACKED_ALONE = 8192, 2048


@dataclass(frozen=True)
class TextSettings:
    """What an encoder of texts does beside its net.

    Attributes:
        pooling: how the states of tokens become one vector.
        normalise: whether embeddings have length 1.
        most_tokens: texts are cut to so many tokens.
        dense: layers behind the pooling, as (width in, width out, activation, whether it has a bias).
        lora: rank of low-rank adapters, which alone learn then; 0 for none.
        soft_prompts: vectors in front of the text in each layer, which alone learn then; 0 for none.
        width: of the embedding, where only so many of its first numbers are used (Matryoshka).
    """

    pooling: Pooling = "mean"
    normalise: bool = False
    most_tokens: int = 256
    dense: tuple[tuple[int, int, str, bool], ...] = field(default=())
    lora: int = 0
    soft_prompts: int = 0
    width: int | None = None


class Dense(nn.Sequential):
    """A layer behind the pooling: a linear map and "tanh" or "identity"."""

    def __init__(self, before: int, after: int, activation: str, bias: bool) -> None:
        super().__init__(nn.Linear(before, after, bias), nn.Tanh() if activation == "tanh" else nn.Identity())


class Transformer(WordTasks, nn.Module):
    """A model of `transformers` with its tokeniser: (B, L) token ids, -1 behind the end -> (B, width).

    Texts are sorted by length, and on a CPU stand behind one another without any padding, where the net can read them
    so; elsewhere those of similar length are encoded together, so that a batch with one long text costs little more
    than without it. The values are those of encoding each text alone, to rounding.

    Attributes:
        width: of the embedding.
        special: token ids of "cls", "sep", "mask" and "pad", None where there is none.
    """

    start: dict[str, Any] | None = None

    def __init__(self, model: nn.Module, tokeniser: Any, settings: TextSettings) -> None:
        super().__init__()
        self.model, self.tokeniser, self.settings = quickened(model), tokeniser, settings
        self.dense = nn.ModuleList(Dense(*layer) for layer in settings.dense)
        made = settings.dense[-1][1] if settings.dense else int(model.config.hidden_size)  # type: ignore
        self.width = made if settings.width is None else min(settings.width, made)
        tokeniser.padding_side = "right"
        pad = tokeniser.pad_token_id
        self.special = {
            "cls": tokeniser.cls_token_id,
            "sep": tokeniser.sep_token_id,
            "mask": tokeniser.mask_token_id,
            "pad": pad,
        }
        self._pad, self.unknown = pad or 0, tokeniser.unk_token_id
        self._packs: bool | None = None  # whether the net can read texts behind one another, once that was tried
        self.soft: SoftPrompts | None = None
        if settings.soft_prompts:
            self.soft = SoftPrompts(model, settings.soft_prompts, int(model.config.hidden_size))  # type: ignore

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        packing.register()  # in the process that this came to

    @property
    def fine_tuning(self) -> dict[str, Any]:
        """Settings of training that nobody set."""
        return {"lr": 5e-5 if self.soft is None else 1e-2, "warmup": 0.1}

    @property
    def token_width(self) -> int:
        """Numbers of the state of a token."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def joined(self, texts: list[str], others: list[str]) -> Tensor:
        """(B, L) token ids of pairs of texts, one behind the other, cut to `most_tokens`, the longer one first."""
        listed = self.tokeniser(texts, others, truncation=True, max_length=self.settings.most_tokens, padding=False)
        rows = [torch.tensor(ids) for ids in listed["input_ids"]]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).long()

    def tokens(self, texts: list[str]) -> Tensor:
        """(B, L) token ids of texts, cut to `most_tokens`, -1 behind the end of each."""
        listed = self.tokeniser(texts, truncation=True, max_length=self.settings.most_tokens, padding=False)
        rows = [torch.tensor(ids) for ids in listed["input_ids"]]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).long()

    def words_of(self, text: str) -> list[int]:
        """See `WordTasks`."""
        ids: list[int] = self.tokeniser(text, add_special_tokens=False)["input_ids"]
        return ids

    @property
    def reads(self) -> int:
        """See `WordTasks`."""
        return self.settings.most_tokens

    def lengths(self, tokens: Tensor) -> Tensor:
        """(B,) numbers of tokens."""
        return lengths_of(tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, width)."""
        if not len(tokens):
            return self._embed(*self._states(tokens))
        if self._packing(tokens):
            packed = list(self._packed(tokens))
            alike = [zip(*map(pack.groups.apart, (states, pack.mask)), strict=True) for pack, states in packed]
            parts = [self._embed(*texts) for pack in alike for texts in pack]
            return torch.cat(parts)[torch.cat([pack.rows for pack, _ in packed]).argsort()]
        budget = BUDGET.get(tokens.device.type, BUDGET["cuda"]) * (1 if torch.is_grad_enabled() else 2)
        cut = list(pieces(self.lengths(tokens), budget))
        parts = [self._embed(*self._states(tokens[rows, :longest])) for rows, longest in cut]
        return torch.cat(parts)[torch.cat([rows for rows, _ in cut]).argsort()]

    def attending(self, tokens: Tensor, layers: tuple[int, int], count: int, salt: int) -> tuple[Tensor, Tensor]:
        """Embeddings, and attention at `count` places of each text, (B, heads, 2, count); see `attention.places`.

        Of an even number of layers, from the first to before the second of `layers`: at those of even place, then at
        the others. 0 where dropout took a place, -1 where a short text has none. Places depend on text and `salt`.

        Raises:
            ConfigError: there are no such layers, or their attention cannot be seen.
        """
        first, last = layers
        deepest = int(self.model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        if not 0 <= first < last <= deepest or (last - first) % 2 or self.soft is not None:
            raise ConfigError(
                f"attention of layers {first} to {last}: the net has {deepest}, and an even number of them is "
                "compared; set attention_layers, and leave out soft_prompts"
            )
        budget = BUDGET.get(tokens.device.type, BUDGET["cuda"])
        parts, half = list(pieces(self.lengths(tokens), budget)), (last - first) // 2
        made = []
        with showing(self.model):
            for rows, longest in parts:
                part = tokens[rows, :longest]
                mask = part >= 0
                ids = part.masked_fill(~mask, self._pad)
                out = self.model(input_ids=ids, attention_mask=_seen(mask).long(), output_attentions=True)
                where = places(mask.sum(1), half, longest, edits.seeds_of_tokens(part, salt), count)
                seen = looked_up(torch.stack(out.attentions[first:last], 1), *where)
                made.append((self._embed(out.last_hidden_state, mask), seen))
        back = torch.cat([rows for rows, _ in parts]).argsort()
        vectors, maps = (torch.cat(kind)[back] for kind in zip(*made, strict=True))
        return vectors, maps

    @property
    def layers_compared(self) -> tuple[int, int]:
        """Layers whose attention is compared where nobody said: 7 to before 11 of 12, and the same shares of others."""
        deepest = int(self.model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        last = max(2, 11 * deepest // 12)
        return last - max(2, deepest // 3 // 2 * 2), last

    def record(self, tokens: Tensor) -> Record:
        """Embeddings with the states of all tokens."""
        states, mask = self._states(self.trimmed(tokens))
        return Record(self._embed(states, mask), states, mask)

    @property
    def vocabulary(self) -> nn.Embedding:
        """See `WordTasks`."""
        made: nn.Embedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return made

    def vectors_of(self, tokens: Tensor) -> Tensor:
        """See `WordTasks`."""
        made: Tensor = self.vocabulary(tokens.masked_fill(tokens < 0, self._pad))
        return made

    def states_of(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """See `WordTasks`."""
        return self._read(vectors, _seen(mask))

    def upto(self, tokens: Tensor) -> Tensor:
        """See `WordTasks`; a net that reads both ways is kept from looking ahead."""
        return self._read(self.vectors_of(tokens), _seen(tokens >= 0), causal=True)

    def keep(self, folder: Path) -> None:
        """Write all but the weights: architecture, tokeniser, settings."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        self.tokeniser.save_pretrained(folder)
        (folder / SETTINGS).write_text(json.dumps(asdict(self.settings), indent=2) + "\n", encoding="utf-8")

    def _packing(self, tokens: Tensor) -> bool:
        """Whether these are encoded behind one another."""
        if tokens.device.type != "cpu" or self.soft is not None:
            return False
        if self._packs is None:
            self._packs = packing.takes_packs(self.model)
        return self._packs

    def _packed(self, tokens: Tensor) -> Iterator[tuple[packing.Pack, Tensor]]:
        """Packs of texts, and the states (T, d) of their tokens."""
        budget = PACKED if torch.is_grad_enabled() else PACKED_ALONE
        for pack in packing.packs(tokens, self.lengths(tokens), self._pad, budget):
            yield pack, packing.states_of(self.model, pack, **self._types(pack.ids, pack.positions))

    def _states(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        if not len(tokens):  # the net runs all the same: processes that share its weights wait for each other
            states, mask = self._states(tokens.new_full((1, tokens.shape[1]), self._pad))
            return states[:0], mask[:0]
        mask = tokens >= 0
        if self._packing(tokens):
            padded = torch.zeros(*tokens.shape, self.token_width)
            for pack, made in self._packed(tokens):
                padded = pack.spread(made, padded.to(made.dtype))
            return padded, mask
        seen = _seen(mask)
        if self.soft is not None:
            return self._read(self.vectors_of(tokens), seen), mask
        ids = tokens.masked_fill(~mask, self._pad)
        full = bool(seen.all())
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        types = self._types(ids, positions)
        out = self.model(input_ids=ids, attention_mask=None if full else seen.long(), **types)
        states = out.last_hidden_state
        return states, mask

    def _types(self, ids: Tensor, positions: Tensor) -> dict[str, Tensor]:
        """Which tokens are of a second text, behind the separator of the first, for nets that ask for it."""
        if getattr(self.model.config, "type_vocab_size", 0) < 2 or self.special["sep"] is None:
            return {}
        ends = (ids == self.special["sep"]).long()
        before = ends.cumsum(1) - ends
        firsts = torch.arange(ids.shape[1], device=ids.device) - positions
        return {"token_type_ids": (before > before.gather(1, firsts)).long()}

    def _read(self, vectors: Tensor, seen: Tensor, causal: bool = False) -> Tensor:
        """States of word vectors, behind the soft prompts where there are any; all see those."""
        if not len(vectors):
            return self._read(vectors.new_zeros(1, *vectors.shape[1:]), seen.new_ones(1, seen.shape[1]), causal)[:0]
        front = 0 if self.soft is None else self.soft.count
        if self.soft is not None:
            vectors = self.soft.room(vectors)
            seen = torch.cat([seen.new_ones(len(seen), front), seen], 1)
        mask = seen.long()
        if causal:
            mask = torch.ones(seen.shape[1], seen.shape[1], dtype=torch.bool, device=seen.device).tril()
            mask = mask & seen[:, None, None, :]
        states: Tensor = self.model(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
        return states[:, front:]

    def _embed(self, states: Tensor, mask: Tensor) -> Tensor:
        vectors = pool(states, mask, self.settings.pooling)
        for layer in self.dense:
            vectors = layer(vectors)
        vectors = vectors[:, : self.width]
        return normalize(vectors, dim=1) if self.settings.normalise else vectors


def _seen(mask: Tensor) -> Tensor:
    """What attention looks at: a text that is not there has a state too, which no one looks at."""
    seen = mask.clone()
    seen[:, 0] = True
    return seen
