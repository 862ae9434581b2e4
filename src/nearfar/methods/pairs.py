"""Given pairs."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from ..contrast import Composition, LearnedTemperature
from ..data.batch import Batch
from ..errors import ConfigError
from ..models.heads import projector
from ..objectives import catalogue
from .method import Contrast, Method, MethodOptions


class PairsOptions(MethodOptions):
    """Options of given pairs."""

    projection: int = Field(0, ge=0, description="width of a head that only the objective sees; 0 for none")
    temperature: float = Field(0.05, gt=0, description="divides every score")
    learn_temperature: bool = Field(False, description="whether the temperature is learned, from that value on")
    objective: str = Field("InfoNCE", description="what pulls and pushes: InfoNCE, SymmetricInfoNCE, ...")

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        crossing = [n for n, e in catalogue().items() if issubclass(e, Composition) and e.layout == "cross"]
        if name not in crossing:
            raise ConfigError(
                f"there is no objective {name!r} of anchors and candidates; there are {', '.join(crossing)}"
            )
        return name


class Pairs(Method):
    """Anchors find their given partners among those of the whole batch, and among rows that are given as far.

    encoder -> objective, without a head unless one is asked for. The first view holds the anchors, every further one
    partners, of which the values are averaged; views of the role "far" (hard negatives) are further candidates for all
    anchors. Rows of one id are known to be the same item and never pushed apart.
    Source: Henderson et al. 2017, section 4 (in-batch negatives); Karpukhin et al. 2020 (with given ones).
    """

    name = "pairs"
    near = "the given partner"
    far = "partners of the other items in the batch, and what is given as far"
    source = "Henderson et al. 2017, Efficient Natural Language Response Suggestion for Smart Reply"
    takes_far = True
    Options = PairsOptions

    def __init__(self, encoder: nn.Module, options: PairsOptions) -> None:
        super().__init__(encoder, options)
        self.head: nn.Module = nn.Identity()
        if options.projection:
            self.head = projector(self.width, options.hidden or self.width, options.projection)
        start = options.temperature
        temperature = LearnedTemperature(start) if options.learn_temperature else start
        self.objective = catalogue()[options.objective](temperature=temperature)

    def project(self, rows: Tensor) -> Tensor:
        """Encoder, and head where there is one."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective of anchors and partners, with what is given as far."""
        whole = batch.whole
        if len(whole) < 2:
            raise ConfigError("pairs needs two views of every item: two columns, or views=2")
        far = [projections[number][batch.given(number)] for number, role in enumerate(batch.roles) if role == "far"]
        more = {"negatives": torch.cat(far)} if far else {}
        parts = [self.judged(projections[whole[0]], projections[other], ids=batch.ids, **more) for other in whole[1:]]
        if len(parts) == 1:
            return parts[0]
        terms = {name: torch.stack([part.terms[name] for part in parts]).mean() for name in parts[0].terms}
        return Contrast(torch.stack([part.loss for part in parts]).mean(), terms, parts[0].at_chance)
