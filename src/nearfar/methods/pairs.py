"""Given pairs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from ..contrast import (
    Composition,
    Dot,
    LearnedTemperature,
    MaxSim,
    MutualMaxSim,
    NegativeGaussianKL,
    Objective,
    Similarity,
    packed,
)
from ..data.batch import Batch
from ..errors import ConfigError, DataError
from ..models import FrozenCopy
from ..models.heads import projector
from ..objectives import Matryoshka, MultipleNegatives, catalogue
from ..objectives.graded import GradedPairs
from .average import averaged
from .method import Contrast, Method, MethodOptions

TOKENS = {"maxsim": MaxSim, "mutual": MutualMaxSim}
LEAST = 1e-6  # variance, before its logarithm


class PairsOptions(MethodOptions):
    """Options of given pairs."""

    projection: int = Field(0, ge=0, description="width of a head that only the objective sees; 0 for none")
    similarity: Literal["cosine", "dot", "maxsim", "mutual", "gaussian"] = Field(
        "cosine",
        description="of an anchor and a candidate: cosine; dot; maxsim, the best matches of tokens (ColBERT); mutual, "
        "those from both sides; gaussian, divergence of means and variances",
    )
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
    confidence: Literal["soft", "weight", "inverse", "log"] | None = Field(
        None,
        description="MultipleNegatives, scores of 0 to best_score: what they say of a partner. soft: its part of the "
        "target, of which all others share the rest; weight: how much the pair counts (CLHAIF); inverse, log: that by "
        "the rank r = 1 + best_score - score, as 1 / r or 1 / log2(1 + r) (GCL)",
    )
    best_score: float = Field(1.0, gt=0, description="confidence: the score of a partner that fits as well as can be")
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
        given = [name for name in ("own_weight", "guide_margin", "confidence") if getattr(self, name) is not None]
        if given and self.objective != "MultipleNegatives":
            raise ConfigError(f"{given[0]} is of the objective MultipleNegatives, and objective = {self.objective!r}")
        if self.best_score != 1 and self.confidence is None:
            raise ConfigError(f"best_score = {self.best_score:g} is of confidence, which is not set")
        if self.similarity != "cosine" and (self.widths or self._takes("similarity") is None):
            what = "widths" if self.widths else f"objective = {self.objective!r}"
            raise ConfigError(f"{what} compares by cosine; leave out similarity = {self.similarity!r}")
        return self

    def _takes(self, name: str) -> Any:
        return catalogue()[self.objective].__dataclass_fields__.get(name)  # type: ignore[attr-defined]

    def compared(self, width: int) -> Similarity | None:
        """The similarity of rows, or of rows of tokens of so many numbers; the objective's own where None."""
        if self.similarity in TOKENS:
            return TOKENS[self.similarity](token_width=width)
        return {"gaussian": NegativeGaussianKL(), "dot": Dot(), "cosine": None}[self.similarity]

    def made(self, width: int = 1) -> Objective:
        """The objective that these options say; `width` of a token, where tokens are compared."""
        kind = catalogue()[self.objective]
        start = self.temperature
        more: dict[str, Any] = {"temperature": LearnedTemperature(start) if self.learn_temperature else start}
        more |= {name: value for name in ("own_weight", "guide_margin") if (value := getattr(self, name)) is not None}
        if (similarity := self.compared(width)) is not None:
            more["similarity"] = similarity
        objective: Objective = kind(**{name: value for name, value in more.items() if self._takes(name)})
        return Matryoshka(of=objective, widths=self.widths) if self.widths else objective


def _takes_pairs(entry: type[Objective]) -> bool:
    crossing = issubclass(entry, Composition) and entry.layout == "cross"
    return crossing or issubclass(entry, GradedPairs | MultipleNegatives)


class Pairs(Method):
    """Anchors find their given partners among those of the whole batch, and among rows that are given as far.

    encoder -> objective, without a head unless one is asked for. Where tokens are compared each goes through a linear
    head, and for Gaussians the head gives means and variances, by the softplus of the other half. The first view holds
    the anchors, every further one partners, of which the values are averaged; views of the role "far" (hard negatives)
    are further candidates for all anchors. Rows of one id are known to be the same item and never pushed apart.
    Objectives of graded pairs take how alike the two are from the data, and have no far rows. With `confidence` scores
    say how sure it is that the partner is one, or how well it fits, and the best score is a pair without any.
    Source: Henderson et al. 2017, section 4 (in-batch negatives); Karpukhin et al. 2020 (with given ones); Zhu et al.
    2024, Generalized Contrastive Learning (weights by score or rank; its training code is not public, so unverified).
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
        width = 1  # of a token
        if options.similarity in TOKENS:
            if not hasattr(encoder, "record"):
                raise ConfigError(f"similarity = {options.similarity!r} compares tokens, which this encoder has not")
            width = int(getattr(encoder, "token_width", self.width))
            if options.projection:
                self.head, width = nn.Linear(width, options.projection, bias=False), options.projection
        elif options.similarity == "gaussian":
            self.head = nn.Linear(self.width, 2 * (options.projection or self.width))
        elif options.projection:
            self.head = projector(self.width, options.hidden or self.width, options.projection)
        self.objective = options.made(width)
        self.guide = FrozenCopy(encoder) if options.guide_margin is not None else None

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """Encoder, and head where there is one; of tokens a row holds them all."""
        if self.options.similarity in TOKENS:
            seen = self.encoder.record(rows)  # type: ignore[operator]
            tokens = packed(self.head(seen.tokens), seen.mask, length=rows.shape[1])
            return {"projection": seen.embedding.detach(), "tokens": tokens}
        projection: Tensor = self.head(self.encoder(rows))
        if self.options.similarity == "gaussian":
            mean, spread = projection.chunk(2, 1)
            return torch.cat([mean, softplus(spread).clamp_min(LEAST).log()], 1)
        return projection

    def compared(self, projections: list[Any]) -> list[Tensor]:
        """The rows that the objective compares, all of one width."""
        if self.options.similarity not in TOKENS:
            return projections
        rows = [projection["tokens"] for projection in projections]
        width = int(self.together(torch.tensor([max(one.shape[1] for one in rows)], device=rows[0].device)).max())
        return [pad(one, (0, width - one.shape[1])) for one in rows]

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective of anchors and partners, with what is given as far."""
        projections, whole = self.compared(projections), batch.whole
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
        if self.options.confidence is not None:
            more["targets" if self.options.confidence == "soft" else "weights"] = self._confidence(batch)
        if self.guide is not None:
            more["guide"] = torch.stack([self.guide(batch.views[number]) for number in (*pair, *far)], 1)
        return self.judged(*rows, *(projections[number] for number in far), ids=batch.ids, **more)

    def _confidence(self, batch: Batch) -> Tensor:
        """What the scores say of each pair, from 0 to 1."""
        scores, best, kind = batch.targets, self.options.best_score, self.options.confidence
        if scores is None:
            raise ConfigError("confidence takes pairs with scores, and these data have none; --set score_column=NAME")
        if not bool(((scores >= 0) & (scores <= best)).all()):
            low, high = float(scores.min()), float(scores.max())
            raise DataError(
                f"confidence takes scores of 0 to {best:g}, and these reach from {low:.4g} to {high:.4g}; rescale "
                "them, or say with best_score what the best is"
            )
        rank = 1 + best - scores
        return {"inverse": 1 / rank, "log": 1 / torch.log2(1 + rank)}.get(kind or "", scores / best)
