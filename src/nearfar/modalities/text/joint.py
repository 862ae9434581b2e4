"""Two texts as one: what an encoder sees that judges pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nearfar.data.batch import Role
from nearfar.errors import ConfigError

from .texts import Texts


class JointViews:
    """A view for each candidate of an anchor: the tokens of both texts, one behind the other.

    Args:
        names: of the columns, the anchor first; those called negative are far.
        encoder: has `joined(texts, others) -> (B, L)`.
        prompts: column -> what is put before its texts.

    Raises:
        ConfigError: one column alone, or an encoder that reads one text alone.

    >>> from nearfar.modalities.text.encoders import encoder
    >>> views = JointViews(("anchor", "positive", "negative"), encoder("gru-8")[1])
    >>> [view.tolist() for view in views(Texts((["a"], ["b"], [""]), views.names), torch.Generator())][1]
    [[-1, -1]]
    """

    def __init__(self, names: Sequence[str], encoder: Any, prompts: dict[str, str] | None = None) -> None:
        if len(names) < 2:
            raise ConfigError("pairs of texts are judged, and these data have texts alone; see nearfar look")
        if not hasattr(encoder, "joined"):
            raise ConfigError(
                "this encoder adds up what is in a text and cannot judge two together; take a transformer"
            )
        self.names, self.encoder, self.prompts = tuple(names), encoder, dict(prompts or {})

    @property
    def roles(self) -> list[Role]:
        """Candidates called negative are far, all others whole."""
        return ["far" if name.startswith("negative") else "whole" for name in self.names[1:]]

    def __call__(self, texts: Texts, generator: torch.Generator, part: slice = slice(None)) -> list[Tensor]:
        """(B, L) token ids for each candidate, -1 behind the end and where there is no candidate."""
        columns = [column[part] for column in texts.columns]
        made = []
        for name, column in zip(texts.names[1:], columns[1:], strict=True):
            none = torch.tensor([not text for text in column])
            made.append(self.pairs(columns[0], column, name).masked_fill(none[:, None], -1))
        return made

    def plain(self, texts: Texts) -> Tensor:
        """Token ids of the anchor and the first candidate; of texts alone those of the text."""
        if len(texts.columns) < 2:
            tokens: Tensor = self.encoder.tokens(texts.columns[0])
            return tokens
        return self.pairs(texts.columns[0], texts.columns[1], texts.names[1])

    def pairs(self, texts: list[str], others: list[str], name: str = "positive") -> Tensor:
        """(B, L) token ids of texts and of others from the column `name`."""
        before, behind = self.prompts.get(self.names[0], ""), self.prompts.get(name, "")
        found: Tensor = self.encoder.joined([before + text for text in texts], [behind + text for text in others])
        return found

    def config(self) -> dict[str, Any]:
        """All settings as JSON."""
        return {"joint": list(self.names), "prompts": self.prompts}
