"""What the house asks of texts, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from pydantic import Field
from torch import nn

from ...data.source import Source
from ...errors import ConfigError
from ...settings import Settings
from ..peek import table_head
from .encoders import encoder
from .encoders.pooling import Pooling
from .reading import COLUMNS, EXTENSIONS, read
from .source import TextSource
from .views import TextViews


class TextOptions(Settings):
    """Settings of reading texts, of making views of them, and of encoding them."""

    pooling: Pooling | None = Field(
        None, description="from token states to one vector; as the model was published when unset"
    )
    normalise: bool | None = Field(None, description="embeddings of length 1; as published when unset")
    most_tokens: int | None = Field(None, ge=2, description="texts are cut to so many tokens; as published when unset")
    width: int | None = Field(None, ge=1, description="use only so many of the first numbers of the embedding")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="of the net while it is trained; as published when unset"
    )
    lora: int = Field(0, ge=0, description="rank of low-rank adapters, which alone learn then; 0 for none")
    query_prompt: str = Field("", description="put before texts that ask: texts, anchors, queries")
    document_prompt: str = Field("", description="put before texts that are sought: positives, negatives, documents")


class TextModality:
    """The modality of texts; rows are `Texts`, views are token ids (B, L)."""

    name = "text"
    Options = TextOptions
    baseline = "hashed words"

    def recognises(self, path: Path) -> bool:
        """Text files, and tables with a column `text` or `anchor`."""
        suffix = path.suffix.lower()
        if not path.is_file() or suffix not in EXTENSIONS:
            return False
        if suffix in (".csv", ".tsv"):
            return any(column.strip().lower() in COLUMNS for column in table_head(path))
        return True

    def read(
        self, path: Path, options: TextOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> TextSource:
        """See `Modality.read`."""
        return read(path, options)

    def read_pair(
        self, path: Path, options: TextOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> tuple[TextSource, TextSource | None]:
        """See `Modality.read_pair`."""
        return read(path, options), None

    def views(self, facts: dict[str, Any], count: int, options: TextOptions, encoder: nn.Module) -> TextViews:
        """See `Modality.views`; the encoder's tokeniser makes them."""
        asking, sought = options.query_prompt, options.document_prompt
        prompts = {"text": asking, "query": asking, "anchor": asking, "document": sought}
        prompts |= {name: sought for name in facts["columns"] if name not in prompts}
        return TextViews(facts["columns"], count, encoder, {name: prompt for name, prompt in prompts.items() if prompt})

    def encoder(self, name: str | None, facts: dict[str, Any], options: TextOptions) -> tuple[str, nn.Module]:
        """See `Modality.encoder`."""
        changes = options.model_dump(include={"pooling", "normalise", "most_tokens", "width", "dropout"})
        return encoder(name, **changes, lora=options.lora or None)

    def masked(self, path: Path, facts: dict[str, Any], progress: bool, **how: Any) -> NoReturn:
        """A text has no pixels."""
        raise ConfigError("the dense probe is for pictures; this run has texts")

    def raw(self, source: Source) -> np.ndarray:
        """Counts of words by hash, 1024 of them, on the unit sphere."""
        from sklearn.feature_extraction.text import HashingVectorizer

        assert isinstance(source, TextSource)
        hashing = HashingVectorizer(n_features=1024, alternate_sign=True, norm="l2")
        found: np.ndarray = hashing.transform(next(iter(source.columns.values()))).toarray().astype(np.float32)
        return found

    def pictures(self, source: Source, index: np.ndarray) -> np.ndarray | None:
        """There is nothing to see."""
        return None


MODALITY = TextModality()
