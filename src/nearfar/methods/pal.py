"""Positive active learning: who is near is what answers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from ..contrast import Composition, Objective
from ..data.answers import groups_of, read_answers
from ..data.batch import Batch
from ..data.grouped import GroupSampler
from ..data.sampling import BoundSampler, EpochSampler, PlannedSampler
from ..data.source import Source
from ..errors import ConfigError, DataError
from ..models.heads import Activation, projector
from ..objectives import BarlowTwins, VICReg, catalogue
from .average import told
from .labelled import built
from .method import Contrast, Method, MethodOptions

_OF_ENDS: dict[str, type[Objective]] = {"VICReg": VICReg, "BarlowTwins": BarlowTwins}


def over_groups() -> list[str]:
    """Names of the objectives that take rows of which some are alike, in pairs or in groups."""
    compared = [
        name
        for name, kind in catalogue().items()
        if issubclass(kind, Composition) and kind.layout == "joint" and not hasattr(kind, "remember")
    ]
    return [*compared, *_OF_ENDS]


class PALOptions(MethodOptions):
    """Options of positive active learning."""

    answers: str | None = Field(
        None, description="table of answers, as nearfar ask writes it: a, b, answer; no row is like another when unset"
    )
    objective: str = Field(
        "NTXent", description="what pulls and pushes: NTXent, GraphSpectral, SupCon, DCL, VICReg, BarlowTwins, ..."
    )
    temperature: float | None = Field(
        None, gt=0, description="divides every score; as the objective has it when unset, 0.2 for NTXent"
    )
    answered: float = Field(
        0.5, ge=0, le=1, description="share of a batch that are items with answers, as far as there are so many"
    )
    together: int = Field(2, ge=1, description="items of a group that stand together in a batch")
    activation: Activation = Field(
        "none", description="what ends the head: none, or relu or rep_relu for projections without negative numbers"
    )

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in over_groups():
            raise ConfigError(
                f"there is no objective {name!r} over rows in groups; there are {', '.join(over_groups())}"
            )
        return name

    @model_validator(mode="after")
    def _fits(self) -> PALOptions:
        self.made()
        return self

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; the table is then known wherever the run is continued."""
        settled = super().settled(facts, views)
        if self.answers is None:
            return settled
        path = Path(self.answers).expanduser().resolve()
        if not path.is_file():
            raise DataError(f"{path}: there is no table of answers; write one with: nearfar ask STORE --answers {path}")
        return settled.with_(answers=str(path))

    def made(self) -> Objective:
        """The objective that these options say."""
        usual = 0.2 if self.objective == "NTXent" else None
        return built(self.objective, temperature=self.temperature or usual)


class PAL(Method):
    """Views of one item are near, and so are all items that answers of people or of another oracle call alike.

    encoder -> two-layer head -> an objective over all rows of all views. Answers are pairs of rows, near or far (see
    `nearfar ask`). Near ones join items to groups, since what is near to the same is near, and far ones hold them
    apart; of items without answers nothing is known, and they are far from each other, as in any contrast of views.
    A share of every batch are items with answers, beside others of their group. With all answers of labels this is
    supervised contrast, with none SimCLR, with few something between. Objectives that compare no pairs (VICReg,
    BarlowTwins) see both ends of all near pairs of the batch where they see two views else.
    """

    name = "pal"
    near = "other views of the same item, and all items that answers connect it with"
    far = "all views of the other items in the batch"
    source = "Cabannes et al. 2023, Active Self-Supervised Learning: A Few Low-Cost Relationships Are All You Need"
    Options = PALOptions

    options: PALOptions
    groups: Tensor

    def __init__(self, encoder: nn.Module, options: PALOptions) -> None:
        super().__init__(encoder, options)
        self.head = projector(
            self.width, options.hidden or self.width, options.projection, activation=options.activation
        )
        self.objective = options.made()
        self.register_buffer("groups", torch.empty(0, dtype=torch.long), persistent=False)

    def project(self, rows: Tensor) -> Tensor:
        """Encoder and head."""
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views; rows of one group are near."""
        groups = self.groups[batch.ids] if len(self.groups) else batch.ids
        if self.options.objective not in _OF_ENDS:
            return self.judged(*projections, labels=groups)
        # A near pair may lie in two processes: each of them compares all rows, which gives all the same gradients.
        rows = self.together(torch.cat(projections))
        groups = self.together(groups.repeat(len(projections)))
        near = (groups[:, None] == groups).fill_diagonal_(False)
        first, second = near.nonzero(as_tuple=True)
        return told(self.objective.inspect(rows[first], rows[second], strategy="auto"))

    def sampler(self, source: Source, batch_size: int, seed: int) -> EpochSampler | PlannedSampler | BoundSampler:
        """Rows with answers beside those of their group, and other rows; from here on the groups are known."""
        if self.options.answers is None:
            return super().sampler(source, batch_size, seed)
        found = groups_of(source, read_answers(Path(self.options.answers)))
        self.groups = torch.from_numpy(found.of).to(self.groups.device)
        options = self.options
        return GroupSampler(
            found.of[source.ids], found.answered, batch_size, seed, options.answered, options.together, found.digest
        )
