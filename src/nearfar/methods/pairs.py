"""Given pairs."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from ..contrast import Composition, LearnedTemperature, Objective
from ..data.batch import Batch
from ..errors import ConfigError
from ..models import StillCopy
from ..models.heads import projector
from ..objectives import Matryoshka, MultipleNegatives, catalogue
from ..objectives.graded import GradedPairs
from .average import averaged
from .method import Contrast, Method, MethodOptions


class PairsOptions(MethodOptions):
    """Options of given pairs."""

    projection: int = Field(0, ge=0, description="width of a head that only the objective sees; 0 for none")
    temperature: float = Field(0.05, gt=0, description="divides every score")
    learn_temperature: bool = Field(False, description="whether the temperature is learned, from that value on")
    objective: str = Field(
        "InfoNCE",
        description="what pulls and pushes: InfoNCE, SymmetricInfoNCE, MultipleNegatives, ...; of pairs with scores "
        "CoSENT, AnglE, CosineMSE",
    )
    own_weight: float | None = Field(
        None, ge=0, description="MultipleNegatives: how often the negatives of an item itself count for it"
    )
    guide_margin: float | None = Field(
        None,
        description="MultipleNegatives: leave out what the encoder, as it was at the start, finds as near as the "
        "partner less so much (GISTEmbed)",
    )
    widths: tuple[int, ...] = Field((), description="ask the objective of so many first numbers too (Matryoshka)")

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        known = [n for n, e in catalogue().items() if _takes_pairs(e)]
        if name not in known:
            raise ConfigError(f"there is no objective {name!r} of anchors and candidates; there are {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> PairsOptions:
        given = [name for name in ("own_weight", "guide_margin") if getattr(self, name) is not None]
        if given and self.objective != "MultipleNegatives":
            raise ConfigError(f"{given[0]} is of the objective MultipleNegatives, and objective = {self.objective!r}")
        return self

    def made(self) -> Objective:
        """The objective that these options say."""
        kind = catalogue()[self.objective]
        start = self.temperature
        more = {"temperature": LearnedTemperature(start) if self.learn_temperature else start}
        more |= {name: value for name in ("own_weight", "guide_margin") if (value := getattr(self, name)) is not None}
        takes = kind.__dataclass_fields__  # type: ignore[attr-defined]
        objective: Objective = kind(**{name: value for name, value in more.items() if name in takes})
        return Matryoshka(of=objective, widths=self.widths) if self.widths else objective


def _takes_pairs(entry: type[Objective]) -> bool:
    crossing = issubclass(entry, Composition) and entry.layout == "cross"
    return crossing or issubclass(entry, GradedPairs | MultipleNegatives)


class Pairs(Method):
    """Anchors find their given partners among those of the whole batch, and among rows that are given as far.

    encoder -> objective, without a head unless one is asked for. The first view holds the anchors, every further one
    partners, of which the values are averaged; views of the role "far" (hard negatives) are further candidates for all
    anchors. Rows of one id are known to be the same item and never pushed apart. Objectives of graded pairs take how
    alike the two are from the data, and have no far rows.
    Source: Henderson et al. 2017, section 4 (in-batch negatives); Karpukhin et al. 2020 (with given ones).
    """

    name = "pairs"
    near = "the given partner"
    far = "partners of the other items in the batch, and what is given as far"
    source = "Henderson et al. 2017, Efficient Natural Language Response Suggestion for Smart Reply"
    takes_far = True
    Options = PairsOptions

    options: PairsOptions

    def __init__(self, encoder: nn.Module, options: PairsOptions) -> None:
        super().__init__(encoder, options)
        self.head: nn.Module = nn.Identity()
        if options.projection:
            self.head = projector(self.width, options.hidden or self.width, options.projection)
        self.objective = options.made()
        self.guide = StillCopy(encoder) if options.guide_margin is not None else None

    def project(self, rows: Tensor) -> Tensor:
        """Encoder, and head where there is one."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective of anchors and partners, with what is given as far."""
        whole = batch.whole
        if len(whole) < 2:
            raise ConfigError("pairs needs two views of every item: two columns, or views=2")
        far = [number for number, role in enumerate(batch.roles) if role == "far"]
        return averaged([self._met(projections, batch, (whole[0], other), far) for other in whole[1:]])

    def _met(self, projections: list[Any], batch: Batch, pair: tuple[int, int], far: list[int]) -> Contrast:
        """What the anchors say of one of their partners."""
        rows = [projections[number] for number in pair]
        kind = catalogue()[self.options.objective]
        if issubclass(kind, GradedPairs):
            if batch.targets is None or far:
                raise ConfigError(
                    f"{kind.__name__} takes pairs with scores, and these data have "
                    + ("given negatives" if far else "none; name their column: --set score_column=...")
                )
            return self.judged(*rows, targets=batch.targets)
        if not issubclass(kind, MultipleNegatives):
            given = [projections[number][batch.given(number)] for number in far]
            return self.judged(*rows, ids=batch.ids, **({"negatives": torch.cat(given)} if far else {}))
        more: dict[str, Tensor] = {}
        if far:
            more["given"] = torch.stack([batch.given(number) for number in far], 1)
        if self.guide is not None:
            more["guide"] = torch.stack([self.guide(batch.views[number]) for number in (*pair, *far)], 1)
        return self.judged(*rows, *(projections[number] for number in far), ids=batch.ids, **more)
