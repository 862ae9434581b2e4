"""What stands where a run is asked for: the folder of one, or an encoder by name that was never trained here."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from . import modalities, starting
from .data import bundled
from .data.source import Source
from .errors import ConfigError
from .methods.method import Method
from .modalities import Searchable
from .run import FORMAT, IN_MEMORY, Run, recognised, shown
from .training.rng import preserved, seed_all
from .version import VERSION


class Untrained(Run):
    """An encoder in place of a run: it embeds and is measured like one, but was never trained and has no folder.

    It keeps the data by whose shape it was built, so that they are not decoded twice; of a collection the documents are
    its rows.
    """

    trained = False

    def __init__(
        self, config: dict[str, Any], pair: tuple[Source, Source | None], collection: Searchable | None = None
    ) -> None:
        super().__init__(Path(), config)
        self._pair, self._collection = pair, collection

    @property
    def history(self) -> list[dict[str, Any]]:
        """Nothing was trained."""
        return []

    @cached_property
    def method(self) -> Method:
        """The encoder alone: there is no head and no objective."""
        return self.fresh_method()

    def _made(self, with_start: bool) -> Method:
        with preserved():
            seed_all(self.config["training"]["seed"])
            _, encoder, now = starting.build(self.modality, self.config["encoder"], self.config["source"], self.options)
            starting.check_same(self.config["encoder"], self.start, now)
            return Method(encoder, Method.Options(**self.config["method_options"]))

    def reading(self, **options: Any) -> Run:
        """The same encoder that reads data by other settings."""
        return Untrained(
            {**self.config, "options": {**self.config["options"], **options}}, self._pair, self._collection
        )

    def read(self, data: str | Path | Source, progress: bool | None = None) -> tuple[Source, Source | None]:
        """Data in the shape that the encoder takes: the training part, and the test part where there is one."""
        return self._pair if self._keeps(data) else super().read(data, progress)

    def collection(self, data: str | Path | Source) -> Searchable | None:
        """Queries, documents and what is relevant to what; None where the data are of another form."""
        return self._collection if self._keeps(data) else super().collection(data)

    def _keeps(self, data: str | Path | Source) -> bool:
        return not isinstance(data, Source) and str(Path(data).expanduser().resolve()) == self.config["data"]


def open_run(
    text: str | Path, data: str | Path | Source, *, modality: str | None = None, seed: int = 0, **options: Any
) -> Run:
    """What a command calls RUN: the run of a folder, or an encoder by name (see `fit`), which is built for some data.

    Args:
        text: a run folder, or a name such as "timm/resnet18:pretrained" or "small@weights.safetensors".
        data: what will be embedded or measured first; an encoder is built for its shape.
        modality: of the data, for an encoder; recognised from the data when None.
        seed: of the weights that are random.
        options: settings of reading (`label_column`, `size`, ...). A run embeds at the size that it was trained on.

    Raises:
        ConfigError: it is neither, or a run was asked for another size. DataError: the data cannot be read.

    >>> open_run("timm/resnet18:pretrained", "photos/").embed("photos/")    # doctest: +SKIP
    """
    if starting.is_run(text):
        fixed = [key for key in ("size", "channels") if key in options]
        if fixed:
            raise ConfigError(f"{text} is a run, whose {fixed[0]} is that of its training; leave it out")
        return Run.load(text).reading(**options)
    if Path(text).expanduser().is_dir():
        return Run.load(text)  # says what is missing
    data = bundled.located(data)
    made = modalities.find(modality) if modality else recognised(data, options)
    chosen = made.Options(**options)
    collection = None if isinstance(data, Source) else made.collection(Path(data), chosen)
    pair: tuple[Source, Source | None]
    if isinstance(data, Source):
        pair = data, None
    elif collection is not None:
        pair = collection.documents, None
    else:
        pair = made.read_pair(Path(data), chosen, None, None, shown(None))
    facts = pair[0].describe()
    try:
        with preserved():
            seed_all(seed)
            name, _, start = starting.build(made, starting.full_name(str(text)), facts, chosen)
    except ConfigError as error:
        raise ConfigError(f"{text} is no run folder, and as an encoder: {error}") from None
    config = {
        "format": FORMAT,
        "nearfar": VERSION,
        "command": " ".join(sys.argv),
        "data": IN_MEMORY if isinstance(data, Source) else str(Path(data).expanduser().resolve()),
        "modality": made.name,
        "method": "no training",
        "encoder": name,
        **({"start": start} if start is not None else {}),
        "shape": facts["shape"],
        "training": {"seed": seed},
        "method_options": {},
        "options": chosen.model_dump(),
        "source": facts,
    }
    return Untrained(config, pair, collection)
