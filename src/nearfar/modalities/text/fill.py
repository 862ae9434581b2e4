"""Edits by a masked language model: some tokens are masked, and what it puts there may be others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, DataError

from .edits import FILL, MASK, WORD, free, uniform

HEADS = (  # layer, norm and bias of masked language models
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
)


@dataclass(frozen=True)
class Edited:
    """Edited texts and what was edited.

    Attributes:
        tokens: (B, L) ids with -1 behind the end, of the same lengths as before.
        changed: (B, L) bool, True where the id is another than before; False for special tokens and behind the end.
    """

    tokens: Tensor
    changed: Tensor


class MaskedModel:
    """A frozen masked language model that edits tokens. Its vocabulary must be that of the encoder.

    Args:
        model: from (ids, attention mask) to an output with `logits` (B, L, V).
        mask: id of the mask token.
        special: ids of all special tokens, which are never edited.

    Source: Chuang et al. 2022, DiffCSE (the generator).
    """

    def __init__(self, model: nn.Module, mask: int, special: tuple[int, ...]) -> None:
        self.model = model.eval().requires_grad_(False)
        self.mask, self.special = mask, special

    def __deepcopy__(self, memo: dict[int, Any]) -> MaskedModel:
        """Itself: it never changes, so that copies of an encoder share it."""
        return self

    @classmethod
    def load(cls, name: str, vocabulary: dict[str, int] | None = None) -> MaskedModel:
        """A model of Hugging Face from a local folder, called ``mlm/FOLDER``; nothing is fetched.

        Args:
            name: such as "mlm/models/distilbert".
            vocabulary: from token to id, of the encoder whose tokens will be edited; None does not compare.

        Raises:
            ConfigError: no such folder or name, a model that has no mask, or another vocabulary.
        """
        try:
            from transformers import AutoModelForMaskedLM, AutoTokenizer
        except ImportError as error:
            raise ImportError("masked language models need transformers: pip install 'nearfar[text]'") from error
        folder = Path(name.removeprefix("mlm/"))
        if not name.startswith("mlm/") or not (folder / "config.json").is_file():
            raise ConfigError(f"{name!r} is no masked model: write mlm/FOLDER, a local folder with config.json")
        try:
            tokeniser: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{name!r} cannot be read as a masked model and its tokeniser: {error}") from error
        if tokeniser.mask_token_id is None:
            raise ConfigError(f"{name!r}: its tokeniser has no mask token")
        if vocabulary is not None and tokeniser.get_vocab() != vocabulary:
            raise ConfigError(f"{name!r} has another vocabulary than the encoder; both must share one tokeniser")
        return cls(model, tokeniser.mask_token_id, tuple(tokeniser.all_special_ids))

    @property
    def head(self) -> dict[str, Tensor] | None:
        """What it makes words of states with: a linear layer `inward`, a `norm`, and a `bias` for each word.

        None where it is not made of these, behind a GELU and before the word vectors, as BERT, RoBERTa and DistilBERT
        are.
        """
        parts = dict(self.model.named_modules()) | dict(self.model.named_parameters())
        for names in HEADS:
            if all(name in parts for name in names):
                inward, norm, bias = (parts[name] for name in names)
                found = {"inward.weight": inward.weight, "inward.bias": inward.bias, "norm.weight": norm.weight}
                return {**found, "norm.bias": norm.bias, "bias": bias}
        return None

    @torch.no_grad()
    def edit(
        self, tokens: Tensor, seeds: Tensor, rate: float = 0.3, everywhere: bool = True, sample: bool = False
    ) -> Edited:
        """Mask some tokens and let the model fill them.

        Each token is chosen with probability `rate`; of those chosen 80 % become the mask, 10 % any token, 10 % stay.

        Args:
            tokens: int64 (B, L), -1 behind the end of each text.
            seeds: int64 (B,), see `edits.seeds_of`.
            rate: between 0 and 1.
            everywhere: take what the model says at all places, as the code of DiffCSE does; False takes it only where
                tokens were chosen, as its text says.
            sample: draw from the model's distribution; False takes its most probable token.

        Raises:
            ConfigError: `rate` is outside [0, 1].
            DataError: a token that the model does not have.
        """
        if not 0 <= rate <= 1:
            raise ConfigError(f"rate must be between 0 and 1, not {rate!r}")
        device = next(self.model.parameters()).device
        ids, width = tokens.to(device), tokens.shape[1]
        drawn, word = (uniform(seeds, stream, width).to(device) for stream in (MASK, WORD))
        open_ = free(ids, self.special)
        chosen = open_ & (drawn < rate)
        size = self.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
        if ids.numel() and int(ids.max()) >= size:
            raise DataError(f"token {int(ids.max())} is not among the {size} of the masked model")
        # Below 0.8 the mask, from there to 0.9 any token, and the rest as it is.
        other = ((word - 0.8) * 10 * size).long().clamp(0, size - 1)
        given = torch.where(word < 0.8, self.mask, torch.where(word < 0.9, other, ids))
        masked = torch.where(chosen, given, ids)
        places = open_ if everywhere else chosen
        inside = ids >= 0
        logits = self.model(input_ids=masked.clamp(min=0), attention_mask=inside.long()).logits[places]
        if sample:
            heights = uniform(seeds, FILL, width).to(device)[places]
            sums = logits.double().softmax(1).cumsum(1)
            filled = torch.searchsorted(sums, heights[:, None] * sums[:, -1:], right=True)[:, 0].clamp(max=size - 1)
        else:
            filled = logits.argmax(1)
        made = ids.masked_scatter(places, filled)
        return Edited(made.to(tokens.device), (made != ids).to(tokens.device))
