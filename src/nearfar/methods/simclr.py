"""SimCLR."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from ..contrast import Composition, Objective, Relation
from ..data.batch import Batch
from ..errors import ConfigError, DataError
from ..models.heads import Activation, AdaptiveHeads, projector
from ..objectives import AdaptiveMultiHead, AlignUniform, SogCLR, by_teacher, catalogue
from .average import averaged, told
from .method import Contrast, Method, MethodOptions

CODES = 8  # numbers of each head that temperatures are made of
SWITCHES = ("add_near", "drop_near", "drop_alike", "drop_easy")


class SimCLROptions(MethodOptions):
    """Options of SimCLR."""

    activation: Activation = Field(
        "none", description="what ends the head: none, or relu or rep_relu for projections without negative numbers"
    )
    temperature: float = Field(0.2, gt=0, description="divides every score")
    objective: str = Field(
        "NTXent", description="what pulls and pushes: NTXent, PolyView, DCL, Debiased, HardNegative, AlignUniform, ..."
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
    heads: int | None = Field(
        None,
        ge=1,
        le=64,
        description="projections of each row, with a temperature for each pair of rows in each of them (AMCL); 3 in "
        "the paper; one of each for all when unset",
    )
    price: float = Field(0.1, ge=0, description="with heads: weight of the price that keeps temperatures in the middle")

    teacher: str | None = Field(
        None,
        description="whose opinion of pairs counts, with NTXent: a run, an encoder or a file of vectors by row; none "
        "if unset",
    )
    keep: bool = Field(True, description="the teacher's vectors of all rows are made once, into the run folder")
    add_near: bool = Field(False, description="the row of another item that the teacher finds most alike is near too")
    drop_near: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of near pairs, the least alike, that do not count; 0.1 in the paper; none where rows of an "
        "id are equal",
    )
    drop_alike: float = Field(
        0.0, ge=0, lt=1, description="share of the rows, the most alike, that are not far from a row; 0.05 in the paper"
    )
    drop_easy: float = Field(
        0.0, ge=0, lt=1, description="share of the rows, the least alike, that are not far from a row; 0.1 in the paper"
    )

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        over_views = [
            n for n, e in catalogue().items() if issubclass(e, Composition) and e.layout != "cross" and not e.supervised
        ]
        over_views.append("AlignUniform")
        if name not in over_views:
            raise ConfigError(
                f"there is no objective {name!r} over all views of a batch; there are {', '.join(over_views)}"
            )
        return name

    @model_validator(mode="after")
    def _fits(self) -> SimCLROptions:
        if self.average is not None and not self._takes("average"):
            raise ValueError(f"{self.objective} averages in one way only; leave out average = {self.average!r}")
        if self._differs("temperature") and not self._takes("temperature"):
            raise ConfigError(f"{self.objective} has no temperature; leave it out")
        if self.items is not None and not self._takes("items"):
            raise ValueError(f"{self.objective} remembers nothing of single items; leave out items = {self.items}")
        asked = [name for name in SWITCHES if getattr(self, name)]
        if bool(asked) != (self.teacher is not None):
            what = (
                f"{asked[0]} asks a teacher; set teacher" if asked else "the teacher is asked nothing; set drop_alike"
            )
            raise ConfigError(f"{what}, or leave it out")
        if asked and self.objective != "NTXent":
            raise ConfigError(f"a teacher is asked by NTXent alone; leave out objective = {self.objective!r}")
        if self.heads is not None:
            fixed = [name for name in ("temperature", "objective", "activation", "teacher") if self._differs(name)]
            if fixed:
                raise ConfigError(f"heads have projections and temperatures of their own; leave out {fixed[0]}")
        elif self._differs("price"):
            raise ConfigError("price is that of the temperatures of heads; set heads, or leave it out")
        self.made()
        return self

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; a table of items has room for all ids of the data."""
        settled = super().settled(facts, views)
        if self.items is not None or not self._takes("items"):
            return settled
        return settled.with_(items=facts["largest_id"] + 1)

    def made(self) -> Objective:
        """The objective that these options say."""
        if self.heads is not None:
            return AdaptiveMultiHead(heads=self.heads, codes=CODES, price=self.price)
        more = {"average": self.average, "items": self.items}
        given: dict[str, Any] = {name: value for name, value in more.items() if value is not None}
        if self._takes("temperature"):
            given["temperature"] = self.temperature
        return catalogue()[self.objective](**given)

    def _takes(self, name: str) -> bool:
        return name in catalogue()[self.objective].__dataclass_fields__  # type: ignore[attr-defined]


class SimCLR(Method):
    """Two random views of every item, told apart from all other views in the batch.

    encoder -> two-layer head -> NT-Xent over all rows of all views. The head is thrown away afterwards. Views of the
    same item, also when it stands in the data twice, are never pushed apart. Whole and small views count alike. With a
    `teacher` its cosines add near pairs and drop doubtful ones (Zhang et al. 2023); with `heads` there are several
    heads, and each pair of rows has a temperature of its own in each (Wang et al. 2023). AlignUniform is the mean over
    pairs of views. Source: Chen et al. 2020.
    """

    name = "simclr"
    near = "other views of the same item"
    far = "all views of the other items in the batch"
    source = "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations"
    weighs = True
    Options = SimCLROptions

    options: SimCLROptions

    def __init__(self, encoder: nn.Module, options: SimCLROptions) -> None:
        super().__init__(encoder, options)
        sizes = self.width, options.hidden or self.width, options.projection
        self.head: nn.Module = (
            projector(*sizes, activation=options.activation)
            if options.heads is None
            else AdaptiveHeads(*sizes, heads=options.heads, codes=CODES)
        )
        self.objective = options.made()

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """Encoder and head; with `heads` the projections of all, and their codes."""
        made: Tensor = self.head(self.encoder(rows))
        if self.options.heads is None:
            return made
        width = self.options.heads * self.options.projection
        return {"projection": made[:, :width], "codes": made[:, width:]}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views; rows of one id are near, and what the teacher says of them counts."""
        if self.options.teacher is not None:
            relation = self._opinion(batch, len(projections))
            return self.judged(torch.cat(projections), relation=relation, weights=batch.weights)
        if self.options.heads is not None:
            if batch.weights is not None:
                raise ConfigError("heads count all items alike; leave out heads or generated_weight")
            rows = [torch.cat([view["projection"], view["codes"]], 1) for view in projections]
            return told(self.objective.inspect(*rows, ids=batch.ids))
        if isinstance(self.objective, AlignUniform):
            if batch.weights is not None:
                raise ConfigError(
                    "AlignUniform counts all items alike; choose another objective or no generated_weight"
                )
            pairs = combinations(projections, 2)
            return averaged([told(self.objective.inspect(*pair, ids=batch.ids)) for pair in pairs])
        return self.judged(*projections, ids=batch.ids, weights=batch.weights)

    def _opinion(self, batch: Batch, views: int) -> Relation:
        """Who is near and far among the rows of all processes, by ids and by the teacher's vectors of the items.

        Raises:
            DataError: the batch brings none, or not one for each item.
        """
        if batch.taught is None or batch.taught.shape[1] != 1:
            raise DataError("simclr asks a teacher for one vector of every item, and this batch has none of the kind")
        rows, ids = self.together(batch.taught[:, 0].repeat(views, 1)), self.together(batch.ids.repeat(views))
        return by_teacher(rows, ids, **{name: getattr(self.options, name) for name in SWITCHES})

    def after_step(self, step: int, total_steps: int) -> None:
        """What the objective found of single items is remembered."""
        if isinstance(self.objective, SogCLR):
            self.objective.remember()
