"""Proxies."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn
from torch.nn.functional import normalize

from ..contrast import Objective
from ..data.batch import Batch
from ..errors import ConfigError, DataError
from ..objectives import ProxyAnchor, to_proxies
from .labelled import Labelled, LabelledOptions, built
from .method import Contrast, MethodOptions

CLASSIFIERS = ("NormalizedSoftmax", "CosFace", "ArcFace", "SphereFace", "SubCentreArcFace", "SoftTriple")
PROXIED = ("ProxyNCA", "ProxyAnchor", *CLASSIFIERS)
CENTRES = {"SubCentreArcFace": 3, "SoftTriple": 10}  # of each class, as published


class ProxyOptions(LabelledOptions):
    """Options of the proxy method."""

    objective: str = Field(
        "ProxyNCA",
        description="how items and proxies meet: ProxyNCA, ProxyAnchor, NormalizedSoftmax, CosFace, ArcFace, ...",
    )
    temperature: float | None = Field(
        None, gt=0, description="divides every score; as the objective has it when unset, and 1/9 for ProxyNCA"
    )
    margin: float | None = Field(
        None, description="by how much the own proxy should lead; as the objective has it when unset"
    )
    own: bool = Field(True, description="of ProxyNCA: the own proxy stands in the denominator (ProxyNCA++)")
    norm: float | None = Field(
        None, ge=0, description="of the softmax kind: weight of (length of a row - 1)^2, for classes that come later"
    )
    centres: int | None = Field(
        None, ge=1, description="proxies of each class; 3 for SubCentreArcFace and 10 for SoftTriple when unset, else 1"
    )
    classes: int | None = Field(None, ge=2, description="how many proxies; as many as the data have classes when unset")
    speed: float = Field(10.0, gt=0, description="how many times faster than other weights proxies turn at the start")

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PROXIED:
            raise ConfigError(f"there is no objective {name!r} with proxies; there are {', '.join(PROXIED)}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> ProxyOptions:
        if self.objective not in CENTRES and self.each > 1:
            raise ValueError(f"{self.objective} takes one proxy of each class; leave out centres = {self.centres}")
        self.made()
        return self

    @property
    def each(self) -> int:
        """Proxies of each class."""
        return self.centres or CENTRES.get(self.objective, 1)

    def made(self) -> Objective:
        """The objective that these options say."""
        temperature = self.temperature or (1 / 9 if self.objective == "ProxyNCA" else None)
        own = None if self.own else False
        return built(self.objective, temperature=temperature, margin=self.margin, norm=self.norm, own=own)

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; the number of classes is that of the data."""
        settled = super().settled(facts, views)
        known = len(facts.get("classes", []))
        if self.classes is None and known < 2:
            raise ConfigError("the data do not name their classes; say how many there are, such as classes=10")
        if self.classes is not None and self.classes < known:
            raise ConfigError(f"classes = {self.classes}, but the data have {known}; leave it out")
        return settled if self.classes is not None else settled.with_(classes=known)


class Proxy(Labelled):
    """Each class has a learned proxy, or several: items of the class are near to it, all others far.

    encoder -> two-layer head -> all views against one proxy per class. A batch needs no two items of a class, and costs
    items x classes in place of items x items. The proxies learn with the rest and are part of the method's state, not
    of the encoder's. Only their direction counts, so they turn the faster the shorter they are, which is how `speed`
    acts; published code gives them a learning rate of their own, up to 100 times higher.
    """

    name = "proxy"
    near = "the learned proxy of the item's class"
    far = "the proxies of all other classes"
    source = (
        "Kim et al. 2020, Proxy Anchor Loss; Movshovitz-Attias et al. 2017 and Teh et al. 2020, ProxyNCA(++); "
        "Deng et al. 2019, ArcFace; Qian et al. 2019, SoftTriple"
    )
    Options = ProxyOptions

    options: ProxyOptions

    def __init__(self, encoder: nn.Module, options: ProxyOptions) -> None:
        super().__init__(encoder, options)
        directions = normalize(torch.randn((options.classes or 2) * options.each, options.projection), dim=1)
        self.proxies = nn.Parameter(directions / options.speed)
        self.objective = options.made()

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over the proxies and all views."""
        rows = torch.cat(projections)
        labels = self.together(self.labels(batch).repeat(len(projections)))  # in the order of all rows of all processes
        classes = len(self.proxies) // self.options.each
        if int(labels.max()) >= classes:
            raise DataError(f"label {int(labels.max())} has no proxy, there are {classes}; set classes to more")
        relation, proxies = to_proxies(labels, classes, each=self.options.each), self.part(self.proxies)
        if isinstance(self.objective, ProxyAnchor):
            return self.judged(proxies, rows, relation=relation.t)
        return self.judged(rows, proxies, relation=relation)
