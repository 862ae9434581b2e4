"""What the house asks of images, in one place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field, field_validator, model_validator
from torch import nn

from ...data.source import ArraySource, Source
from ...errors import ConfigError, DataError
from ...settings import Settings
from ..folders import Levels
from ..peek import array_shapes, holds_file, is_number, table_head
from .arrays import TEST_KEYS, TRAIN_KEYS
from .beside import ViewsBeside
from .decode import Unreadable, read_image
from .encoders import default_encoder, encoder
from .files import EXTENSIONS
from .generated import among, find_generated, read_weights
from .masks import Masked, read_masked
from .reading import read, read_pair
from .recipes import multi_crop, resolve
from .tables import PATH_COLUMNS, TABLE_EXTENSIONS
from .views import ImageViews, ViewRecipe

log = logging.getLogger(__name__)

Whole = Annotated[str, AfterValidator(lambda path: str(Path(path).expanduser().resolve()))]
_ASKED_PIXELS = 40_000_000  # of a picture to search by, which may come from anyone


class ImageOptions(Settings):
    """Settings of reading images and making views of them."""

    size: int | None = Field(
        None, ge=4, le=1024, description="side in pixels; the median of the shorter sides when unset"
    )
    channels: Literal[1, 3] | None = Field(None, description="1 grey, 3 colour; grey only if every image is when unset")
    path_column: str | None = Field(None, description="column of file names in a table")
    label_column: str | None = Field(None, description="column of labels in a table")
    domain_column: str | None = Field(None, description="column in a table that says where an item comes from")
    folders: Levels = Field(
        "label", description="what the levels of folders say, such as domain/label; - is a level that says neither"
    )
    policy: Literal["skip", "refuse"] = Field("skip", description="what to do with unreadable images")
    duplicates: Literal["same-id", "own-id"] = Field("same-id", description="whether equal images are one item")
    recipe: str = Field("auto", description="of the views: auto, simclr, simclr-small, mocov2, byol, adainf, digits")
    crops: str | None = Field(
        None, description="several sizes of view, such as 2x28+6x16: the first group whole, the others small"
    )
    strength: float = Field(1.0, ge=0, description="of the views; 0 leaves only the resize")
    exact: bool = Field(False, description="views by torchvision, image by image, for reproduction")
    generated: Whole | None = Field(
        None, description="folder or .npz of pictures that were generated from those of the data, named after them"
    )
    generated_as: Literal["views", "items"] = Field(
        "views", description="views: the second view of an item is one generated from it; items: they join the data"
    )
    generated_weight: float = Field(
        0.0,
        ge=0,
        description="how much the quality of a generated view weighs, as nearfar generated found it; 1 in the paper",
    )
    replicate: int = Field(
        1, ge=1, description="how often each picture of the data stands beside generated ones that join them"
    )

    @model_validator(mode="after")
    def _together(self) -> ImageOptions:
        if self.generated is None and (self.generated_weight or self.replicate > 1 or self.generated_as == "items"):
            raise ConfigError("generated_as, generated_weight and replicate are of generated pictures; set generated")
        if self.generated_as == "items" and self.generated_weight:
            raise ConfigError("generated_weight is of generated views, and generated_as = 'items'; leave it out")
        if self.generated_as == "views" and self.replicate > 1:
            raise ConfigError("replicate is of generated pictures that join the data; set generated_as=items")
        return self

    @field_validator("crops")
    @classmethod
    def _readable(cls, crops: str | None) -> str | None:
        if crops is not None:
            multi_crop(crops)
        return crops

    @property
    def count(self) -> int | None:
        """How many views these settings ask for; None where they leave it to the method."""
        return None if self.crops is None else len(multi_crop(self.crops))


class Images:
    """The modality of pictures; rows are uint8 (C, S, S)."""

    name = "images"
    Options = ImageOptions
    baseline = "raw pixels"
    encoding: frozenset[str] = frozenset()

    def recognises(self, path: Path) -> bool:
        """Image files, folders with one in them, tables with a column of their names, and .npz archives of images."""
        suffix = path.suffix.lower()
        if path.is_dir():
            return holds_file(path, EXTENSIONS)
        if suffix in TABLE_EXTENSIONS:
            return any(
                cell.lower().endswith(EXTENSIONS)
                or (column.strip().lower() in PATH_COLUMNS and not Path(cell).suffix and not is_number(cell))
                for column, cells in table_head(path).items()
                for cell in map(str.strip, cells)
                if cell
            )
        if suffix == ".npz":
            shapes = array_shapes(path)
            known = {key for key, _ in (*TRAIN_KEYS, *TEST_KEYS)} & shapes.keys()
            return any("image" in key or len(shapes[key]) in (3, 4) for key in known)
        return suffix in EXTENSIONS

    def read(
        self, path: Path, options: ImageOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> Source:
        """See `Modality.read`."""
        return read(path, **self._reading(options, like, cache, progress))

    def read_pair(
        self, path: Path, options: ImageOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> tuple[Source, Source | None]:
        """See `Modality.read_pair`."""
        return read_pair(path, **self._reading(options, like, cache, progress))

    def learned(self, source: Source, options: ImageOptions, cache: Path | None, progress: bool) -> Source:
        """See `Modality.learned`: the pictures with generated ones beside or among them."""
        if options.generated is None:
            return source
        if not isinstance(source, ArraySource):
            raise ConfigError(f"generated pictures stand beside an ArraySource, and these data are {source!r}")
        if options.generated_as == "items":
            return among(options.generated, source, options.replicate, cache, progress)
        found = find_generated(options.generated, source, cache, progress)
        if found.orphans:
            log.warning(
                "%s: %d generated pictures belong to nothing in the data and are left out, such as %s",
                options.generated, len(found.orphans), found.orphans[0],
            )  # fmt: skip
        scale = options.generated_weight
        return found.beside(source, read_weights(options.generated, found, scale) if scale else None)

    @staticmethod
    def _reading(
        options: ImageOptions, like: dict[str, Any] | None, cache: Path | None, progress: bool
    ) -> dict[str, Any]:
        settings = options.model_dump(
            include={"path_column", "label_column", "domain_column", "folders", "policy", "duplicates"}
        )
        channels, size = (options.channels, options.size) if like is None else like["shape"][:2]
        return {**settings, "size": size, "channels": channels, "cache": cache, "progress": progress} | {
            "lenient": like is not None
        }

    def views(
        self, facts: dict[str, Any], count: int, options: ImageOptions, encoder: nn.Module | None = None
    ) -> ImageViews:
        """See `Modality.views`; `crops` makes as many as it says."""
        channels, size = facts["shape"][:2]
        recipe: str | list[ViewRecipe] = options.recipe
        if options.crops is not None:
            recipe = multi_crop(options.crops, resolve(options.recipe, size, channels))
        how: dict[str, Any] = {
            "size": size,
            "channels": channels,
            "count": options.count or count,
            "recipe": recipe,
            "exact": options.exact,
            "strength": options.strength,
        }
        if options.generated is None or options.generated_as == "items":
            return ImageViews(**how)
        return ViewsBeside(weighed=options.generated_weight > 0, **how)

    def encoder(
        self, name: str | None, facts: dict[str, Any], options: ImageOptions | None = None
    ) -> tuple[str, nn.Module]:
        """See `Modality.encoder`."""
        channels, size = facts["shape"][:2]
        name = name or default_encoder(size)
        made = encoder(name, channels, size)
        if not isinstance(getattr(made, "width", None), int):
            raise ConfigError(f"the encoder {name!r} does not say how wide its embedding is")
        return name, made

    def collection(self, path: Path, options: Any, split: str | None = None) -> None:
        """Pictures are not searched by queries."""

    def masked(self, path: Path, facts: dict[str, Any], progress: bool, **how: Any) -> tuple[Masked, Masked]:
        """See `Modality.masked` and `masks.read_masked`."""
        channels, size = facts["shape"][:2]
        return read_masked(path, size=size, channels=channels, progress=progress, **how)

    def raw(self, source: Source) -> np.ndarray:
        """Pixels in [0, 1], averaged over squares so that a row has at most about 4,000 numbers."""
        rows = source.rows(slice(0, len(source))).float() / 255
        factor = max(1, round((rows[0].numel() / 4096) ** 0.5))
        if factor > 1:
            rows = torch.nn.functional.avg_pool2d(rows, factor)
        return rows.flatten(1).numpy()

    def asked(self, question: str | bytes, facts: dict[str, Any]) -> ArraySource:
        """The content of an image file."""
        if isinstance(question, str):
            raise ConfigError("pictures are searched by a picture or the --id of a row, not by words")
        channels, size = facts["shape"][:2]
        try:
            return ArraySource("images", read_image(question, size, channels, _ASKED_PIXELS)[None])
        except Unreadable as error:
            raise DataError(f"the picture to search by cannot be read: {error}") from None

    def pictures(self, source: Source, index: np.ndarray) -> np.ndarray | None:
        """The images themselves, at most 96 pixels wide."""
        rows = source.rows(index)
        if rows.shape[-1] > 96:
            rows = torch.nn.functional.interpolate(rows.float(), size=96, mode="area").round().to(torch.uint8)
        return rows.numpy()


MODALITY = Images()
