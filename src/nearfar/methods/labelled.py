"""What methods that learn from labels have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from ..contrast import Objective
from ..data.batch import Batch
from ..data.sampling import BoundSampler, EpochSampler, LabelSampler, one_of_each
from ..data.source import Source
from ..errors import ConfigError, DataError
from ..models.heads import Activation, projector
from ..objectives import catalogue
from .method import Contrast, Method, MethodOptions


def built(name: str, **said: Any) -> Objective:
    """The objective of that name with what options say of it; None leaves an argument to the objective.

    Raises:
        ValueError: it takes no such argument.
    """
    kind, given = catalogue()[name], {key: value for key, value in said.items() if value is not None}
    for key, value in given.items():
        if key not in kind.__dataclass_fields__:  # type: ignore[attr-defined]
            raise ValueError(f"{name} takes no {key}; leave out {key} = {value!r}")
    return kind(**given)


class LabelledOptions(MethodOptions):
    """Options of all methods that learn from labels."""

    rows_per_class: int | None = Field(
        None,
        ge=2,
        description="items of each class in a batch, of batch_size / rows_per_class classes; as they come when unset",
    )
    binding: bool = Field(False, description="one item of every class, always the same, is added to every batch")
    activation: Activation = Field(
        "none", description="what ends the head: none, or relu or rep_relu for projections without negative numbers"
    )


class Labelled(Method):
    """Base of the methods that learn from labels: encoder, two-layer head, all views of the batch with their labels."""

    supervised = True
    Options: ClassVar[type[MethodOptions]] = LabelledOptions

    options: LabelledOptions

    def __init__(self, encoder: nn.Module, options: LabelledOptions) -> None:
        super().__init__(encoder, options)
        self.head = self.made_head()

    def made_head(self) -> nn.Module:
        """What only the objective sees."""
        options = self.options
        return projector(self.width, options.hidden or self.width, options.projection, activation=options.activation)

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views; rows of one label are near."""
        return self.judged(*projections, labels=self.labels(batch))

    def labels(self, batch: Batch) -> Tensor:
        """The labels of a batch.

        Raises:
            DataError: it has none.
        """
        if batch.labels is None:
            raise DataError(
                f"{self.name} learns from labels and these data have none; use simclr, or name a label column"
            )
        return batch.labels

    def sampler(self, source: Source, batch_size: int, seed: int) -> EpochSampler | LabelSampler | BoundSampler:
        """`rows_per_class` rows of each of some classes, or every row once per epoch; with those of `binding`."""
        sampler = self._unbound(source, batch_size, seed)
        if not self.options.binding or source.labels is None:
            return sampler
        return BoundSampler(sampler, one_of_each(source.labels, seed))

    def _unbound(self, source: Source, batch_size: int, seed: int) -> EpochSampler | LabelSampler:
        per_class, labels = self.options.rows_per_class, source.labels
        if per_class is None or labels is None:
            return EpochSampler(len(source), batch_size, seed)
        known = len(np.unique(labels[labels >= 0]))
        if batch_size % per_class or not 2 <= batch_size // per_class <= known:
            raise ConfigError(
                f"batch_size {batch_size} is not made of {per_class} rows of each of 2 to {known} classes; set it to a "
                f"multiple of rows_per_class from {2 * per_class} to {known * per_class}, or set another rows_per_class"
            )
        return LabelSampler(labels, batch_size // per_class, per_class, seed)
