"""What two groups of items have in common, apart from what one of them alone has."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import TwoParts, projector
from ..objectives import SepCLR
from .average import averaged, told
from .labelled import Labelled, LabelledOptions
from .method import Contrast, MethodOptions


class SeparatedOptions(LabelledOptions):
    """Options of common and salient parts."""

    part: int = Field(32, ge=1, description="width of each part of the embedding: common, then salient")
    projection: int = Field(64, ge=2, description="width of the projection, half of it for the common part")
    background: int | str | None = Field(
        None, description="the class of the background, by name or number; items of all other classes are targets"
    )
    tau: float = Field(0.5, gt=0, description="width of the kernels that spread rows")
    salient: float = Field(1000.0, ge=0, description="weight of the salient part")
    nothing: float = Field(1000.0, ge=0, description="weight of the background's salient part being 0")
    independence: float = Field(10.0, ge=0, description="weight of the parts saying nothing of each other")
    information: bool = Field(False, description="measure that by the information they share, not by joint entropy")

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; the background is known by its number from then on."""
        settled, classes = super().settled(facts, views), list(facts.get("classes", []))
        if self.background is None or (classes and str(self.background) not in classes + _numbers(classes)):
            raise ConfigError(
                f"background = {self.background} is no class of the data; say which one holds the items without "
                f"anything of interest, such as background={classes[0] if classes else 0!r}; there are "
                f"{', '.join(classes) or 'none with a name'}"
            )
        if str(self.background) in classes:
            return settled.with_(background=classes.index(str(self.background)))
        return settled.with_(background=int(self.background))


def _numbers(classes: list[str]) -> list[str]:
    return [str(number) for number in range(len(classes))]


class Separated(Labelled):
    """The first half of the embedding says what all items may show, the second what targets alone do.

    Two encoders built alike, each with a linear layer to a part of the embedding and a two-layer head -> `SepCLR`: both
    parts agree between views and spread, the salient one is 0 for the background, and the two say nothing of each
    other. Items of the class `background` show nothing of interest (healthy people, a texture); all others are targets
    (patients, digits on that texture), whatever their class.
    """

    name = "sepclr"
    near = "other views of the same item, part by part; 0 for the salient part of the background"
    far = "the same views of all other items, part by part"
    source = (
        "Louiset et al. 2024, Separating Common from Salient Patterns with Contrastive Representation Learning; "
        "neurospin-projects/2024_rlouiset_sep_clr"
    )
    Options = SeparatedOptions

    options: SeparatedOptions
    head: nn.ModuleDict

    def __init__(self, encoder: nn.Module, options: SeparatedOptions) -> None:
        super().__init__(TwoParts(encoder, options.part), options)
        self.objective = SepCLR(
            common=options.projection // 2,
            tau=options.tau,
            salient=options.salient,
            background=options.nothing,
            independence=options.independence,
            information=options.information,
        )

    def made_head(self) -> nn.ModuleDict:
        """A head for each part."""
        options, half, out = self.options, self.width // 2, self.options.projection // 2
        widths = {"common": (half, out), "salient": (self.width - half, options.projection - out)}
        return nn.ModuleDict(
            {
                part: projector(width, options.hidden or width, out, activation=options.activation)
                for part, (width, out) in widths.items()
            }
        )

    def project(self, rows: Tensor) -> Tensor:
        """Both parts, side by side."""
        common, salient = self.encoder(rows).tensor_split([self.width // 2], dim=1)
        return torch.cat([self.head["common"](common), self.head["salient"](salient)], 1)

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective on every two views of which one is whole."""
        target = self.labels(batch) != self.options.background
        pairs = [(i, j) for i, j in combinations(range(len(projections)), 2) if {i, j} & set(batch.whole)]
        return averaged([told(self.objective.inspect(projections[i], projections[j], target=target)) for i, j in pairs])
