"""SimCLR."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from ..contrast import Composition, Objective
from ..data.batch import Batch
from ..errors import ConfigError
from ..models.heads import projector
from ..objectives import catalogue
from .method import Contrast, Method, MethodOptions


class SimCLROptions(MethodOptions):
    """Options of SimCLR."""

    temperature: float = Field(0.2, gt=0, description="divides every score")
    objective: str = Field(
        "NTXent", description="what pulls and pushes: NTXent, PolyView, DCL, DCLW, Debiased, HardNegative, ..."
    )
    average: str | None = Field(
        None,
        description="how several near rows are averaged where that is open: PolyView geometric, arithmetic, sufficient",
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
    def _has_average(self) -> SimCLROptions:
        if self.average is not None:
            if "average" not in catalogue()[self.objective].__dataclass_fields__:  # type: ignore[attr-defined]
                raise ValueError(f"{self.objective} averages in one way only; leave out average = {self.average!r}")
            self.made()
        return self

    def made(self) -> Objective:
        """The objective that these options say."""
        more = {} if self.average is None else {"average": self.average}
        return catalogue()[self.objective](temperature=self.temperature, **more)


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
        self.head = projector(self.width, options.hidden or self.width, options.projection)
        self.objective = options.made()

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views; rows of one id are near."""
        return self.judged(*projections, ids=batch.ids)
