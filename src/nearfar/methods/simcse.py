"""SimCSE, and what others added to it, each by an option of its own."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import Centroids, Draws, FrozenCopy, Queue, StillCopy
from ..objectives import InfoNCE, harder, noise_rows
from .agreement import agreement, shown
from .average import averaged
from .beside import band, hinge
from .method import Contrast, Method, MethodOptions
from .related import Far, numbers, related


class SimCSEOptions(MethodOptions):
    """Options of SimCSE and of all that is added to it."""

    projection: int = Field(0, ge=0, description="width of the head; that of the encoder when 0")
    head: Literal["tanh", "none"] = Field(
        "tanh", description="what only the objective sees: a linear layer and tanh, or nothing"
    )
    temperature: float = Field(0.05, gt=0, description="divides every score")
    own_weight: float = Field(
        1.0, ge=0, description="how often what is given as far from an item itself counts for it; for others it is 1"
    )
    queue: int = Field(0, ge=0, description="earlier rows, by a slow copy without dropout, that are far too (ESimCSE)")
    momentum: float = Field(0.995, ge=0, le=1, description="of the slow copy, where there is a queue")
    noise: int = Field(0, ge=0, description="random rows that are far too (GS-InfoNCE)")
    noise_share: float = Field(0.0, ge=0, description="the same as a share of the items of a batch (DCLR)")
    noise_steps: int = Field(0, ge=0, description="steps up the loss by which random rows are made harder (DCLR)")
    noise_rate: float = Field(1e-3, gt=0, description="length of such a step")
    guide: float | None = Field(
        None,
        gt=0,
        description="cosine, by the encoder as it was at the start, from which items are not pushed apart (DCLR)",
    )
    centroids: int = Field(0, ge=0, description="centres of rows, of which the second nearest one is far (ClusterNS)")
    centroids_from: float = Field(0.4, ge=-1, le=1, description="mean cosine of a batch at which the centres begin")
    centroids_rate: float = Field(1e-3, ge=0, le=1, description="how far a centre goes towards its rows in a step")
    band_weight: float = Field(
        0.0, ge=0, description="weight of a band, below the cosine of their own partners, for rows of one centre"
    )
    band: tuple[float, float] = Field((0.0, 0.3), description="how far below, from and to")
    hinge_weight: float = Field(0.0, ge=0, description="weight of a hinge against the hardest far row (PromCSE)")
    hinge_margin: float = Field(0.2, gt=0, le=2, description="cosine by which the own partner should be ahead of it")
    attention_weight: float = Field(
        0.0, ge=0, description="weight of the agreement of attention under other dropout, 1e-4 to 1e-3 (miCSE)"
    )
    attention_places: int = Field(150, ge=3, description="places of the attention that are compared, of each head")
    attention_layers: tuple[int, int] | None = Field(
        None, description="layers whose attention is compared, from and to before; 7 and 11 of 12 when unset"
    )


class SimCSE(Method):
    """An item finds its own second view, the same text under other dropout, among those of the whole batch.

    encoder -> linear layer and tanh, thrown away afterwards -> InfoNCE, one way. The first view asks; of several
    further ones the values are averaged. Rows that are given as far are candidates for all.
    """

    name = "simcse"
    near = "another view of the same item: for texts, the same one under other dropout"
    far = "the second views of the other items in the batch, and what is given as far"
    source = "Gao et al. 2021, SimCSE; princeton-nlp/SimCSE"
    takes_far = True
    Options: ClassVar[type[MethodOptions]] = SimCSEOptions

    options: SimCSEOptions

    def __init__(self, encoder: nn.Module, options: SimCSEOptions) -> None:
        super().__init__(encoder, options)
        out = options.projection or self.width
        if options.head == "none" and out != self.width:
            raise ConfigError(f"without a head the projection is as wide as the encoder, {self.width}, not {out}")
        self.head = self.made_head(out)
        self.objective = InfoNCE(temperature=options.temperature)
        self.queue = Queue(options.queue, out) if options.queue else None
        self.copy = StillCopy(self._net()) if options.queue else None
        self.guide = FrozenCopy(self.encoder) if options.guide is not None else None
        self.centroids = (
            Centroids(options.centroids, out, options.centroids_from, options.centroids_rate)
            if options.centroids
            else None
        )
        self.draws = Draws() if options.noise or options.noise_share else None
        self.places = Draws() if options.attention_weight else None
        if self.places is not None:
            shown(self)
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

    def made_head(self, out: int) -> nn.Module:
        """What only the objective sees, of this width."""
        return nn.Sequential(nn.Linear(self.width, out), nn.Tanh()) if self.options.head == "tanh" else nn.Identity()

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """Encoder and head; with `attention_weight` also the attention at some places."""
        if self.places is not None:
            layers = self.options.attention_layers or self.encoder.layers_compared
            count = 2 * self.options.attention_places  # dropout takes some
            vectors, seen = self.encoder.attending(rows, layers, count, self.places.number)  # type: ignore[operator]
            return {"projection": self.head(vectors), "attention": seen}
        projection: Tensor = self.head(self.encoder(rows))
        return projection

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """InfoNCE of the rows that ask against those that they should find, and all that is far beside those."""
        if self.places is not None:
            plain = [view["projection"] for view in projections]
            return agreement(self, self._contrasted(plain, batch), projections, batch)
        return self._contrasted(projections, batch)

    def _contrasted(self, projections: list[Any], batch: Batch) -> Contrast:
        anchors, partners = self.compared(projections, batch)
        first: Tensor = batch.views[batch.whole[0]]
        self._seen = first, anchors.detach(), batch.ids
        far = self._far(anchors, projections, batch)
        opinion = None if self.guide is None else self.guide(first)
        return averaged([self._met(anchors, partner, far, batch.ids, opinion) for partner in partners])

    def compared(self, projections: list[Any], batch: Batch) -> tuple[Any, list[Any]]:
        """The rows that ask, and those that each of them should find, of every further view.

        Raises:
            ConfigError: there is one view of each item alone.
        """
        seen = [number for number, role in enumerate(batch.roles) if role != "far"]
        first, others = batch.whole[0], [number for number in seen if number != batch.whole[0]]
        if not others:
            raise ConfigError(f"{self.name} needs two views of every item: two columns, or views=2")
        return projections[first], [projections[number] for number in others]

    def after_step(self, step: int, total_steps: int) -> None:
        """What was seen is remembered; the copy and the centres follow."""
        for draws in (self.draws, self.places):
            if draws is not None:
                draws.after_step(step)
        if self._seen is None:
            return
        view, anchors, ids = self._seen
        self._seen = None
        if self.copy is not None and self.queue is not None:
            self.queue.push(self.together(normalize(self.copy(view), dim=1)), self.together(ids))
            self.copy.follow(self._net(), self.options.momentum)
        if self.centroids is not None:
            self.centroids.learn(self.together(anchors))

    def _net(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head)

    def _far(self, anchors: Tensor, projections: list[Any], batch: Batch) -> list[Far]:
        """What is far beside the partners of other items: given, remembered, and second nearest centres."""
        made = []
        for number, role in enumerate(batch.roles):
            if role == "far":
                given = batch.given(number)
                owners = numbers(self, len(batch), batch.ids.device)[given]
                made.append(Far.of(_seen(projections[number])[given], owners=owners))
        if self.queue is not None and len(self.queue):
            rows, ids = self.queue.rows()
            made.append(Far.of(self.part(rows).to(anchors.dtype), self.part(ids)))
        if self.centroids is not None and bool(self.centroids.begun):
            made.append(Far.of(self.centroids.centres[self.centroids.nearest(anchors)[1]].to(anchors.dtype)))
        return made

    def _met(self, anchors: Tensor, partners: Tensor, far: list[Far], ids: Tensor, opinion: Tensor | None) -> Contrast:
        """What the anchors say of one view."""
        options, rows, noise = self.options, [more.rows for more in far], self._noise(anchors, ids)
        every = [*far, Far.of(noise)]
        how: dict[str, Any] = {"ids": ids, "negative_ids": torch.cat([more.ids for more in every])}
        if opinion is not None or options.own_weight != 1:
            how = {"relation": related(self, ids, every, opinion, options.guide or 1.0, options.own_weight)}

        def judged(asking: Tensor, candidates: Tensor, *more: Tensor) -> Contrast:
            if "relation" in how:
                return self.judged(asking, torch.cat([candidates, *more]), **how)
            return self.judged(asking, candidates, negatives=torch.cat(more), **how)

        if len(noise) and options.noise_steps:
            fixed = [part.detach() for part in (anchors, partners, *rows)]
            noise = harder(lambda n: judged(*fixed, n).loss, noise, options.noise_steps, options.noise_rate)
        return self._beside(judged(anchors, partners, *rows, noise), anchors, partners, rows, ids)

    def _noise(self, anchors: Tensor, ids: Tensor) -> Tensor:
        """This process's part of the random rows of this step."""
        if self.draws is None:
            return anchors[:0].detach()
        count = self.options.noise + int(self.options.noise_share * len(self.together(ids)))
        return self.part(noise_rows(anchors, count, generator=self.draws.generator(anchors.device)))

    def _beside(self, said: Contrast, anchors: Tensor, partners: Tensor, far: list[Tensor], ids: Tensor) -> Contrast:
        """The contrast with the terms that options ask for beside it; what those are at chance is not known."""
        options, more = self.options, {}
        banded = options.band_weight > 0 and self.centroids is not None and bool(self.centroids.begun)
        if not (banded or options.hinge_weight):
            return said
        # Every process has all rows by now, and computes the same.
        anchors, partners, ids = (self.together(own) for own in (anchors, partners, ids))
        if banded and self.centroids is not None:
            groups = self.centroids.nearest(anchors)[0]
            more["band"] = options.band_weight * band(anchors, partners, groups, options.band)
        if options.hinge_weight:
            held = self.together(torch.cat(far)) if far else None
            more["hinge"] = options.hinge_weight * hinge(anchors, partners, ids, options.hinge_margin, held)
        return Contrast(said.loss + torch.stack(list(more.values())).sum(), {**said.terms, **more})


def _seen(projection: Tensor | dict[str, Tensor]) -> Tensor:
    """What the objective sees of a view."""
    return projection["projection"] if isinstance(projection, dict) else projection
