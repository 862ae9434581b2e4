"""Views of texts: token ids as an encoder takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nearfar.data.batch import Role

from .texts import Texts


class TextViews:
    """Make views of a batch of texts: a pure function of (batch, generator).

    Items of several texts have a view for each of them; of a text alone there are `count` views, which an encoder with
    dropout sees with different eyes (SimCSE).

    Args:
        names: of the columns.
        count: how many views.
        encoder: has `tokens(list of texts) -> (B, L)`.
        prompts: column -> what is put before its texts.
    """

    def __init__(self, names: Sequence[str], count: int, encoder: Any, prompts: dict[str, str] | None = None) -> None:
        self.names, self.count, self.encoder = tuple(names), count, encoder
        self.prompts = dict(prompts or {})

    @property
    def roles(self) -> list[Role]:
        """Columns called negative are far, all others whole."""
        if len(self.names) == 1:
            return ["whole"] * self.count
        return ["far" if name.startswith("negative") else "whole" for name in self.names]

    def __call__(self, texts: Texts, generator: torch.Generator, part: slice = slice(None)) -> list[Tensor]:
        """One (B, L) tensor of token ids per view, -1 behind the end of each text, and for texts that there are not."""
        if len(texts.columns) == 1:
            return [self.plain(texts)[part]] * self.count
        return [self._tokens(column[part], name) for column, name in zip(texts.columns, texts.names, strict=True)]

    def plain(self, texts: Texts) -> Tensor:
        """Token ids of the first column."""
        return self._tokens(texts.columns[0], texts.names[0])

    def config(self) -> dict[str, Any]:
        """All settings as JSON."""
        return {"names": list(self.names), "count": self.count, "prompts": self.prompts}

    def _tokens(self, texts: list[str], name: str) -> Tensor:
        prompt = self.prompts.get(name, "")
        tokens: Tensor = self.encoder.tokens([prompt + text for text in texts])
        if name.startswith("negative"):
            none = torch.tensor([not text for text in texts])
            tokens = tokens.masked_fill(none[:, None], -1)
        return tokens
