"""Proxies."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import normalize

from ..data.batch import Batch
from ..errors import ConfigError, DataError
from ..objectives import ProxyAnchor, ProxyNCA, to_proxies
from .labelled import Labelled, LabelledOptions
from .method import Contrast, MethodOptions


class ProxyOptions(LabelledOptions):
    """Options of the proxy method."""

    objective: Literal["ProxyNCA", "ProxyAnchor"] = Field(
        "ProxyNCA", description="whether items look for their proxy, or proxies for their items"
    )
    temperature: float | None = Field(
        None, gt=0, description="divides every score; 1/9 for ProxyNCA and 1/32 for ProxyAnchor when unset"
    )
    margin: float = Field(0.1, description="of ProxyAnchor: how far near scores should be above 0, and far ones below")
    own: bool = Field(True, description="of ProxyNCA: the own proxy stands in the denominator (ProxyNCA++)")
    classes: int | None = Field(None, ge=2, description="how many proxies; as many as the data have classes when unset")
    speed: float = Field(10.0, gt=0, description="how many times faster than other weights proxies turn at the start")

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
    """Each class has a learned proxy: items of the class are near to it, all others far.

    encoder -> two-layer head -> all views against one proxy per class. A batch needs no two items of a class, and costs
    items x classes in place of items x items. The proxies learn with the rest and are part of the method's state, not
    of the encoder's. Only their direction counts, so they turn the faster the shorter they are, which is how `speed`
    acts; published code gives them a learning rate of their own, up to 100 times higher.
    """

    name = "proxy"
    near = "the learned proxy of the item's class"
    far = "the proxies of all other classes"
    source = (
        "Kim et al. 2020, Proxy Anchor Loss; Movshovitz-Attias et al. 2017 and Teh et al. 2020, ProxyNCA and ProxyNCA++"
    )
    Options = ProxyOptions

    options: ProxyOptions

    def __init__(self, encoder: nn.Module, options: ProxyOptions) -> None:
        super().__init__(encoder, options)
        directions = normalize(torch.randn(options.classes or 2, options.projection), dim=1)
        self.proxies = nn.Parameter(directions / options.speed)
        if options.objective == "ProxyAnchor":
            self.objective = ProxyAnchor(temperature=options.temperature or 1 / 32, margin=options.margin)
        else:
            self.objective = ProxyNCA(temperature=options.temperature or 1 / 9, own=options.own)

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over the proxies and all views."""
        rows = torch.cat(projections)
        labels = self.together(self.labels(batch).repeat(len(projections)))  # in the order of all rows of all processes
        if int(labels.max()) >= len(self.proxies):
            raise DataError(
                f"label {int(labels.max())} has no proxy, there are {len(self.proxies)}; set classes to more"
            )
        relation, proxies = to_proxies(labels, len(self.proxies)), self.part(self.proxies)
        if isinstance(self.objective, ProxyAnchor):
            return self.judged(proxies, rows, relation=relation.t)
        return self.judged(rows, proxies, relation=relation)
