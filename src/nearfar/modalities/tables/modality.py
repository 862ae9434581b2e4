"""What the house asks of tables, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from pydantic import BeforeValidator, Field
from torch import nn

from ...data.source import Source
from ...errors import ConfigError
from ...settings import Settings
from ..peek import TABLE_EXTENSIONS, array_shapes
from .encoders import encoder
from .files import TEST_KEYS, TRAIN_KEYS
from .reading import read, read_pair
from .schema import columns_of, expand
from .views import TableViews


def _listed(value: Any) -> Any:
    """A single name as a list; names that look like numbers as text."""
    return [str(name) for name in (value if isinstance(value, list | tuple) else [value])]


Names = Annotated[list[str], BeforeValidator(_listed)]


class TableOptions(Settings):
    """Settings of reading tables and making views of them."""

    label_column: str | None = Field(None, description="column of labels; guessed by its name when unset, '' for none")
    domain_column: str | None = Field(
        None, description="column that says where a row comes from; it is no feature then"
    )
    drop: Names = Field([], description="columns to leave out")
    categories: Names = Field([], description="columns of numbers or text that are categories")
    numbers: Names = Field([], description="columns that are numbers")
    missing: Names = Field(
        [], description="further cells that stand for missing, such as ?; blank, NA, NaN and null do"
    )
    max_categories: int = Field(50, ge=1, description="values of a category that are told apart, the most frequent")
    duplicates: Literal["same-id", "own-id"] = Field("same-id", description="whether equal rows are one item")
    recipe: str = Field("auto", description="of the views: auto, scarf, corrupt, mask, noise, mixed")
    strength: float = Field(1.0, ge=0, description="of the views; 0 leaves the rows as they are")


class Tables:
    """The modality of numbers and categories; rows are float32 (C,), one place for each column."""

    name = "tables"
    Options = TableOptions
    baseline = "raw columns"
    encoding: frozenset[str] = frozenset()

    def recognises(self, path: Path) -> bool:
        """Tables, folders that hold one, and .npz archives of (N, C) arrays or of vectors."""
        if path.is_dir():
            return any(child.suffix.lower() in TABLE_EXTENSIONS for child in path.iterdir())
        if path.suffix.lower() != ".npz":
            return path.suffix.lower() in TABLE_EXTENSIONS and path.is_file()
        shapes = array_shapes(path)
        rows = [len(shapes[key]) for key, _ in (*TRAIN_KEYS, *TEST_KEYS) if key in shapes]
        return 2 in rows or (bool(shapes) and all(len(shape) == 1 for shape in shapes.values()))

    def read(
        self, path: Path, options: TableOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> Source:
        """See `Modality.read`."""
        return read(path, like=like, **self._reading(options))

    def read_pair(
        self, path: Path, options: TableOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> tuple[Source, Source | None]:
        """See `Modality.read_pair`."""
        return read_pair(path, like=like, **self._reading(options))

    @staticmethod
    def _reading(options: TableOptions) -> dict[str, Any]:
        return options.model_dump(exclude={"recipe", "strength"})

    def views(
        self, facts: dict[str, Any], count: int, options: TableOptions, encoder: nn.Module | None = None
    ) -> TableViews:
        """See `Modality.views`."""
        recipe = "scarf" if options.recipe == "auto" else options.recipe
        return TableViews(columns_of(facts), count, recipe, options.strength)

    def encoder(
        self, name: str | None, facts: dict[str, Any], options: TableOptions | None = None
    ) -> tuple[str, nn.Module]:
        """See `Modality.encoder`."""
        return encoder(name or "mlp", columns_of(facts))

    def collection(self, path: Path, options: Any, split: str | None = None) -> None:
        """Rows are not searched by queries."""

    def learned(self, source: Source, options: TableOptions, cache: Path | None, progress: bool) -> Source:
        """See `Modality.learned`: the rows as they are."""
        return source

    def masked(self, path: Path, facts: dict[str, Any], progress: bool, **how: Any) -> NoReturn:
        """A row has no places to be masked."""
        raise ConfigError("the dense probe is for pictures; this run has tables")

    def raw(self, source: Source) -> np.ndarray:
        """Standardised numbers and one-hot categories."""
        return expand(source.rows(slice(0, len(source))).numpy(), columns_of(source.details))

    def asked(self, question: str | bytes, facts: dict[str, Any]) -> NoReturn:
        """A row is no question."""
        raise ConfigError("rows of a table are not searched by words or files; search by the --id of one")

    def pictures(self, source: Source, index: np.ndarray) -> np.ndarray | None:
        """There is nothing to see."""
        return None


MODALITY = Tables()
