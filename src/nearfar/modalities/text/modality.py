"""What the house asks of texts, in one place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field
from torch import nn

from ...data.source import Source
from ...errors import ConfigError, DataError
from ...settings import Settings
from ..folders import Levels
from .collection import Collection, read_collection
from .columns import looks_like_texts
from .encoders import encoder
from .encoders.pooling import Pooling
from .encoders.transformer import Transformer
from .files import kind_of, open_table
from .fill import MaskedModel
from .parts import locate
from .reading import read, read_pair
from .rows import MOST_CHARACTERS
from .source import TextSource
from .views import TextViews

ROWS = 20  # of a table that say whether it is one of texts


def _listed(value: Any) -> Any:
    """A single name as a list."""
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed)]
Model = Annotated[str, AfterValidator(lambda name: f"mlm/{Path(name.removeprefix('mlm/')).expanduser().resolve()}")]
Whole = Annotated[str, AfterValidator(lambda path: str(Path(path).expanduser().resolve()))]


class TextOptions(Settings):
    """Settings of reading texts, of making views of them, and of encoding them."""

    text_column: str | None = Field(None, description="column of texts in a table; guessed by its name when unset")
    anchor_column: str | None = Field(None, description="column of the first text of pairs; guessed when unset")
    positive_column: str | None = Field(None, description="column of the second text of pairs; guessed when unset")
    negative_columns: Names | None = Field(None, description="columns of texts far from the anchor; guessed when unset")
    score_column: str | None = Field(
        None, description="column that says how alike the texts of a pair are; guessed when unset, '' for none"
    )
    label_column: str | None = Field(None, description="column of labels; guessed by its name when unset, '' for none")
    domain_column: str | None = Field(None, description="column in a table that says where a text comes from")
    folders: Levels = Field(
        "label", description="what the levels of folders say, such as domain/label; - is a level that says neither"
    )
    encoding: str | None = Field(
        None,
        description="of text files without a byte order mark: utf-8 when unset; utf-8/replace reads faulty bytes as �",
    )
    unit: Literal["auto", "line", "file"] = Field(
        "auto",
        description="one text in a text file is a line or the file; auto: files of a folder whole, a file by lines",
    )
    most_characters: int = Field(MOST_CHARACTERS, ge=1, description="longer texts are cut, which is noted")
    most_negatives: int | None = Field(None, ge=0, description="texts far from the anchor in a row; all when unset")
    policy: Literal["skip", "refuse"] = Field("skip", description="what to do with broken rows and unknown ids")
    duplicates: Literal["same-id", "own-id"] = Field("same-id", description="whether equal texts are one item")
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
    generator: Model | None = Field(
        None, description="masked language model that replaces words for diffcse, mlm/FOLDER; drawn words when unset"
    )
    soft_prompts: int = Field(
        0, ge=0, le=128, description="vectors in front of the text in every layer, which alone learn then; 0 for none"
    )
    query_prompt: str = Field("", description="put before texts that ask: texts, anchors, queries")
    document_prompt: str = Field("", description="put before texts that are sought: positives, negatives, documents")
    recipe: str = Field(
        "auto", description="of the views: auto, dropout, esimcse, delete, crop, ...; one for each by +"
    )
    strength: float = Field(1.0, ge=0, description="of the views; 0 leaves the texts as they are")
    variants: Whole | None = Field(None, description="file of texts and their variants (.jsonl, .parquet), for views")


READING = {
    *(
        "text_column",
        "anchor_column",
        "positive_column",
        "negative_columns",
        "score_column",
        "label_column",
        "domain_column",
    ),
    "folders",
    *("encoding", "unit", "most_characters", "most_negatives", "policy", "duplicates"),
}


TOLERANT = "utf-8/replace"  # to see what a table is; that its encoding is another is for its reading to say


class TextModality:
    """The modality of texts; rows are `Texts`, views are token ids (B, L)."""

    name = "text"
    Options = TextOptions
    baseline = "hashed words"
    encoding = frozenset(("pooling", "normalise", "most_tokens", "width", "dropout", "lora", "soft_prompts"))

    def recognises(self, path: Path) -> bool:
        """Text files, folders of them, collections, and tables with a column of a known name that holds words."""
        try:
            place = locate(path, "train")
            if place is None or place.how != "table":
                return place is not None
            if all(kind_of(file) == "text" for file in place.files):
                return True
            table = open_table(place.files[0], TOLERANT)
            return looks_like_texts(table.names, table.head(ROWS))
        except (DataError, ImportError, OSError):
            return False

    def read(
        self, path: Path, options: TextOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> TextSource:
        """See `Modality.read`."""
        return read(path, like=like, **options.model_dump(include=READING))

    def read_pair(
        self, path: Path, options: TextOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> tuple[TextSource, TextSource | None]:
        """See `Modality.read_pair`."""
        return read_pair(path, like=like, **options.model_dump(include=READING))

    def collection(self, path: Path, options: TextOptions, split: str | None = None) -> Collection | None:
        """See `Modality.collection` and `read_collection`; the columns are called as prompts know them."""
        place = locate(path, "train")
        if place is None or place.how != "collection":
            return None
        known = {"policy", "duplicates", "encoding", "most_characters"}
        found = read_collection(path, split=split, **options.model_dump(include=known))
        return replace(found, queries=found.queries.called("query"), documents=found.documents.called("document"))

    def views(self, facts: dict[str, Any], count: int, options: TextOptions, encoder: nn.Module) -> TextViews:
        """See `Modality.views`; the encoder's tokeniser makes them."""
        asking, sought = options.query_prompt, options.document_prompt
        prompts = {"text": asking, "query": asking, "anchor": asking, "document": sought}
        prompts |= {name: sought for name in facts["columns"] if name not in prompts}
        prompts = {name: prompt for name, prompt in prompts.items() if prompt}
        recipe, strength, variants = options.recipe, options.strength, options.variants
        return TextViews(facts["columns"], count, encoder, prompts, recipe, strength, variants)

    def encoder(self, name: str | None, facts: dict[str, Any], options: TextOptions) -> tuple[str, nn.Module]:
        """See `Modality.encoder`."""
        changes = options.model_dump(include=set(self.encoding))
        changes |= {key: changes[key] or None for key in ("lora", "soft_prompts")}
        full, made = encoder(name, **changes)
        if options.generator and not full.startswith("kept/"):  # what was trained needs none any more
            if not isinstance(made, Transformer):
                raise ConfigError(
                    f"generator = {options.generator}: the encoder {full} does not share a vocabulary with it"
                )
            made.filler = MaskedModel.load(options.generator, made.tokeniser.get_vocab())
        return full, made

    def learned(self, source: Source, options: TextOptions, cache: Path | None, progress: bool) -> Source:
        """See `Modality.learned`: the rows as they are."""
        return source

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

    def asked(self, question: str | bytes, facts: dict[str, Any]) -> TextSource:
        """Words as a query, before which the encoder's prompt for queries stands."""
        if isinstance(question, bytes):
            raise ConfigError("texts are searched by words, not by a file")
        if not question.strip():
            raise DataError("a question without words; say what to search for")
        return TextSource({"query": [question]})

    def pictures(self, source: Source, index: np.ndarray) -> list[str]:
        """The beginning of each text, as it is called in reports."""
        return [source.names[row] for row in index]


MODALITY = TextModality()
