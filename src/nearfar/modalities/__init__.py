"""Modalities: each is one folder with reading, views and encoders behind one small protocol.

Nothing else in the house asks what a modality is: it calls `find` or `recognise` and uses what it is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..data.source import Source
from ..errors import ConfigError
from ..settings import Settings
from .peek import TABLE_EXTENSIONS

NAMES = ("images", "text", "tables")


class Views(Protocol):
    """Makes random views for training, and plain rows for embedding, of what `Source.rows` of the modality gives."""

    def __call__(self, rows: Any, generator: torch.Generator) -> list[Tensor]:
        """Random views, all randomness from the generator."""
        ...

    def plain(self, rows: Any) -> Tensor:
        """Rows as the encoder takes them, without randomness."""
        ...

    def config(self) -> dict[str, Any]:
        """All settings as JSON."""
        ...


class Masked(Protocol):
    """Items of which every place has a class, such as the pixels of pictures."""

    @property
    def source(self) -> Source:
        """(N) items."""
        ...

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) uint8 class numbers, 255 = not counted."""
        ...

    @property
    def classes(self) -> list[str]:
        """Names of the class numbers, "background" first."""
        ...

    @property
    def origin(self) -> str:
        """Where the masks come from: "drawn", "transparency", or "pasted"."""
        ...


class Searchable(Protocol):
    """Queries, documents, and R judgments of which is relevant to which."""

    @property
    def queries(self) -> Source:
        """(Q) items that search."""
        ...

    @property
    def documents(self) -> Source:
        """(M) items that are searched in."""
        ...

    @property
    def query_rows(self) -> np.ndarray:
        """(R,) rows of the queries."""
        ...

    @property
    def document_rows(self) -> np.ndarray:
        """(R,) rows of the documents."""
        ...

    @property
    def grades(self) -> np.ndarray:
        """(R,) how relevant, 0 where it is not."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-able facts, among them all `splits`, and which of them are the `parts` "train" and "test"."""
        ...


class Modality(Protocol):
    """What the house asks of a modality. `facts` are what `Source.describe()` says of the rows, `shape` among them."""

    name: str
    Options: type[Settings]
    baseline: str  # what the raw features are called, such as "raw pixels"
    encoding: frozenset[str]  # settings that are kept with an encoder (see `encoder`)

    def recognises(self, path: Path) -> bool:
        """Whether this looks like data of the modality."""
        ...

    def read(self, path: Path, options: Any, like: dict[str, Any] | None, cache: Path | None, progress: bool) -> Source:
        """All rows of some data in one piece; `like` are the facts of the rows that a trained encoder expects."""
        ...

    def read_pair(
        self, path: Path, options: Any, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> tuple[Source, Source | None]:
        """The training part and, where the data have one, the test part."""
        ...

    def learned(self, source: Source, options: Any, cache: Path | None, progress: bool) -> Source:
        """What a run learns from: rows that were read, with what its settings put beside or among them."""
        ...

    def masked(self, path: Path, facts: dict[str, Any], progress: bool, **how: Any) -> tuple[Masked, Masked]:
        """Items with masks, to fit on and to score on; a ConfigError where the modality has no such thing.

        Args:
            how: `test`, `backgrounds`, `test_share` and `seed` of `nearfar.evaluate`.
        """
        ...

    def collection(self, path: Path, options: Any, split: str | None = None) -> Searchable | None:
        """Queries, documents and the judgments of a split, the test part where none is named; None where the data are
        of another form."""
        ...

    def views(self, facts: dict[str, Any], count: int, options: Any, encoder: nn.Module) -> Views:
        """Random views of such rows for an encoder, which may say how it takes them (text: its tokeniser)."""
        ...

    def encoder(self, name: str | None, facts: dict[str, Any], options: Any) -> tuple[str, nn.Module]:
        """The full name and the module of an encoder, the default one for None; it has a `width`.

        Where it also has `lengths(rows) -> (B,)`, rows of similar lengths share micro-batches; where it has
        `keep(folder)`, that is called once for the folder `encoder` of a run and writes all but the weights: from then
        on the name `kept/FOLDER` makes it, with random weights, whatever became of what it was made from.
        """
        ...

    def raw(self, source: Source) -> np.ndarray:
        """(N, D) float32: the rows themselves as vectors, the baseline of every evaluation."""
        ...

    def asked(self, question: str | bytes, facts: dict[str, Any]) -> Source:
        """What someone searches by as one row: words, or the content of a file.

        Raises:
            ConfigError: the modality is not searched by such a thing. DataError: it is empty or broken.
        """
        ...

    def pictures(self, source: Source, index: np.ndarray) -> np.ndarray | list[str] | None:
        """Some rows for reports: uint8 (B, C, H, W) pictures, or texts; None where there is nothing to see."""
        ...


def find(name: str) -> Modality:
    """The modality of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in NAMES:
        raise ConfigError(f"there is no modality {name!r}; there are {', '.join(NAMES)}")
    made: Modality = importlib.import_module(f"{__name__}.{name}").MODALITY
    return made


def recognise(path: Path, settings: Collection[str] = ()) -> Modality:
    """The modality that some data look like; the first, whose reading then says what is wrong, when none is sure.

    Args:
        path: the data.
        settings: names of settings that were given; one that only some modalities know rules the others out.
    """
    every = candidates = [find(name) for name in NAMES]
    for setting in settings:
        knowing = [modality for modality in candidates if setting in modality.Options.model_fields]
        candidates = knowing or candidates
    found = next((modality for modality in candidates if modality.recognises(path)), None)
    if found is None and path.suffix.lower() not in TABLE_EXTENSIONS:  # a table is what its settings say
        found = next((modality for modality in every if modality.recognises(path)), None)
    return found or candidates[0]


def elsewhere(modality: Modality) -> dict[str, str]:
    """Settings that other modalities have and this one has not, each with what to say of it.

    >>> elsewhere(find("images"))["lora"]
    'it is one of text, and these data are images; leave it out'
    """
    said: dict[str, str] = {}
    for other in (find(name) for name in NAMES):
        for key in other.Options.model_fields:
            said.setdefault(key, f"it is one of {other.name}, and these data are {modality.name}; leave it out")
    return {key: text for key, text in said.items() if key not in modality.Options.model_fields}
