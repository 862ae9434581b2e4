"""SimCLR."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from ..contrast import Composition, Objective
from ..data.batch import Batch
from ..errors import ConfigError
from ..models.heads import Activation, projector
from ..objectives import SogCLR, catalogue
from .method import Contrast, Method, MethodOptions


class SimCLROptions(MethodOptions):
    """Options of SimCLR."""

    activation: Activation = Field(
        "none", description="what ends the head: none, or relu or rep_relu for projections without negative numbers"
    )
    temperature: float = Field(0.2, gt=0, description="divides every score")
    objective: str = Field(
        "NTXent", description="what pulls and pushes: NTXent, PolyView, DCL, DCLW, Debiased, HardNegative, ..."
    )
    average: str | None = Field(
        None,
        description="how several near rows are averaged where that is open: PolyView geometric, arithmetic, sufficient",
    )
    items: int | None = Field(
        None,
        ge=0,
        description="rows of the table of SogCLR and ISogCLR, above the largest id; as the data have when unset",
    )

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        over_views = [
            n for n, e in catalogue().items() if issubclass(e, Composition) and e.layout != "cross" and not e.supervised
        ]
        if name not in over_views:
            raise ConfigError(
                f"there is no objective {name!r} over all views of a batch; there are {', '.join(over_views)}"
            )
        return name

    @model_validator(mode="after")
    def _fits(self) -> SimCLROptions:
        if self.average is not None and not self._takes("average"):
            raise ValueError(f"{self.objective} averages in one way only; leave out average = {self.average!r}")
        if self.items is not None and not self._takes("items"):
            raise ValueError(f"{self.objective} remembers nothing of single items; leave out items = {self.items}")
        self.made()
        return self

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; a table of items has room for all ids of the data."""
        settled = super().settled(facts, views)
        if self.items is not None or not self._takes("items"):
            return settled
        return settled.with_(items=facts["largest_id"] + 1)

    def made(self) -> Objective:
        """The objective that these options say."""
        more = {"average": self.average, "items": self.items}
        given = {name: value for name, value in more.items() if value is not None}
        return catalogue()[self.objective](temperature=self.temperature, **given)

    def _takes(self, name: str) -> bool:
        return name in catalogue()[self.objective].__dataclass_fields__  # type: ignore[attr-defined]


class SimCLR(Method):
    """Two random views of every item, told apart from all other views in the batch.

    encoder -> two-layer head -> NT-Xent over all rows of all views. The head is thrown away afterwards. Views of the
    same item, also when it stands in the data twice, are never pushed apart. Whole and small views count alike.
    Source: Chen et al. 2020.
    """

    name = "simclr"
    near = "other views of the same item"
    far = "all views of the other items in the batch"
    source = "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations"
    Options = SimCLROptions

    def __init__(self, encoder: nn.Module, options: SimCLROptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(
            self.width, options.hidden or self.width, options.projection, activation=options.activation
        )
        self.objective = options.made()

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views; rows of one id are near."""
        return self.judged(*projections, ids=batch.ids)

    def after_step(self, step: int, total_steps: int) -> None:
        """What the objective found of single items is remembered."""
        if isinstance(self.objective, SogCLR):
            self.objective.remember()
